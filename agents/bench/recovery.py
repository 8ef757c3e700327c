"""`bench recovery`: a large state, written while events are learned, and a killed worker that goes on with it.

The state is made here, of random choices, at the lowest effort; what it costs to write, to load and to go on does not
ask how good it is. Then a worker is killed and started again, once with one event waiting and once with many.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import redis.asyncio
from numpy.typing import NDArray

from millstream.agents.demo_servers import Say
from millstream.agents.freshness import percentiles
from millstream.agents.replay import replay
from millstream.agents.resume import resume
from millstream.agents.slices import SliceDone
from millstream.agents.snapshots import Snapshots
from millstream.agents.step_thread import StepThread
from millstream.agents.worker_process import WorkerProcess
from millstream.online_learning.live_copy import LiveCopy
from millstream.online_learning.order import OrderPosition, Part
from millstream.online_learning.snapshot import Chain
from millstream.online_learning.snapshot_store import Folder
from millstream.online_learning.step import Step
from millstream.schemas.columns import Chunk, InteractionColumns
from millstream.schemas.records import Kind
from millstream.streams.beginnings import find_beginning
from millstream.streams.redis_connection import connect
from millstream.streams.redis_keys import list_key, marker_key
from millstream.streams.settings import Settings

from .place import Place
from .report import Report, WrongResult

_BLOCK = 5_000
_EVERY_TH = 20
"""Events of which one trains while the state is made: the lowest effort."""
_SAID_EVERY_S = 10.0
_RATE = 1_000
_FEED_EVERY_S = 0.002
_SNAPSHOTS = 8
_APART_S = 1.0
_LOOK_EVERY_S = 0.01
_WITHIN_S = 120.0
_LEARN_EVENTS = 10_000
_BEGAN_MS = 1_700_000_000_000


class Choices:
    """Random choices: every user as often as another, items by Zipf's law."""

    def __init__(self, users: int, items: int) -> None:
        self._users = [f"u{number}" for number in range(users)]
        self._items = [f"i{number}" for number in range(items)]
        self._chance = np.random.default_rng(1)
        weights = 1.0 / np.arange(1, items + 1)
        self._edges = np.cumsum(weights / weights.sum())
        self.made = 0

    def next(self, n: int) -> InteractionColumns:
        """Return the next `n`, a millisecond apart; the first ones are each user's first."""
        first = np.arange(self.made, self.made + n)
        users: NDArray[np.int64] = np.where(
            first < len(self._users), first % len(self._users), self._chance.integers(0, len(self._users), n)
        )
        items = np.minimum(np.searchsorted(self._edges, self._chance.random(n)), len(self._items) - 1)
        self.made += n
        return InteractionColumns(
            user_ids=[self._users[user] for user in users.tolist()],
            item_ids=[self._items[item] for item in items.tolist()],
            kinds=np.full(n, int(Kind.click), np.int8),
            ts_ms=_BEGAN_MS + first,
            values=np.full(n, np.nan),
            as_of_ms=_BEGAN_MS + first,
            offsets=first,
        )


async def recovery(where: Place, *, users: int, items: int, events_per_user: int, waiting: int, say: Say) -> Report:
    """Return what snapshots of such a state cost, and how soon a killed worker goes on with it.

    Raises `WrongResult` where a worker does not come to the state it should.
    """
    settings = where.apart("worker")
    settings = settings.model_copy(
        update={
            "kafka": settings.kafka.model_copy(update={"group_instance_id": "recovery"}),
            "worker": settings.worker.model_copy(update={"effort": "full"}),
        }
    )
    topic = settings.inputs[0].topic
    choices = Choices(users, items)
    step = Step(settings.learning, [topic])
    await _learn(step, choices, users * events_per_user, topic, say)
    gc.freeze()  # as a worker does with what it has loaded
    say("snapshots beside 1,000 events a second")
    took = await _snapshots(step, choices, Path(settings.snapshots.directory), topic)
    beginning = await find_beginning(settings)
    seq = await _leave(step, settings, dict(beginning.positions), beginning.topic_ids)
    del step
    gc.unfreeze()
    gc.collect()
    load_s, bytes_, learned_s = _load(settings, choices)
    say(f"a snapshot of {bytes_ / 1e9:.2f} GB, loaded in {load_s:.1f} s; a worker is killed and started again")
    first_list_s, resident = await _first_list(where, settings, choices, say)
    say(f"first fresh list {first_list_s:.1f} s after the start; {waiting:,} events wait for the next")
    catch_up_per_s = await _catch_up(where, settings, choices, waiting, seq + 1)
    learn_per_s = 2 * _LEARN_EVENTS / (learned_s + _load(settings, choices)[2])
    return Report(
        name="recovery",
        figures={
            "users": users,
            "items": items,
            "events": users * events_per_user,
            "snapshot_bytes": bytes_,
            **took,
            "load_s": load_s,
            "first_list_s": first_list_s,
            "resident_bytes": resident.all,
            "resident_anonymous_bytes": resident.anonymous,
            "trainer_resident_bytes": resident.trainer,
            "catch_up_per_s": catch_up_per_s,
        },
        baseline={"catch_up_per_s": learn_per_s},
        ratios={"catch_up_over_learn": catch_up_per_s / learn_per_s},
        targets={
            "pause_p99_ms": "≤ 20",
            "load_s": "≤ 3",
            "first_list_s": "≤ 10",
            "resident_bytes": "≤ 2,000,000,000",
            "catch_up_over_learn": "≥ .8",
        },
        facts=(
            f"pause: gaps between slices applied, {_RATE:,} events a second, while each of {_SNAPSHOTS} snapshots was "
            "taken, the first of them whole; at rest: the same between them",
            "first list: from the start of the process after kill -9, under the same kafka.group_instance_id, to the "
            "list in Redis of an event that had waited",
            f"catch-up: {waiting:,} events that had waited, full effort, from the state's load to all of them learned "
            "and their users' lists published, each once; the baseline learns from the same state as `bench learn` "
            "does, with a fresh list after each event, once before and once after",
            "resident: all of the process; anonymous: of that what is no file's; trainer: the process beside it that "
            "torch is in",
        ),
    )


async def _learn(step: Step, choices: Choices, events: int, topic: str, say: Say) -> None:
    """Learn so many events; between two blocks Ctrl-C is heard."""
    began_s = said_s = time.monotonic()
    while choices.made < events:
        n = min(_BLOCK, events - choices.made)
        start = choices.made
        step.apply(Chunk(topic, 0, start, start + n, choices.next(n)), lists=False, train_every=_EVERY_TH)
        await asyncio.sleep(0)
        now_s = time.monotonic()
        if now_s - said_s > _SAID_EVERY_S:
            said_s = now_s
            left_s = (now_s - began_s) * (events - choices.made) / choices.made
            say(f"{choices.made:,} of {events:,} events learned, {left_s:,.0f} s to go")


async def _snapshots(step: Step, choices: Choices, directory: Path, topic: str) -> dict[str, float]:
    """Return how long slices stood apart while snapshots were taken, and between them, in ms."""
    applied_s: list[float] = []

    def done(_: SliceDone) -> None:
        applied_s.append(time.perf_counter())

    raised: list[BaseException] = []
    thread: StepThread[Step] = StepThread(slice_ms=10, done=done, failed=raised.append)
    snapshots = Snapshots(thread, Folder(directory), every_s=60, keep=1)
    snapshots.follow(LiveCopy(step), Chain())
    thread.start(step)
    feeding = asyncio.ensure_future(_feed(thread, choices, topic))
    windows: list[tuple[float, float]] = []
    for _ in range(_SNAPSHOTS):
        await asyncio.sleep(_APART_S)
        began_s = time.perf_counter()
        await snapshots.take()
        windows.append((began_s, time.perf_counter()))
    await asyncio.sleep(_APART_S)
    feeding.cancel()
    await thread.stop()
    if raised:
        raise WrongResult(f"the step failed: {raised[0]}")
    gaps = [(before, 1e3 * (after - before)) for before, after in itertools.pairwise(applied_s)]
    within = [gap for at, gap in gaps if any(began <= at <= ended for began, ended in windows)]
    rest = [gap for at, gap in gaps if not any(began <= at <= ended for began, ended in windows)]
    paused, resting = percentiles(within), percentiles(rest)
    return {
        "whole_snapshot_s": windows[0][1] - windows[0][0],
        "changes_snapshot_s": float(np.median([ended - began for began, ended in windows[1:]])),
        "pause_p50_ms": paused.p50,
        "pause_p99_ms": paused.p99,
        "pause_max_ms": paused.max,
        "at_rest_p99_ms": resting.p99,
        "at_rest_max_ms": resting.max,
    }


async def _feed(thread: StepThread[Step], choices: Choices, topic: str) -> None:
    """Submit what is due, over and over."""
    began_s, first = time.perf_counter(), choices.made
    while True:
        due = first + int(_RATE * (time.perf_counter() - began_s)) - choices.made
        if due > 0:
            start = choices.made
            chunk = Chunk(topic, 0, start, start + due, choices.next(due))
            thread.submit([Part(chunk, due, 1, OrderPosition(), time.time_ns() // 1_000_000)])
        await asyncio.sleep(_FEED_EVERY_S)


async def _leave(step: Step, settings: Settings, positions: dict[tuple[str, int], int], ids: dict[str, str]) -> int:
    """Leave the state as a worker would that has learned and published it, at the topic's beginning."""
    step.positions = positions
    histories = step.model.histories
    rows = np.arange(len(step.users))
    histories.partition[rows] = rows % settings.topics.partitions
    histories.dirty[rows] = 1
    raised: list[BaseException] = []
    thread: StepThread[Step] = StepThread(slice_ms=10, done=lambda _: None, failed=raised.append)
    snapshots = Snapshots(thread, Folder(Path(settings.snapshots.directory)), every_s=60, keep=1)
    snapshots.follow(LiveCopy(step), Chain())
    snapshots.describe(topic_ids=ids, begun=positions)
    thread.start(step)
    await snapshots.take()
    await thread.stop()
    async with connect(settings.redis.url) as client:
        for partition in range(settings.topics.partitions):
            await client.hset(marker_key(settings.redis.prefix), f"seq:{partition}", str(step.seq))
    return step.seq


def _load(settings: Settings, choices: Choices) -> tuple[float, int, float]:
    """Return how long a start takes to load the state, what its files hold, and how long learning from it takes.

    That is as `bench learn` has it: `_LEARN_EVENTS`, with a fresh list after each.
    """
    directory, topic = Path(settings.snapshots.directory), settings.inputs[0].topic
    began_s = time.perf_counter()
    step = resume(settings.learning, Folder(directory), [topic]).step
    loaded_s = time.perf_counter()
    start = step.positions[topic, 0]
    columns = replace(choices.next(_LEARN_EVENTS), offsets=np.arange(start, start + _LEARN_EVENTS))
    chunk = Chunk(topic, 0, start, start + _LEARN_EVENTS, columns)
    step.apply(chunk, lists=np.ones(_LEARN_EVENTS, np.bool_)).encoded(0)
    learned_s = time.perf_counter()
    del step
    gc.collect()
    bytes_ = sum(path.stat().st_size for path in directory.glob("*.snapshot"))
    return loaded_s - began_s, bytes_, learned_s - loaded_s


class _Resident(NamedTuple):
    """Bytes of a process in memory."""

    all: int
    anonymous: int
    """Those that are no file's."""
    trainer: int
    """Those of the processes that it started, all of them."""

    @classmethod
    def of(cls, pid: int) -> _Resident:
        """Return them of a worker."""
        worker = _rollup(pid)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return cls(worker["Rss"], worker["Anonymous"], sum(_rollup(int(child))["Rss"] for child in children))


def _rollup(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}


async def _first_list(where: Place, settings: Settings, choices: Choices, say: Say) -> tuple[float, _Resident]:
    """Return how long after its start a worker that was killed has published a list, and its resident bytes."""
    worker = WorkerProcess(settings, where.folder)
    async with worker:
        resident = _Resident.of(worker.pid)
        await worker.kill()
    columns = choices.next(1)
    await replay(columns, bootstrap=settings.kafka.bootstrap_servers, topic=settings.inputs[0].topic)
    began_s = time.monotonic()
    async with connect(settings.redis.url) as client, asyncio.TaskGroup() as tasks:
        key = list_key(settings.redis.prefix, "main", columns.user_ids[0])
        first = tasks.create_task(_there(client, key))
        async with WorkerProcess(settings, where.folder) as again:
            took_s = await first - began_s
            resident = max(resident, _Resident.of(again.pid))
            await again.kill()
    return took_s, resident


async def _there(client: redis.asyncio.Redis, key: str) -> float:
    async with asyncio.timeout(_WITHIN_S):
        while not await client.exists(key):
            await asyncio.sleep(_LOOK_EVERY_S)
    return time.monotonic()


async def _catch_up(where: Place, settings: Settings, choices: Choices, waiting: int, seq: int) -> float:
    """Return how many events a second a worker learns that finds them waiting."""
    columns = choices.next(waiting)
    await replay(columns, bootstrap=settings.kafka.bootstrap_servers, topic=settings.inputs[0].topic)
    worker = WorkerProcess(settings, where.folder)
    loaded = asyncio.ensure_future(_said(worker, "resumed from"))
    async with worker, asyncio.timeout(_WITHIN_S):
        while (status := await worker.look()) is None or status.seq < seq + waiting or status.lag:
            await asyncio.sleep(_LOOK_EVERY_S)
        took_s = time.monotonic() - await loaded
        await worker.kill()
    return waiting / took_s


async def _said(worker: WorkerProcess, what: str) -> float:
    while True:
        try:
            if what in worker.said:
                return time.monotonic()
        except FileNotFoundError:
            pass
        await asyncio.sleep(_LOOK_EVERY_S)
