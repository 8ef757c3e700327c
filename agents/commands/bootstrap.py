"""`millstream bootstrap`: begin with what a warehouse has of the time before the log."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from aiokafka.partitioner import DefaultPartitioner  # type: ignore[import-untyped]  # it ships no types

from millstream.agents.errors import Problem
from millstream.agents.evaluate_progress import progress
from millstream.agents.moment import Moment
from millstream.agents.running_worker import refuse_if_running
from millstream.agents.stored_snapshots import begin
from millstream.agents.warm_up import compile_kernels_saying_so, load_training
from millstream.online_learning.past import learn_past
from millstream.online_learning.snapshot import points
from millstream.online_learning.snapshot_remote import open_store
from millstream.schemas.log_files import UnreadableLog
from millstream.schemas.recorded import read_events
from millstream.streams.beginnings import find_beginning
from millstream.streams.settings import load_settings

_SHOWN_REJECTS = 5


@click.command("bootstrap")
@click.argument("log", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--then", "then_ms", type=Moment(), required=True, help="Where the log ends and the topics go on.")
@click.option("--min-rating", type=float, help="Leave out ratings below this.")
@click.option("--first-only", is_flag=True, help="Keep the first event of each user and item only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
def command(log: Path, then_ms: int, min_rating: float | None, first_only: bool, as_json: bool) -> None:
    """Learn a recorded log and write the first snapshot; a worker then goes on in the topics, from TIME on.

    Events of the log from TIME on are left out: the topics have them. Nothing is written to any topic. Ctrl-C leaves
    all as it was.

    \b
    Examples:
      millstream bootstrap history.jsonl.gz --then 2026-11-24T12:00:00Z
      millstream bootstrap ratings.csv --min-rating 4 --then 1764000000000 --json
    """
    settings = load_settings()
    store = open_store(settings.snapshots.directory)
    if points(store):
        raise Problem(
            f"snapshots.directory = {store.address!r}: there are snapshots already, which a worker goes on from; move "
            "them away, or name another place in MILLSTREAM_SNAPSHOTS__DIRECTORY"
        )
    refuse_if_running(settings)
    begun = settings.model_copy(update={"snapshots": settings.snapshots.model_copy(update={"start": then_ms})})
    positions, topic_ids, ordered = asyncio.run(find_beginning(begun))
    if ordered:
        raise Problem(
            f"topic {settings.topics.model_log} has an order of events already, of a worker that began elsewhere; "
            "delete it, or name another in MILLSTREAM_TOPICS__MODEL_LOG"
        )
    compile_kernels_saying_so()
    load_training()
    try:
        recorded = read_events(log, min_rating=min_rating, first_only=first_only)
    except UnreadableLog as error:
        raise Problem(str(error)) from error
    for reject in recorded.rejects[:_SHOWN_REJECTS]:
        click.echo(reject.message, err=True)
    events = int(recorded.columns.ts_ms.searchsorted(then_ms))
    columns = recorded.columns.cut(0, events)
    inputs = tuple(each.topic for each in settings.inputs)
    partitions = sorted(number for topic, number in positions if topic == inputs[0])
    deal = DefaultPartitioner()
    began_s = time.monotonic()
    with progress(1, len(columns)) as on_run:
        step = learn_past(
            settings.learning,
            inputs,
            columns,
            positions=positions,
            partition_of=lambda user: int(deal(user.encode(), partitions, partitions)),
            on_progress=on_run("learning"),
        )
    snapshot = begin(step, store, topic_ids)
    at = {f"{topic}[{number}]": offset for (topic, number), offset in positions.items()}
    took_s = time.monotonic() - began_s
    users, after = int(step.users.is_held.sum()), len(recorded.columns) - events
    if as_json:
        answer: dict[str, Any] = {"snapshot": snapshot, "events": step.seq, "users": users}
        answer |= {"items": int(step.items.is_held.sum()), "left_out": len(recorded.rejects), "after": after}
        click.echo(
            json.dumps({**answer, "elapsed_s": round(took_s, 3), "positions": at, "state_hash": step.state_hash()})
        )
        return
    click.echo(f"{step.seq:,} events of {users:,} users learned in {took_s:.1f} s")
    if after:
        then = datetime.fromtimestamp(then_ms / 1_000, UTC)
        click.echo(f"{after:,} events from {then:%Y-%m-%d %H:%M:%S} UTC on left out: the topics have them")
    shown = ", ".join(f"{place}@{offset:,}" for place, offset in at.items())
    click.echo(f"{snapshot}: `millstream worker` goes on from it, at {shown}")
