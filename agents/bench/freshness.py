"""`bench freshness`: from the producer's send of an event to the first read of a list that contains it.

Three processes: this one produces, a worker learns and publishes, a follower reads every refreshed list. Every event
offered counts, also one whose list was replaced before anybody read it: it waits for the next list of its user. The
baseline is the floor under any worker: the same producer and follower around a bare consumer that only stores
(`bare_consumer`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from millstream.agents.demo_kafka import ThroughKafka
from millstream.agents.demo_servers import Say
from millstream.agents.freshness import FeedFollower, FreshnessMeter, Percentiles
from millstream.agents.replay import replay
from millstream.agents.step_thread import STALENESS_WINDOW_S
from millstream.agents.worker_process import WorkerProcess
from millstream.schemas.columns import InteractionColumns
from millstream.streams.errors import Unavailable
from millstream.streams.settings import Input, Settings
from millstream.streams.topic_reading import read_to_end
from millstream.streams.topics import admin_client, ensure_topics

from .child import child
from .place import PARTITIONS, Place
from .report import Report, WrongResult

RATIO = "freshness_p50_over_floor"
_OF_SEVERAL = {"staleness_p99_ms": "≤ 500"}
_WITH_A_KILL = {"freshness_max_ms": "≤ 10,000"}
_BARE = "millstream.agents.bench.bare_consumer"
_LOOK_EVERY_S = 0.05
_SAID_EVERY_S = 5.0
_READY_WITHIN_S = 30.0
_SETTLE_WITHIN_S = 30.0
"""How long after the last send a list may be missing before the run is given up."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of the workers."""

    fresh: Percentiles
    lists: int
    events_per_s: float
    stale_ms: float
    """Staleness of the stalest model, p99."""
    order_bytes_per_s: float
    """Of the records in `model-log`."""


async def freshness(
    where: Place,
    name: str,
    columns: InteractionColumns,
    *,
    rate: float,
    after: int = 0,
    workers: int = 1,
    kill: bool = False,
    say: Say,
) -> Report:
    """Offer the events at `rate` a second, first to the floor, then to a worker; return both percentiles.

    The worker is given the first `after` events before, all at once, and they are not measured. With more `workers`
    they share the lists; with `kill` one of them is killed half way, the one that leads if that is not the first.

    Raises `WrongResult` for an event that no list read contains, or that was not learned, and for states that differ.
    """
    before, offered = columns.cut(0, after), columns.cut(after, len(columns))
    say(f"{len(offered):,} events of {name} at {rate:,.0f} a second, to a bare consumer")
    floor = await _floor(where, offered, rate)
    say(f"the same to a worker; the floor was {_shown(floor)}")
    run = await through_workers(where.folder, where.apart("worker"), before, offered, rate, workers, kill, say=say)
    fresh = run.fresh
    several: dict[str, float] = {"workers": workers, "staleness_p99_ms": run.stale_ms} if workers > 1 else {}
    if kill:
        several["killed"] = 1
    return Report(
        name="freshness",
        figures={
            "events": fresh.n,
            "offered_per_s": rate,
            "events_per_s": run.events_per_s,
            "lists": run.lists,
            "freshness_p50_ms": fresh.p50,
            "freshness_p99_ms": fresh.p99,
            "freshness_max_ms": fresh.max,
            "learned_before": len(before),
            "order_bytes_per_s": run.order_bytes_per_s,
            **several,
        },
        baseline={"events": floor.n, "freshness_p50_ms": floor.p50, "freshness_p99_ms": floor.p99},
        ratios={RATIO: fresh.p50 / floor.p50, "freshness_p99_over_floor": fresh.p99 / floor.p99},
        targets=_WITH_A_KILL if kill else {"freshness_p50_ms": "≤ 25", "freshness_p99_ms": "≤ 150", **_OF_SEVERAL},
        facts=(
            f"{name} on {where.kafka}: every one of {fresh.n:,} events, coalesced ones too, from the producer's "
            "send to the first GET by another process of a list whose position contains it",
            "baseline: the same log, rate, producer and reader around a bare consumer that stores an empty list",
        ),
    )


async def _floor(where: Place, columns: InteractionColumns, rate: float) -> Percentiles:
    async with _own_topic(where) as settings:
        return await _through_bare_consumer(settings, columns, rate)


async def _through_bare_consumer(settings: Settings, columns: InteractionColumns, rate: float) -> Percentiles:
    brokers, topic, redis = settings.kafka.bootstrap_servers, settings.inputs[0].topic, settings.redis
    meter = FreshnessMeter()
    async with (
        child(_BARE, brokers, topic, redis.url, redis.prefix) as process,
        FeedFollower(redis.url, redis.prefix, meter.listed),
    ):
        assert process.stdout is not None
        ready = await asyncio.wait_for(process.stdout.readline(), _READY_WITHIN_S)
        if ready != b'"ready"\n':
            raise Unavailable(f"{_BARE} ended before it was ready: it could not reach {brokers} or {redis.url}")
        users = columns.user_ids

        def on_event(row: int, partition: int, offset: int, sent_ns: int) -> None:
            meter.sent(users[row], offset, sent_ns)

        await replay(columns, bootstrap=brokers, topic=topic, rate=rate, on_event=on_event)
        await _settled(meter, len(columns))
    return meter.overall()


async def through_workers(
    folder: Path,
    settings: Settings,
    before: InteractionColumns,
    offered: InteractionColumns,
    rate: float,
    workers: int = 1,
    kill: bool = False,
    *,
    beside: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    say: Say,
) -> Run:
    """Return what came of workers under these settings, which know nothing, as `freshness` has it.

    The measured events are offered within `beside`.
    """
    meter = FreshnessMeter()
    async with AsyncExitStack() as stack:
        route = await stack.enter_async_context(ThroughKafka(settings, offered, rate, meter, folder))
        others = [
            await stack.enter_async_context(_one_more(settings, folder / f"worker-{number}"))
            for number in range(2, workers + 1)
        ]
        await _shared(route.worker, others)
        await _learned((route.worker, *others), settings, before)
        await stack.enter_async_context(beside())
        await stack.enter_async_context(FeedFollower(settings.redis.url, settings.redis.prefix, meter.listed))
        already = await asyncio.to_thread(_order_bytes, settings)
        began_s = time.monotonic()
        stale_ms = 0.0
        offering = asyncio.create_task(route.offer())
        stack.callback(offering.cancel)
        while not offering.done():
            await asyncio.wait({offering}, timeout=_SAID_EVERY_S)
            recent = meter.recent()
            say(f"{route.sent:,} sent, {meter.waiting:,} of them on no list yet; lately {_shown(recent)}")
            stale_ms = max(stale_ms, await _stalest_ms((route.worker, *others)))
            if kill and others and route.sent > len(offered) / 2:
                await _kill_one(others, say)
                kill = False
        offering.result()
        await _settled(meter, len(offered))
        elapsed_s = time.monotonic() - began_s
        stale_ms = max(stale_ms, await _stalest_ms((route.worker, *others)))
        order_bytes = await asyncio.to_thread(_order_bytes, settings) - already
        ends = [await other.finish() for other in others]
        end = await route.finish()
    events = len(before) + len(offered)
    if end.learned != events or end.dead_letters:
        raise WrongResult(f"{end.learned:,} of {events:,} events learned, {end.dead_letters:,} dead letters")
    if {other["state_hash"] for other in ends} - {end.state_hash}:
        raise WrongResult("the workers' states differ")
    return Run(meter.overall(), end.lists, len(offered) / elapsed_s, stale_ms, order_bytes / elapsed_s)


def _order_bytes(settings: Settings) -> int:
    """Return the bytes of what the order holds so far."""
    records = read_to_end(settings.kafka.bootstrap_servers, settings.topics.model_log)
    return sum(len(record.value) for record in records)


def _one_more(settings: Settings, folder: Path) -> WorkerProcess:
    folder.mkdir()
    return WorkerProcess(settings, folder)


async def _shared(first: WorkerProcess, others: list[WorkerProcess]) -> None:
    """Return when all run and each has partitions of its own."""
    async with asyncio.timeout(_READY_WITHIN_S):
        while others:
            found = [status for each in (first, *others) if (status := await each.look()) is not None]
            dealt = [number for status in found for number in status.partitions]
            if (
                len(found) == 1 + len(others)
                and all(status.partitions for status in found)
                and len(dealt) == PARTITIONS
            ):
                return
            await asyncio.sleep(_LOOK_EVERY_S)


async def _kill_one(others: list[WorkerProcess], say: Say) -> None:
    killed = next((each for each in others if each.status is not None and each.status.leads), others[0])
    say(f"killing worker {killed.pid}, which {'leads' if killed.status and killed.status.leads else 'follows'}")
    others.remove(killed)
    await killed.kill()


async def _learned(workers: Sequence[WorkerProcess], settings: Settings, columns: InteractionColumns) -> None:
    """Return when all workers have learned the events, sent all at once, and none remembers how stale that made it."""
    if not len(columns):
        return
    await replay(columns, bootstrap=settings.kafka.bootstrap_servers, topic=settings.inputs[0].topic)
    for worker in workers:
        while (status := await worker.look()) is None or status.seq < len(columns):
            await asyncio.sleep(_LOOK_EVERY_S)
    await asyncio.sleep(STALENESS_WINDOW_S)


async def _stalest_ms(workers: Sequence[WorkerProcess]) -> float:
    """Return the greatest p99 of the last seconds of any worker that was not killed. Raises when one has ended."""
    found = [await each.look() or each.status for each in workers]
    return max((status.staleness_ms.p99 or 0.0 for status in found if status is not None), default=0.0)


async def _settled(meter: FreshnessMeter, events: int) -> None:
    """Wait until each event was seen on a list. Raises `WrongResult` when some are not, for long."""
    try:
        async with asyncio.timeout(_SETTLE_WITHIN_S):
            while len(meter.fresh_ms) < events:
                await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError:
        raise WrongResult(
            f"{_SETTLE_WITHIN_S:g} s after the last send, {events - len(meter.fresh_ms):,} of {events:,} events are "
            "on no list that was read"
        ) from None


@asynccontextmanager
async def _own_topic(where: Place) -> AsyncIterator[Settings]:
    """Yield settings with an input topic that the worker does not read; it exists for the while."""
    settings = where.apart("floor")
    topic = f"{settings.inputs[0].topic}.floor"
    mine = settings.model_copy(update={"inputs": (Input(topic=topic),)})
    try:
        ensure_topics(mine)  # not in a thread, which Ctrl-C would leave creating it when it is deleted
        yield mine
    finally:
        with admin_client(mine.kafka.bootstrap_servers) as client:
            client.delete_topics([topic])


def _shown(found: Percentiles) -> str:
    return f"p50 {found.p50:.1f} ms, p99 {found.p99:.1f} ms"
