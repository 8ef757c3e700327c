"""`millstream search`: what the catalogue has of a text, in the order that suits a user."""

from __future__ import annotations

import asyncio

import click
import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from millstream.agents.searching import MOST, Searched, Searching
from millstream.streams.asking import Asking
from millstream.streams.reader import AsyncReader
from millstream.streams.redis_connection import connect
from millstream.streams.settings import Settings, load_settings

_WITHIN_S = 5.0  # a person waits longer than a page does
_SAID = {
    "no_user": "for anybody",
    "unknown_user": "for a user of whom nothing is known",
    "no_answer": "for anybody, since no worker answered in time",
}


@click.command("search")
@click.argument("query")
@click.option("--user", help="In whose order; without one, for anybody.")
@click.option("-k", "--k", "k", type=click.IntRange(1, MOST), default=10, show_default=True, help="How many items.")
@click.option("--category", help="Only items of this category, as the catalogue spells it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(query: str, user: str | None, k: int, category: str | None, as_json: bool) -> None:
    """Search the catalogue for QUERY, by its words and by what it means.

    `millstream understand` finds the items, and the worker that makes the user's lists scores them.

    \b
    Examples:
      millstream search 'princes bride'
      millstream search 'less action, more slow science fiction' --user 42 --json
    """
    if not query.strip():
        raise click.UsageError("QUERY holds blanks alone; say what to look for")
    answer = asyncio.run(_asked(load_settings(), query, user, k, category))
    if as_json:
        click.echo(orjson.dumps(answer.as_json()))
        return
    click.echo(headline(answer))
    if answer.items:
        Console().print(_table(answer))


async def _asked(settings: Settings, query: str, user: str | None, k: int, category: str | None) -> Searched:
    url, prefix = settings.redis.url, settings.redis.prefix
    asking = Asking(url, prefix, within_s=_WITHIN_S)
    try:
        async with AsyncReader(url, prefix) as reader, connect(url, reconnects=1) as client:
            return await Searching(asking, reader, client, prefix).search(query, k, user=user, category=category)
    finally:
        await asking.close()


def headline(answer: Searched) -> str:
    """Return one line: what the text is after, in whose order, by what."""
    after = {"find": "an item", "category": f"category {answer.category!r}", "explore": "a look around"}[answer.intent]
    whose = f"for user {answer.user_id!r}" if answer.because is None else _SAID[answer.because]
    by = "by words alone, without an encoder" if answer.encoder is None else f"by words and {answer.encoder}"
    return f"{after}, {whose}, {by}: {len(answer.items)} found in {answer.took_ms['total']:.0f} ms"


def _table(answer: Searched) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "item", "title", "words", "meaning", "popular", "user"):
        table.add_column(heading, justify="left" if heading in {"item", "title"} else "right")
    for place, item in enumerate(answer.items, start=1):
        ranks = (item.lexical_rank, item.vector_rank, item.popular_rank, item.personal_rank)
        shown = ("" if rank is None else str(rank) for rank in ranks)
        table.add_row(str(place), escape(item.item_id), escape(item.title or ""), *shown)
    return table
