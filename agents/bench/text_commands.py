"""The benches of what a language model does in the loop: `bench search` and `bench encode`."""

from __future__ import annotations

from pathlib import Path

import click

from .commands import FILE, json_option, log_of, report, say, stoppable
from .report import Report

_BEGAN_MS = 1_767_225_600_000
"""When the simulated shop opened: the start of 2026."""


@click.command("search")
@click.option("--items", type=FILE, help="A catalogue (JSONL; .gz) instead of simulated things.")
@click.option("--catalogue", type=click.IntRange(120), default=5_000, show_default=True, help="How many of its items.")
@click.option("--vectors", type=click.IntRange(2_000), default=200_000, show_default=True, help="For the first half.")
@click.option("--width", type=click.IntRange(2), default=64, show_default=True, help="Elements of each vector.")
@click.option("--queries", type=click.IntRange(10), default=300, show_default=True, help="Of each kind.")
@click.option("--puts", type=click.IntRange(1), default=50, show_default=True, help="New items to wait for.")
@json_option
def search_command(
    items: Path | None, catalogue: int, vectors: int, width: int, queries: int, puts: int, as_json: bool
) -> None:
    """Approximate against exact search while vectors drift; then searches over HTTP, and how soon new items are found.

    The encoder is the settings' `content.encoder`.

    \b
    Examples:
      millstream bench search --items items.jsonl.gz
      MILLSTREAM_CONTENT__ENCODER=light millstream bench search --json
    """
    from millstream.agents.bench.place import place
    from millstream.agents.bench.search import search
    from millstream.online_learning.simulated_catalogue import Catalogue, CatalogueConfig
    from millstream.schemas.recorded import read_items

    if items is None:
        name, found = (
            "the simulated shop",
            Catalogue(CatalogueConfig(items=catalogue), seed=1, start_ms=_BEGAN_MS).describe(),
        )
    else:
        name, found = items.name, list(read_items(items).values())[:catalogue]

    def run() -> Report:
        with place(say, with_kafka=True) as where:
            return stoppable(
                search(where, found, name, vectors=vectors, width=width, queries=queries, puts=puts, say=say)
            )

    report(run, as_json)


@click.command("encode")
@click.option(
    "--items", type=click.IntRange(2_048), default=10_000, show_default=True, help="Simulated ones, to encode."
)
@click.option("--puts", type=click.IntRange(2), default=50, show_default=True, help="Single items put one by one.")
@click.option("--turns", type=click.IntRange(1), default=4, show_default=True, help="Of freshness with and without.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=1_000.0, show_default=True, help="Events/s.")
@click.option("--seconds", type=click.FloatRange(1), default=10.0, show_default=True, help="How long to offer them.")
@json_option
def encode_command(items: int, puts: int, turns: int, rate: float, seconds: float, as_json: bool) -> None:
    """How soon new items can be recommended, and what encoding them costs the clicks.

    The encoder is that of the settings (`content.encoder`); the baseline is it alone, and clicks without it.

    
    Examples:
      millstream bench encode
      MILLSTREAM_CONTENT__ENCODER=light millstream bench encode --items 200000 --json
    """
    from millstream.agents.bench.encode import WARM, encode
    from millstream.agents.bench.place import place
    from millstream.online_learning.simulated_catalogue import Catalogue, CatalogueConfig

    def run() -> Report:
        found = Catalogue(CatalogueConfig(items=items), seed=3, start_ms=_BEGAN_MS).describe()
        name, log = log_of(None, None, limit=WARM + max(1, int(rate * seconds)))
        with place(say, with_kafka=True) as where:
            return stoppable(encode(where, found, log, name, rate=rate, puts=puts, turns=turns, say=say))

    report(run, as_json)
