"""The composition root: the one place that chooses classes and joins them, and the order they start and stop in.

source ─▶ (Faust channel and agent) ─▶ intake ─▶ ordering ─▶ step thread ─▶ publisher ─▶ Redis, Kafka ─▶ source.release
   ▲                                                │             └▶ snapshots
   └─────── what comes next ◀─ model-log ◀──────────┘             membership: what this worker leads and publishes
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
from collections.abc import Awaitable
from dataclasses import dataclass
from urllib.parse import urlsplit

import redis.asyncio
from faust import Service
from redis.exceptions import RedisError

from millstream.online_learning.snapshot_remote import open_store
from millstream.online_learning.step import Step
from millstream.schemas.decode import InteractionDecoder
from millstream.schemas.mapping import InputMapping
from millstream.streams.dead_letters import DeadLetterTopic
from millstream.streams.errors import Unavailable
from millstream.streams.kept_off import KeptOff
from millstream.streams.marker import Marker
from millstream.streams.membership import Membership
from millstream.streams.model_log import ModelLog
from millstream.streams.outage import Outage
from millstream.streams.read_ahead import Deliver
from millstream.streams.recommendations import RecommendationsTopic
from millstream.streams.redis_connection import connect
from millstream.streams.redis_topic import RedisTopic, SimilarTopic
from millstream.streams.settings import Settings
from millstream.streams.source import InteractionSource

from .catalogue import Catalogue
from .effort import Effort
from .failure import Failure
from .intake import Intake
from .ordering import Ordering
from .publisher import Publisher
from .reporter import Reporter
from .resume import Resumed, resume
from .seat import Seat, seats_of
from .similar_items import SimilarItems
from .snapshots import SnapshotRefused, Snapshots
from .status import Gauges, by_topic
from .step_thread import StepStopped, StepThread
from .taking_part import TakingPart
from .upkeep import Upkeep
from .warm_up import COMPILING, are_compiled, compile_kernels

_REDIS_ANSWERS_WITHIN_S = 5.0
# Their sum, and what closing takes, stays under the five seconds that Ctrl-C may take.
_DRAIN_WITHIN_S = 1.5
_FLUSH_WITHIN_S = 0.5
_CLOSE_WITHIN_S = 0.5
_SWITCH_S = 0.0005
_THREAD_ENDS_WITHIN_S = 1.0

_log = logging.getLogger(__name__)


class RedisUnreachable(Unavailable):
    """No Redis answers at the address in the settings."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a pipeline is made of, joined but not started."""

    source: InteractionSource
    intake: Intake
    thread: StepThread[Step]
    ordering: Ordering
    model_log: ModelLog
    publisher: Publisher
    snapshots: Snapshots
    catalogue: Catalogue
    similar: SimilarItems
    upkeep: Upkeep
    taking_part: TakingPart
    reporter: Reporter
    dead_letters: DeadLetterTopic
    recommendations: RecommendationsTopic | None
    redis: redis.asyncio.Redis


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


def build(settings: Settings, *, interactions: Deliver, items: Deliver) -> Pipeline:
    """Return a pipeline that hands raw batches of the inputs and of the catalogue to the two receivers.

    Whoever takes them there calls `pipeline.intake.take` and `pipeline.catalogue.take`. Nothing is connected yet.
    Raises `WrongMapping` for an input whose mapping names what does not exist.
    """
    failure, gauges = Failure(), Gauges()
    client = connect(settings.redis.url)
    kafka_outage = Outage(f"Kafka at {settings.kafka.bootstrap_servers}")
    redis_outage = Outage(f"Redis at {_address(settings.redis.url)}")
    brokers, topics = settings.kafka.bootstrap_servers, settings.topics
    # what flows goes round in circles: the later parts are looked up when something comes
    thread: StepThread[Step] = StepThread(
        slice_ms=settings.worker.slice_ms,
        done=lambda done: publisher.add(done),
        failed=failure.report,
        took=lambda: ordering.moved(),
    )
    model_log = ModelLog(brokers, topics.model_log)
    ordering = Ordering(
        model_log,
        thread,
        Effort(settings.worker.effort),
        release=lambda records: source.release(records),
        failed=failure.report,
        most_events=settings.worker.max_chunk_events,
        topics=[topics.items, *(each.topic for each in settings.inputs)],
    )
    receivers = {settings.topics.items: items, **{each.topic: interactions for each in settings.inputs}}
    source = InteractionSource(
        settings,
        receivers,
        room=ordering.room,
        follower=ordering,
        outage=kafka_outage,
        failed=failure.report,
    )
    dead_letters = DeadLetterTopic(brokers, topics.dead_letters)
    recommendations = None
    if settings.worker.publish_recommendations:
        recommendations = RecommendationsTopic(brokers, topics.recommendations)
    prefix, ttl_s = settings.redis.prefix, settings.redis.list_ttl_s
    marker = Marker(client, prefix=prefix)
    lists = RedisTopic(client, prefix=prefix, ttl_s=ttl_s, feed_length=settings.redis.feed_length, marker=marker)
    publisher = Publisher(
        lists,
        recommendations,
        outage=redis_outage,
        release=source.release,
        failed=failure.report,
        observe=gauges.published,
    )
    decoders = {
        each.topic: InteractionDecoder(InputMapping(each.default_kind, each.fields, each.kinds))
        for each in settings.inputs
    }
    intake = Intake(decoders, dead_letters, ordering, failure)
    snapshots = Snapshots(
        thread,
        open_store(settings.snapshots.directory),
        every_s=settings.snapshots.every_s,
        keep=settings.snapshots.keep,
        leads=lambda: ordering.leads,
    )
    catalogue = Catalogue(
        client,
        prefix,
        dead_letters,
        ordering,
        marker,
        KeptOff(client, prefix=prefix, rule_ttl_s=ttl_s),
        outage=redis_outage,
        failure=failure,
    )
    similar_lists = SimilarTopic(client, prefix=prefix, ttl_s=ttl_s, marker=marker)
    similar = SimilarItems(thread, similar_lists, leads=lambda: ordering.leads, outage=redis_outage)
    upkeep = Upkeep(
        marker,
        thread,
        publisher,
        similar,
        again=lambda: source.read_again(topics.items, catalogue.withdraw_below),
        leads=lambda: ordering.leads,
        caught_up=lambda: ordering.taken == ordering.next_record and thread.is_idle,
        failed=failure.report,
        every_s=settings.worker.status_every_s,
        slice_ms=settings.worker.slice_ms,
    )
    inputs = [each.topic for each in settings.inputs]
    taking_part = TakingPart(
        ordering,
        thread,
        upkeep,
        lambda told: Membership(settings.kafka, inputs, topics.model_log, told=told),
        kafka_outage,
    )
    reporter = Reporter(
        settings,
        source,
        intake,
        catalogue,
        ordering,
        thread,
        publisher,
        gauges,
        upkeep,
        taking_part.membership,
        client,
        kafka_outage,
        redis_outage,
    )
    parts = Parts(
        source,
        intake,
        thread,
        ordering,
        model_log,
        publisher,
        snapshots,
        catalogue,
        similar,
        upkeep,
        taking_part,
        reporter,
        dead_letters,
        recommendations,
        client,
    )
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
        self._seat: Seat | None = None

    async def on_start(self) -> None:
        """Connect, resume, and begin to read. Raises `Unavailable` with the remedy within ten seconds."""
        # its client logs lost connections many times a second; the outage lines say it once, with the address
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        # after each kernel the step's thread waits for the interpreter this long while the event loop is busy; the
        # default of 5 ms would be half a slice
        sys.setswitchinterval(_SWITCH_S)
        # what start-up made lives as long as the process: the collector need not look at it again and again
        gc.freeze()
        parts = self.parts
        await self._reach_redis(parts.redis.ping())
        parts.snapshots.check()
        store = open_store(self._settings.snapshots.directory)
        inputs = [each.topic for each in self._settings.inputs]
        resumed = await asyncio.to_thread(resume, self._settings.learning, store, inputs)
        if resumed.path is not None:
            parts.source.resume(resumed.positions, resumed.topic_ids)
        parts.ordering.begin(resumed.order_position, resumed.positions)
        loaded = asyncio.wrap_future(resumed.step.warm_up())
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
        for part in (parts.ordering, parts.snapshots, parts.reporter, parts.similar, parts.upkeep, parts.taking_part):
            self.add_future(self._guard(part.run()))
        self.add_future(self._guard(self._take_part(name, loaded)))

    async def _guard(self, work: Awaitable[None]) -> None:
        """Whatever ends a part that should not end, ends the worker."""
        try:
            await work
        except Exception as error:
            self.failure.report(error)

    async def _take_part(self, name: str, loaded: Awaitable[None]) -> None:
        """Come to a role, beside the rest: a long way to catch up can be stopped like everything."""
        source = self.parts.source
        read = (*(each.topic for each in self._settings.inputs), self._settings.topics.items)
        await self.parts.taking_part.begin(name, source.read_from, {name: source.topic_ids[name] for name in read})
        # lists go out meanwhile, but a slice that ended a block of training would wait; a stop must not cancel what
        # another thread is at
        await asyncio.shield(loaded)
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
                f"no Redis answers at {_address(self._settings.redis.url)} ({str(error) or 'no answer in time'}); "
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


def _address(url: str) -> str:
    """Return what of a Redis URL may be shown: never the password."""
    parts = urlsplit(url)
    return parts.path if parts.hostname is None else f"{parts.hostname}:{parts.port or 6379}"
