"""A running worker without its agents: the order in which its parts start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from faust import Service
from redis.exceptions import RedisError

from millstream.online_learning.snapshot_remote import open_store
from millstream.online_learning.step import Step
from millstream.online_learning.torch_process import TRAINING
from millstream.streams.dead_letters import DeadLetterTopic
from millstream.streams.ending import end_tasks
from millstream.streams.errors import Unavailable
from millstream.streams.model_log import ModelLog
from millstream.streams.read_ahead import Deliver
from millstream.streams.recommendations import RecommendationsTopic
from millstream.streams.redis_connection import host_of
from millstream.streams.settings import Settings

from .failure import Failure
from .parts import Parts, join
from .resume import Resumed, resume
from .seat import Seat, seats_of
from .snapshots import SnapshotRefused
from .status import by_topic
from .step_thread import StepStopped
from .warm_up import COMPILING, are_compiled, compile_kernels

_REDIS_ANSWERS_WITHIN_S = 5.0
# Their sum, and what closing takes, stays under the five seconds that Ctrl-C may take.
_DRAIN_WITHIN_S = 1.5
_FLUSH_WITHIN_S = 0.5
_CLOSE_WITHIN_S = 0.5
_READY_EVERY_S = 0.05
_THREAD_ENDS_WITHIN_S = 1.0

_log = logging.getLogger(__name__)


class Runs(Protocol):
    """A part with work of its own."""

    async def run(self) -> None:
        """Work until cancelled, or until the step has ended."""


class RedisUnreachable(Unavailable):
    """No Redis answers at the address in the settings."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A run that has ended. `state_hash` is None unless asked for."""

    events: int
    slates: int
    dead_letters: int
    duplicates: int
    seq: int
    state_hash: str | None
    positions: dict[str, dict[str, int]]


def build(settings: Settings, *, interactions: Deliver, items: Deliver, may_lead: bool = True) -> Pipeline:
    """Return a pipeline that hands raw batches of the inputs and of the catalogue to the two receivers.

    Whoever takes them there calls `pipeline.intake.take` and `pipeline.catalogue.take`. Nothing is connected yet.
    Raises `WrongMapping` for an input whose mapping names what does not exist.
    """
    failure = Failure()
    parts = join(settings, failure, interactions=interactions, items=items, may_lead=may_lead)
    return Pipeline(settings, parts, failure)


class Pipeline(Service):
    """A running worker without its agents: starts the parts, resumes from the newest snapshot, stops without loss.

    Guarantee: every event of the inputs from the start position on changes the state exactly once, across crashes;
    lists and dead letters are published at least once. Whatever ends it for good is in `failure`.
    """

    mundane_level = "debug"

    def __init__(self, settings: Settings, parts: Parts, failure: Failure) -> None:
        super().__init__()
        self.parts = parts
        self.failure = failure
        self.hash_at_end = False
        """Whether the summary has the state hash, which takes a moment on a large state."""
        self.summary = Summary(events=0, slates=0, dead_letters=0, duplicates=0, seq=0, state_hash=None, positions={})
        """How the run ended, once stopped; all zero if it had not begun or the step had failed."""
        self._settings = settings
        self._begun = False
        self._work: list[asyncio.Future[None]] = []
        self._seat: Seat | None = None

    async def on_start(self) -> None:
        """Connect, resume, and begin to read. Raises `Unavailable` with the remedy within ten seconds."""
        # its client logs lost connections many times a second; the outage lines say it once, with the address
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        parts = self.parts
        TRAINING.begin()  # torch takes seconds to load, and kernels one or two: while files are read
        if are_compiled():
            threading.Thread(target=compile_kernels, name="millstream-kernels", daemon=True).start()
        await self._reach_redis(parts.redis.ping())
        parts.snapshots.check()
        store = open_store(self._settings.snapshots.directory)
        inputs = [each.topic for each in self._settings.inputs]
        resumed = await asyncio.to_thread(resume, self._settings.learning, store, inputs)
        # what start-up made lives as long as the process: the collector need not look at it again and again
        gc.freeze()
        gc.enable()
        if resumed.path is not None:
            parts.source.resume(resumed.positions, resumed.topic_ids)
        parts.ordering.begin(resumed.order_position, resumed.positions)
        parts.snapshots.follow(resumed.copy, resumed.chain)
        self._seat = Seat(seats_of(store))
        name = self._settings.kafka.group_instance_id or self._seat.name
        parts.reporter.worker = name
        await self._reach_redis(parts.upkeep.begin(name))
        parts.thread.listed = frozenset()  # until there is a role
        parts.thread.start(resumed.step, resumed.order_position)
        parts.publisher.start()
        if not are_compiled():
            _log.info(COMPILING)
        # asked before the first chunk is there, so it comes first: what is read meanwhile waits
        ready = asyncio.ensure_future(parts.thread.call(lambda _: compile_kernels()))
        await parts.source.maybe_start()
        parts.snapshots.describe(topic_ids=parts.source.topic_ids, begun=parts.source.read_from)
        _log.info("%s", self._start_line(resumed))
        await ready
        self._begun = True
        running: tuple[Runs, ...] = (
            parts.ordering,
            parts.snapshots,
            parts.reporter,
            *parts.beside,
            parts.upkeep,
            parts.withdrawals,
            parts.answering,
            parts.abreast,
            parts.taking_part,
            parts.switching,
        )
        work = [*(part.run() for part in running), self._take_part(name)]
        self._work = [asyncio.ensure_future(self._guard(each)) for each in work]

    async def _guard(self, work: Awaitable[None]) -> None:
        """Whatever ends a part that should not end, ends the worker."""
        try:
            await work
        except Exception as error:
            self.failure.report(error)

    async def _take_part(self, name: str) -> None:
        """Come to a role, beside the rest: a long way to catch up can be stopped like everything."""
        source = self.parts.source
        topics = self._settings.topics
        read = (*(each.topic for each in self._settings.inputs), topics.items, topics.item_vectors)
        await self.parts.taking_part.begin(name, source.read_from, {name: source.topic_ids[name] for name in read})
        while not TRAINING.is_ready:  # lists go out meanwhile, but a slice that ended a block of training would wait
            await asyncio.sleep(_READY_EVERY_S)
        self.parts.reporter.state = "running"

    async def on_stop(self) -> None:
        """Stop reading, publish what is on its way, take a snapshot, close; within about five seconds."""
        parts = self.parts
        parts.reporter.state = "stopping"
        await parts.source.stop_reading()
        if self._begun and self.failure.error is None:
            parts.ordering.stop()
            await parts.reporter.publish_popular()
            if not await parts.source.drain(_DRAIN_WITHIN_S):
                parts.thread.abandon()
                await parts.publisher.drain(_FLUSH_WITHIN_S)
        if self._begun:
            await self._snapshot()
        await asyncio.gather(self._leave(), parts.source.stop(), parts.publisher.stop())
        await parts.thread.stop(_THREAD_ENDS_WITHIN_S)
        await end_tasks(self._work)
        closing = (topic.close(_CLOSE_WITHIN_S) for topic in self._kafka_topics())
        await asyncio.gather(parts.reporter.write("stopped"), *closing)
        await parts.redis.aclose()
        if self._seat is not None:
            self._seat.leave()

    async def _leave(self) -> None:
        membership = self.parts.taking_part.membership
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(membership.commit(self.parts.publisher.settled), _CLOSE_WITHIN_S)
        await membership.leave()

    def _kafka_topics(self) -> list[DeadLetterTopic | ModelLog | RecommendationsTopic]:
        parts = self.parts
        recommendations = [parts.recommendations] if parts.recommendations is not None else []
        return [parts.dead_letters, parts.model_log, *recommendations]

    async def _reach_redis(self, asked: Awaitable[object]) -> None:
        try:
            await asyncio.wait_for(asked, _REDIS_ANSWERS_WITHIN_S)
        except (RedisError, OSError, TimeoutError) as error:
            raise RedisUnreachable(
                f"no Redis answers at {host_of(self._settings.redis.url)} ({str(error) or 'no answer in time'}); "
                "start one with `millstream up`, or name a running one in MILLSTREAM_REDIS__URL"
            ) from error

    async def _snapshot(self) -> None:
        try:
            await self.parts.snapshots.take()
            self.summary = await self.parts.thread.call(self._sum_up)
        except StepStopped:  # the failure that ended it is being reported; the next start goes on from the last one
            _log.error("no last snapshot: the state may be half changed")
        except SnapshotRefused as error:
            self.failure.report(error)

    def _sum_up(self, step: Step) -> Summary:
        parts = self.parts
        return Summary(
            events=parts.publisher.events,
            slates=parts.publisher.slates,
            dead_letters=parts.intake.dead_letters + parts.catalogue.dead_letters,
            duplicates=step.duplicates,
            seq=step.seq,
            state_hash=step.state_hash() if self.hash_at_end else None,
            positions=by_topic(step.positions),
        )

    def _start_line(self, resumed: Resumed) -> str:
        begun = sorted(self.parts.source.read_from.items())
        inputs = {each.topic for each in self._settings.inputs}
        at = ", ".join(f"{topic}[{p}]@{offset}" for (topic, p), offset in begun if topic in inputs)
        if resumed.path is None:
            snapshots = self._settings.snapshots
            return f"no snapshot in {snapshots.directory}: starting {snapshots.start}, at {at}"
        return f"resumed from {resumed.path} ({resumed.step.seq:,} events), reading on at {at}"
