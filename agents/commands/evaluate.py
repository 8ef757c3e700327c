"""`millstream evaluate`: how well lists predict what happened next in a recorded log."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from millstream.online_learning.evaluation import PROTOCOL, Evaluation, evaluate
from millstream.online_learning.quality import Figures
from millstream.online_learning.step import INTERACTIONS, Step
from millstream.schemas.columns import InteractionColumns
from millstream.schemas.log_files import UnreadableLog
from millstream.schemas.recorded import read_events, read_items
from millstream.streams.settings import load_settings

from ..errors import Problem
from ..warm_up import compile_kernels_saying_so

_SHOWN_REJECTS = 5


@click.command("evaluate")
@click.argument("log", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--items", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The catalogue of the log.")
@click.option("--min-rating", type=float, help="Leave out ratings below this, as if they had never been.")
@click.option("--exclude-consumed", is_flag=True, help="Never predict what the user already chose.")
@click.option("--first-only", is_flag=True, help="Keep the first event of each user and item only.")
@click.option("--limit", type=click.IntRange(min=1), help="Take the first N events only.")
@click.option("--save", type=click.Path(dir_okay=False, path_type=Path), help="Write each target's rank, a JSON line.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
def command(
    log: Path,
    items: Path | None,
    min_rating: float | None,
    exclude_consumed: bool,
    first_only: bool,
    limit: int | None,
    save: Path | None,
    as_json: bool,
) -> None:
    """Rank before learning, event by event, and report hit@10, NDCG@10 and MRR@20.

    The options say what the task is; all else is the settings' `learning`, the same as the worker's.

    \b
    Examples:
      millstream evaluate clicks.jsonl.gz
      millstream evaluate ratings.csv --min-rating 4 --exclude-consumed --save ranks.jsonl
    """
    learning = load_settings().learning
    config = dataclasses.replace(learning, exclude_consumed=learning.exclude_consumed or exclude_consumed)
    compile_kernels_saying_so()
    began_s = time.perf_counter()
    try:
        recorded = read_events(log, min_rating=min_rating, first_only=first_only, limit=limit)
        catalogue = read_items(items) if items else {}
    except UnreadableLog as error:
        raise Problem(str(error)) from error
    for reject in recorded.rejects[:_SHOWN_REJECTS]:
        click.echo(reject.message, err=True)
    if len(recorded.rejects) > _SHOWN_REJECTS:
        click.echo(f"… {len(recorded.rejects):,} lines left out in all", err=True)
    if catalogue:
        listed = sum(item_id in catalogue for item_id in set(recorded.columns.item_ids))
        click.echo(f"{len(catalogue):,} items in the catalogue, {listed:,} of them in the log", err=True)
    with _progress(len(recorded.columns)) as on_progress:
        result = evaluate(recorded.columns, Step(config), topic=INTERACTIONS, on_progress=on_progress)
    events_per_s = len(recorded.columns) / (time.perf_counter() - began_s)
    if save:
        _save(save, recorded.columns, result)
    if as_json:
        click.echo(json.dumps(_as_json(result, len(recorded.columns), events_per_s)))
    else:
        _show(result, len(recorded.columns), events_per_s)


def _as_json(result: Evaluation, events: int, events_per_s: float) -> dict[str, object]:
    return {
        "protocol": PROTOCOL,
        "events": events,
        "events_per_s": round(events_per_s, 1),
        "state_hash": result.state_hash,
        "half": result.half.as_json(),
        "scored": result.scored.as_json(),
        "new": result.new.as_json(),
        "all": result.all.as_json(),
        "popularity": {"half": result.popularity_half.as_json()},
    }


def _show(result: Evaluation, events: int, events_per_s: float) -> None:
    table = Table(title=f"{events:,} events, {events_per_s:,.0f} events/s, protocol {PROTOCOL}")
    for heading, justify in (("set", "left"), ("events", "right"), ("hit@10", "right"), ("NDCG@10", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]  # rich's literal, from a tuple
    table.add_column("MRR@20", justify="right")
    rows: list[tuple[str, Figures]] = [
        ("half: both known, last half", result.half),
        ("popularity on half", result.popularity_half),
        ("scored: both known", result.scored),
        ("new: half, new to the user", result.new),
        ("all", result.all),
    ]
    for name, figures in rows:
        means = (figures.hit_at_10, figures.ndcg_at_10, figures.mrr_at_20)
        table.add_row(name, f"{figures.n:,}", *(f"{mean:.4f}" if figures.n else "–" for mean in means))
    Console().print(table)
    click.echo(f"state hash {result.state_hash}")


def _save(path: Path, columns: InteractionColumns, result: Evaluation) -> None:
    """Write `{"user","item","rank"}` of every target, in order; rank is null where the item was never seen."""
    with path.open("wb") as file:
        for user, item, rank, target in zip(
            columns.user_ids, columns.item_ids, result.rank.tolist(), result.target.tolist(), strict=True
        ):
            if target:
                file.write(orjson.dumps({"user": user, "item": item, "rank": rank}) + b"\n")  # orjson: NaN is null


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Give a callback that moves a bar on a terminal; elsewhere it says nothing."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    columns = (TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("evaluating", total=total)
        yield lambda done: progress.update(task, completed=done)
