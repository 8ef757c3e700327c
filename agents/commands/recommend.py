"""`millstream recommend`: one user's list as a serving process gets it, with its reasons and its age."""

from __future__ import annotations

import click
import orjson
from rich.console import Console
from rich.table import Table

from millstream.agents.errors import Problem
from millstream.schemas.records import ScoredItem
from millstream.streams.answer import Answer
from millstream.streams.reader import Reader
from millstream.streams.settings import load_settings
from millstream.streams.slate_json import answer_json

_TIMEOUT_S = 2.0  # a person waits longer than a page does


@click.command("recommend")
@click.argument("user")
@click.option("-k", "k", type=click.IntRange(min=1), default=10, show_default=True, help="How many items.")
@click.option("--list", "list_name", default="main", show_default=True, help="Which of the user's lists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(user: str, k: int, list_name: str, as_json: bool) -> None:
    """Show USER's list: what is on it, why each item is, and how old it is.

    Someone without a list of their own gets the popular one, as any serving process would.

    \b
    Example:
      millstream recommend 42 -k 5
    """
    settings = load_settings()
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
    if as_json:
        click.echo(orjson.dumps(answer_json(answer)))
    else:
        click.echo(headline(answer))
        if answer.items:
            Console().print(_table(answer.items))


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


def _table(items: tuple[ScoredItem, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("item")
    table.add_column("score", justify="right")
    table.add_column("why", overflow="fold")
    for place, item in enumerate(items, start=1):
        reasons = sorted(item.reasons, key=lambda reason: -abs(reason.contribution))
        why = ", ".join(
            f"{reason.signal} {reason.contribution:+.3g}" + (f" ({reason.evidence})" if reason.evidence else "")
            for reason in reasons
        )
        table.add_row(str(place), item.item_id, f"{item.score:.4g}", why)
    return table
