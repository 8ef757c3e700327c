"""`millstream recommend`: one user's list as a serving process gets it, with its reasons and its age."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from millstream.agents.errors import Problem
from millstream.agents.words_option import in_words, sentences_of, with_words
from millstream.schemas.records import ScoredItem, Version
from millstream.streams.answer import Answer
from millstream.streams.reader import Reader
from millstream.streams.redis_keys import POPULAR
from millstream.streams.settings import Settings, load_settings
from millstream.streams.slate_json import answer_json, slate_json

_TIMEOUT_S = 2.0  # a person waits longer than a page does


class Past(click.ParamType):
    """A position, or a version as a slate's id has it: generation.position.revision."""

    name = "POSITION|G.P.R"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | Version:
        """Return either."""
        numbers = str(value).split(".")
        if not all(map(str.isdecimal, numbers)) or len(numbers) not in {1, 3}:
            self.fail(f"{value!r} is neither a position nor a version as 1.1842.5530", param, ctx)
        return int(numbers[0]) if len(numbers) == 1 else Version(*map(int, numbers))


@click.command("recommend")
@click.argument("user")
@click.option("-k", "k", type=click.IntRange(min=1), default=10, show_default=True, help="How many items.")
@click.option("--list", "list_name", default="main", show_default=True, help="Which of the user's lists.")
@click.option("--at", type=Past(), help="What was shown at a position of the user's partition, or by a version.")
@in_words
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(user: str, k: int, list_name: str, at: int | Version | None, words: str | None, as_json: bool) -> None:
    """Show USER's list: what is on it, why each item is, and how old it is.

    Someone without a list of their own gets the popular one, as any serving process would. With --at it is a list of
    the past, made again from a snapshot and the log: the one after the user's last event before that position, or,
    with the three numbers of a version as a slate's id has them, that very one.

    \b
    Examples:
      millstream recommend 42 -k 5
      millstream recommend 42 --words de
      millstream recommend 42 --at 1842
      millstream recommend 42 --at 1.1842.5530 --json
    """
    settings = load_settings()
    if at is not None:
        _show_past(settings, user, k, list_name, at, words, as_json)
        return
    try:
        with Reader(settings.redis.url, settings.redis.prefix, timeout_s=_TIMEOUT_S) as reader:
            answer = reader.top(user, k, list_name)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if answer.fallback == "unavailable":
        raise Problem(
            f"Redis at {settings.redis.shown_url} does not answer; start one (`millstream up`) or name another in "
            "MILLSTREAM_REDIS__URL"
        )
    everybodys = answer.user_id == POPULAR or answer.fallback == "popular"
    said = words and sentences_of(settings, answer.items, words, everybodys=everybodys)
    if as_json:
        click.echo(orjson.dumps(with_words(answer_json(answer), said)))
    else:
        click.echo(headline(answer))
        if answer.items:
            Console().print(items_table(answer.items, said=said))


def _show_past(
    settings: Settings, user: str, k: int, list_name: str, at: int | Version, words: str | None, as_json: bool
) -> None:
    # imported here: it loads the learner, which the list of now does without
    from millstream.agents.evaluate_progress import counting
    from millstream.agents.served import served
    from millstream.agents.warm_up import compile_kernels_saying_so
    from millstream.online_learning.snapshot_remote import open_store

    compile_kernels_saying_so()
    store = open_store(settings.snapshots.directory)
    with counting("folding") as on_progress:
        found = served(settings, store, user, at, list_name=list_name, on_progress=on_progress)
    slate = found.slate
    items = slate.items[:k]
    said = words and sentences_of(settings, items, words, everybodys=user == POPULAR)
    if as_json:
        past = slate_json(slate)
        past["items"] = past["items"][:k]
        with_words(past, said)
        click.echo(orjson.dumps({**past, "since": found.since, "events": found.events}))
        return
    since = found.since or "the beginning of the log"
    click.echo(f"list {slate.list!r} of user {user!r}, {slate.slate_id}: from {since} and {found.events:,} events")
    Console().print(items_table(items, said=said))


def headline(answer: Answer) -> str:
    """Return one line: whose list it is, how old, and what stands in for it."""
    who = f"list {answer.list!r} of user {answer.user_id!r}"
    if answer.fallback == "empty":
        return f"{who}: none, and no popular list yet; has the worker seen any events?"
    what = f"{who}: none yet, so the popular list" if answer.fallback == "popular" else who
    return f"{what}, {age(answer.age_ms or 0)} old"


def age(age_ms: int) -> str:
    """Return an age as people say it."""
    if age_ms < 1_000:
        return f"{age_ms} ms"
    for unit_ms, unit, limit in ((1_000, "s", 120), (60_000, "min", 120), (3_600_000, "h", 48)):
        if age_ms < limit * unit_ms:
            return f"{age_ms / unit_ms:.0f} {unit}"
    return f"{age_ms / 86_400_000:.0f} days"


def items_table(items: Sequence[ScoredItem], first: int | None = 1, said: Sequence[str] | None = None) -> Table:
    """Return items with their scores and reasons, or with what is said of them; numbered from `first` on, or not."""
    table = Table(box=None, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("item")
    table.add_column("score", justify="right")
    table.add_column("why", overflow="fold")
    for place, item in enumerate(items, start=first or 0):
        reasons = sorted(item.reasons, key=lambda reason: -abs(reason.contribution))
        why = ", ".join(
            f"{reason.signal} {reason.contribution:+.3g}" + (f" ({reason.evidence})" if reason.evidence else "")
            for reason in reasons
        )
        if said is not None:
            why = said[place - (first or 0)]
        table.add_row("" if first is None else str(place), escape(item.item_id), f"{item.score:.4g}", escape(why))
    return table
