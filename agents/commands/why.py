"""`millstream why`: where an item stands for a user, on the list or off it, and what it owes that to."""

from __future__ import annotations

import asyncio

import click
import orjson
from rich.console import Console

from millstream.agents.words_option import in_words, sentences_of
from millstream.schemas.questions import KeptOff, WhyAnswer
from millstream.streams.asking import Asking
from millstream.streams.settings import load_settings
from millstream.streams.slate_json import why_json

from .recommend import items_table

_WITHIN_S = 5.0  # a person waits longer than a page does
_SAID: dict[KeptOff, str] = {
    "unknown_item": "neither an event nor the catalogue names it",
    "never_chosen": "nobody has chosen it yet",
    "unavailable": "the catalogue has withdrawn it",
    "hidden": "the user hid it",
    "chosen_before": "the user chose or bought it, and such are left out",
    "shown": "the user was shown it lately, and such are left out",
    "not_shortlisted": "it may be shown, but others were found first",
}


@click.command("why")
@click.argument("user")
@click.argument("item")
@click.option("--list", "list_name", default="main", show_default=True, help="Which of the user's lists.")
@in_words
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(user: str, item: str, list_name: str, words: str | None, as_json: bool) -> None:
    """Say where ITEM stands for USER as of now: its place, its score, what makes it up, and what keeps it off.

    The worker that makes the user's lists answers. An item that is kept off is scored all the same, as if it were not.

    \b
    Examples:
      millstream why 42 1196
      millstream why 42 1196 --words
      millstream why 42 1196 --json
    """
    settings = load_settings()
    lists = settings.learning.lists
    if list_name not in lists:
        raise click.UsageError(f"no list {list_name!r} is made; the lists are {', '.join(lists)}")
    answer = asyncio.run(_asked(settings.redis.url, settings.redis.prefix, user, item, list_name))
    said = sentences_of(settings, [answer.item], words) if words and answer.item is not None else None
    if as_json:
        found = why_json(user, item, list_name, answer)
        click.echo(orjson.dumps(found if said is None else found | {"words": said[0]}))
        return
    click.echo(headline(user, item, answer))
    if answer.item is not None:
        Console().print(items_table([answer.item], first=None, said=said))


async def _asked(url: str, prefix: str, user: str, item: str, list_name: str) -> WhyAnswer:
    asking = Asking(url, prefix, within_s=_WITHIN_S)
    try:
        return await asking.why(user, item, list_name)
    finally:
        await asking.close()


def headline(user: str, item: str, answer: WhyAnswer) -> str:
    """Return one line: where it stands, or what keeps it off."""
    who = f"user {user!r}" if answer.user_known else f"user {user!r}, of whom nothing is known"
    if answer.kept_off:
        return f"item {item!r} is no candidate for {who}: {'; '.join(_SAID[each] for each in answer.kept_off)}"
    return f"item {item!r} is at place {answer.place:g} of {answer.candidates} candidates for {who}"
