"""One run: a pipeline of its own on shared servers, events, the faults of its schedule, and the verdict."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from millstream.online_learning.config import LearningConfig
from millstream.streams.ending import end_tasks
from millstream.streams.errors import Unavailable
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.local_redis import LocalRedis
from millstream.streams.redis_connection import connect
from millstream.streams.redis_keys import list_key
from millstream.streams.settings import Input, Kafka, Redis, Settings, Snapshots, Topics, Worker
from millstream.streams.topics import ensure_topics

from .events import Events, Sender
from .faults import Faults
from .schedule import ALWAYS, Fault, schedule
from .verdict import Verdict, judge, order_end
from .watcher import Watcher, read_versions
from .workers import RunStuck, Workers

PARTITIONS = 4
_SESSION_S = 6.0
_SNAPSHOTS_EVERY_S = 1.0
_SETTLED_WITHIN_S = 120.0
_BROKEN_SETTLES_WITHIN_S = 15.0
_LOOK_EVERY_S = 0.05

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Servers:
    """What all runs of a sitting share."""

    kafka: LocalKafka
    redis: LocalRedis
    redis_folder: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run that came to its end. `seed` and `events` repeat it."""

    seed: int
    events: int
    broken: str
    took_s: float
    records: int
    """Sent, those twice included."""
    faults: dict[str, int]
    proven: dict[str, int]
    lost: int
    doubled: int
    hash_mismatches: int
    went_backwards: int
    stale_lists: int
    void: int
    claims: int
    looks: int
    """Of the reader that watched."""
    examples: tuple[str, ...] = ()
    started_again: int = 0
    """Workers that found no Kafka or no Redis at their start, and were started again."""
    stuck: str = ""
    """What did not come, where the run had to be given up."""

    @property
    def bad(self) -> int:
        """How much went wrong."""
        wrong = self.lost + self.doubled + self.hash_mismatches + self.went_backwards + self.stale_lists
        return wrong + bool(self.stuck)


@dataclass(slots=True)
class _Run:
    """The parts of a run that others need."""

    settings: Settings
    events: Events
    workers: Workers
    sender: Sender
    watcher: Watcher
    faults: Faults
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


def settings_of(name: str, servers: Servers, folder: Path) -> Settings:
    """Return the settings of one run: full effort, small caps, snapshots every second, names of its own."""
    return Settings(
        kafka=Kafka(
            bootstrap_servers=servers.kafka.bootstrap, group_id=name, session_timeout_ms=int(_SESSION_S * 1_000)
        ),
        redis=Redis(url=servers.redis.url, prefix=f"{name}:"),
        inputs=(Input(topic=f"{name}.events"),),
        topics=Topics(partitions=PARTITIONS).prefixed(f"{name}."),
        learning=LearningConfig(max_users=4_000, max_items=1_000),
        snapshots=Snapshots(directory=str(folder / "snapshots"), every_s=_SNAPSHOTS_EVERY_S, start="earliest"),
        worker=Worker(effort="full"),
    )


async def run_once(
    seed: int,
    servers: Servers,
    folder: Path,
    *,
    events: int,
    rate: float,
    workers: int = 2,
    only: Sequence[Fault] = (),
    broken: str = "",
    say: Say = lambda _: None,
) -> Outcome:
    """Run a seed's schedule. What hangs is given up and named in the outcome; all processes have ended then."""
    began_s = time.monotonic()
    settings = settings_of(f"chaos-{seed}-{int(time.time() * 1_000)}", servers, folder)
    await asyncio.to_thread(ensure_topics, settings)
    made = await asyncio.to_thread(Events, seed, events)
    processes = Workers(settings, folder, broken)
    watcher = Watcher(settings.redis.url, settings.redis.prefix, sorted(made.users))
    bootstrap, topic = settings.kafka.bootstrap_servers, settings.inputs[0].topic
    run = _Run(
        settings,
        made,
        processes,
        Sender(bootstrap, topic, made, rate),
        watcher,
        Faults(
            processes,
            servers.kafka,
            servers.redis,
            servers.redis_folder,
            Path(settings.snapshots.directory),
            watcher,
            _SESSION_S,
            partial(asyncio.to_thread, order_end, bootstrap, settings.topics.model_log),
        ),
    )
    stuck, verdict = "", Verdict(0, 0, 0, 0, 0, 0)
    settled_within_s = _BROKEN_SETTLES_WITHIN_S if broken else _SETTLED_WITHIN_S
    try:
        verdict, stuck = await _carry_out(run, seed, workers, tuple(only), settled_within_s, say)
    except Unavailable as error:
        stuck = str(error)
    finally:
        processes.end()
        await end_tasks(run.tasks)
    return Outcome(
        seed=seed,
        events=events,
        broken=broken,
        took_s=round(time.monotonic() - began_s, 1),
        records=len(made.records),
        faults={**run.faults.struck, **dict.fromkeys(ALWAYS, 1)},
        proven=dict(run.faults.proven),
        went_backwards=watcher.went_backwards,
        looks=watcher.looks,
        started_again=processes.started_again,
        stuck=stuck,
        **dataclasses.asdict(verdict),
    )


async def _carry_out(
    run: _Run, seed: int, workers: int, only: tuple[Fault, ...], settled_within_s: float, say: Say
) -> tuple[Verdict, str]:
    """Return the verdict, and what did not come, if anything."""
    for _ in range(workers):
        run.workers.start()
    say(f"{workers} workers start")
    await run.workers.ready(workers)
    run.tasks += [asyncio.create_task(run.watcher.run()), asyncio.create_task(run.sender.run())]
    for planned in schedule(seed, len(run.events.records), only):
        await run.sender.reached(planned.at)
        say(f"{run.sender.sent:,} sent; {planned.fault}")
        await run.faults.strike(planned.fault)
    await run.sender.reached(len(run.events.records))
    say("all sent; waiting until all is published")
    stuck = ""
    try:
        await _settled(run, settled_within_s)
    except RunStuck as error:  # judged all the same
        stuck = str(error)
    summaries = [await worker.finish() for worker in list(run.workers.running)]
    run.workers.running.clear()
    say("comparing with what a fresh process makes of it")
    positions = await _positions(run)
    return await asyncio.to_thread(judge, run.settings, summaries, positions), stuck


async def _settled(run: _Run, within_s: float) -> None:
    """Return when the workers say that everything is published. Raises `RunStuck`."""
    topic = run.settings.inputs[0].topic

    def is_published() -> bool:
        ends: dict[int, int] = {}
        live = run.workers.statuses()
        for status in live:
            for partition, end in status.positions.get(topic, {}).items():
                ends[int(partition)] = max(end, ends.get(int(partition), 0))
        there = all(ends.get(partition, 0) >= end for partition, end in run.sender.ends.items())
        # those that only follow, too: each is compared
        alike = len(live) == len(run.workers.running) and len({status.seq for status in live}) == 1
        return there and alike and not any(status.stale_after_redis_loss or status.lag for status in live)

    await run.workers.until(is_published, "every list published", within_s)


async def _positions(run: _Run) -> dict[str, int]:
    """Return the position of each user's list in Redis."""
    users = sorted(run.events.users)
    keys = [list_key(run.settings.redis.prefix, "main", user) for user in users]
    async with connect(run.settings.redis.url) as client:
        versions: dict[str, Any] = await read_versions(client, users, keys)
    return {user: version.position for user, version in versions.items()}
