"""`bench loop`: the whole worker against a bare Faust agent, on one topic of one broker, in turns.

The worker decodes, learns and ranks every event, publishes to Redis and to Kafka and takes its snapshots; the baseline
decodes JSON and counts (`faust_baseline`). Each is a process of its own; both begin on a topic that is already full.
Everything the worker should have done is verified before its speed counts.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition  # type: ignore[import-untyped]  # it ships no types

from millstream.agents.demo_servers import Say
from millstream.agents.replay import replay
from millstream.agents.worker_process import WorkerProcess
from millstream.schemas.columns import InteractionColumns
from millstream.schemas.records import Version
from millstream.schemas.slates import FORMAT, VERSION_BYTES
from millstream.streams.redis_connection import connect
from millstream.streams.redis_keys import feed_key, list_key
from millstream.streams.settings import Settings

from .child import answer_of
from .place import Place
from .report import Report, WrongResult
from .shoppers import distinct_users, shoppers_log

RATIO = "loop_over_faust_async_for"
_FAUST = "millstream.agents.bench.faust_baseline"
_LOOK_EVERY_S = 0.02
_STATUS_EVERY_S = 0.1
_LEAST_EVENTS_PER_S = 500
"""A run slower than this, after a minute's grace, is given up as stuck."""
_GRACE_S = 60.0
_KEYS_PER_CALL = 1_000
_HEADER_BYTES = len(FORMAT) + VERSION_BYTES


@dataclass(frozen=True, slots=True)
class LoopRun:
    """One worker's run over the whole topic."""

    elapsed_s: float
    """From the first list in Redis to the last event learned, its list in Redis and on Kafka; by Redis' clock."""
    lists: int
    """Lists that Redis stored, each newer than the one before."""


async def loop(where: Place, *, events: int, baseline_events: int, runs: int, say: Say) -> Report:
    """Return the lowest ratio of the runs. Raises `WrongResult` if anything was not learned or not published."""
    say(f"simulating {events:,} events")
    columns = await asyncio.to_thread(shoppers_log, events)
    distinct = distinct_users(columns.user_ids)
    say(f"at least {distinct} users in any 1,000 events; producing them as JSON to {where.kafka}")
    ends, in_partition = await _fill(where, columns)
    topic, brokers = where.settings.inputs[0].topic, where.settings.kafka.bootstrap_servers
    measured: list[tuple[float, LoopRun]] = []
    for number in range(1, runs + 1):
        told = await answer_of(
            _FAUST, brokers, topic, str(baseline_events), str(where.folder), within_s=_bound_s(baseline_events)
        )
        faust_per_s = (baseline_events - 1) / told["elapsed_s"]
        say(f"run {number} of {runs}: Faust async for  {faust_per_s:,.0f} events/s over {told['elapsed_s']:.1f} s")
        run = await _run_worker(where, f"run{number}", events, ends)
        measured.append((faust_per_s, run))
        say(
            f"run {number} of {runs}: the worker       {events / run.elapsed_s:,.0f} events/s, "
            f"{run.lists / run.elapsed_s:,.0f} lists/s over {run.elapsed_s:.1f} s; "
            f"ratio {events / run.elapsed_s / faust_per_s:.2f}"
        )
    faust_per_s, run = min(measured, key=lambda each: 1 / each[1].elapsed_s / each[0])
    ratios = [events / each.elapsed_s / per_s for per_s, each in measured]
    return Report(
        name="loop",
        figures={
            "events": events,
            "users": len(ends),
            "distinct_users_per_1000_events": distinct,
            "distinct_users_per_1000_events_of_a_partition": in_partition,
            "events_per_s": events / run.elapsed_s,
            "lists_per_s": run.lists / run.elapsed_s,
            "lists": run.lists,
            "runs_events_per_s": [events / each.elapsed_s for _, each in measured],
            "runs_lists_per_s": [each.lists / each.elapsed_s for _, each in measured],
            "runs_ratio": ratios,
        },
        baseline={
            "events": baseline_events,
            "events_per_s": faust_per_s,
            "runs_events_per_s": [per_s for per_s, _ in measured],
        },
        ratios={RATIO: min(ratios)},
        targets={RATIO: "≥ 2", "distinct_users_per_1000_events": "≥ 250"},
        facts=(
            f"broker: {where.kafka}; {len(where.settings.inputs)} topic of {where.settings.topics.partitions} "
            f"partitions; lowest ratio of {runs} interleaved runs",
            f"verified in every run: all {events:,} events learned once, no dead letter, the list of each of "
            f"{len(ends):,} users in Redis contains their last event, every list Redis stored is on "
            f"{where.settings.topics.recommendations}",
        ),
    )


async def _fill(where: Place, columns: InteractionColumns) -> tuple[dict[str, int], int]:
    """Produce the log; return by user the offset after their last event, and the least users in a partition's 1,000."""
    users = columns.user_ids
    ends: dict[str, int] = {}
    lanes: dict[int, list[str]] = {}

    def on_event(row: int, partition: int, offset: int, sent_ns: int) -> None:
        ends[users[row]] = offset + 1
        lanes.setdefault(partition, []).append(users[row])

    bootstrap, topic = where.settings.kafka.bootstrap_servers, where.settings.inputs[0].topic
    await replay(columns, bootstrap=bootstrap, topic=topic, on_event=on_event)
    return ends, min(distinct_users(lane) for lane in lanes.values())


async def _run_worker(where: Place, name: str, events: int, ends: dict[str, int]) -> LoopRun:
    """Run a worker that knows nothing until it has learned and published the whole topic; verify all of it."""
    settings = where.apart(name)
    settings = settings.model_copy(
        update={"worker": settings.worker.model_copy(update={"status_every_s": _STATUS_EVERY_S})}
    )
    before = await _records_of(settings, settings.topics.recommendations)
    folder = where.folder / name
    folder.mkdir()
    client = connect(settings.redis.url, timeout_s=10.0)
    try:
        async with WorkerProcess(settings, folder) as worker, asyncio.timeout(_bound_s(events)):
            began_ms = await _first_list_ms(client, settings)
            while (status := await worker.look()) is None or status.events + status.dead_letters < events:
                await asyncio.sleep(_LOOK_EVERY_S)
            ended_ms = await _now_ms(client)
            summary = await worker.finish()
        await _verify(client, settings, summary, events, ends, before)
    finally:
        await client.aclose()
    return LoopRun((ended_ms - began_ms) / 1000, summary["slates"])


async def _first_list_ms(client: Any, settings: Settings) -> float:
    """Return when the feed's first pointer was written. The feed must not have been trimmed, so ask early."""
    while not (first := await client.xrange(feed_key(settings.redis.prefix), count=1)):
        await asyncio.sleep(_LOOK_EVERY_S)
    entry_id: bytes = first[0][0]
    return float(entry_id.partition(b"-")[0])


async def _now_ms(client: Any) -> float:
    seconds, microseconds = await client.time()
    return float(seconds * 1000 + microseconds / 1000)


async def _verify(
    client: Any, settings: Settings, summary: dict[str, Any], events: int, ends: dict[str, int], before: int
) -> None:
    """Raise `WrongResult` unless every event was learned and every user's list in Redis contains their last one."""
    if summary["seq"] != events or summary["dead_letters"]:
        raise WrongResult(
            f"{summary['seq']:,} of {events:,} events were learned, {summary['dead_letters']:,} became dead letters"
        )
    await verify_lists(client, settings.redis.prefix, ends)
    logged = await _records_of(settings, settings.topics.recommendations) - before
    if logged < summary["slates"]:
        raise WrongResult(
            f"Redis stored {summary['slates']:,} lists, {settings.topics.recommendations} got {logged:,} of them"
        )


async def verify_lists(client: Any, prefix: str, ends: dict[str, int]) -> None:
    """Raise `WrongResult` unless each user has a list in Redis whose position is the offset after their last event."""
    users, behind = list(ends), 0
    for first in range(0, len(users), _KEYS_PER_CALL):
        some = users[first : first + _KEYS_PER_CALL]
        values = await client.mget([list_key(prefix, "main", user) for user in some])
        for user, value in zip(some, values, strict=True):
            behind += value is None or Version.unpack(value[len(FORMAT) : _HEADER_BYTES]).position != ends[user]
    if behind:
        raise WrongResult(f"of {len(users):,} users {behind:,} have no list in Redis that contains their last event")


async def _records_of(settings: Settings, topic: str) -> int:
    """Return how many records were ever written to a topic (the sum of its end offsets)."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka.bootstrap_servers)
    await consumer.start()
    try:
        places = [TopicPartition(topic, partition) for partition in range(settings.topics.partitions)]
        return sum((await consumer.end_offsets(places)).values())
    finally:
        await consumer.stop()


def _bound_s(events: int) -> float:
    return _GRACE_S + events / _LEAST_EVENTS_PER_S
