"""The composition root: the one place that chooses classes and joins them, and the order they start and stop in.

source ─▶ (Faust channel and agent) ─▶ intake ─▶ step thread ─▶ publisher ─▶ Redis, Kafka ─▶ source.release
                                         └▶ dead letters    └▶ snapshots
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from urllib.parse import urlsplit

import redis.asyncio
from faust import Service
from redis.exceptions import RedisError

from millstream.online_learning.step import Step
from millstream.schemas.decode import InteractionDecoder
from millstream.schemas.mapping import InputMapping
from millstream.streams.dead_letters import DeadLetterTopic
from millstream.streams.errors import Unavailable
from millstream.streams.kept_off import KeptOff
from millstream.streams.marker import Marker
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
from .order_log import OrderLog
from .publisher import Publisher
from .redis_loss import RedisLoss
from .reporter import Reporter
from .similar_items import SimilarItems
from .snapshots import Resumed, SnapshotRefused, Snapshots, resume
from .status import Gauges, by_topic
from .step_thread import SliceDone, StepStopped, StepThread
from .warm_up import COMPILING, are_compiled, compile_kernels

_REDIS_ANSWERS_WITHIN_S = 5.0
_RANKING_THREADS = min(4, os.cpu_count() or 1)
"""For lists made again at the start; each takes working memory while they are, some 20 MB under the default caps."""
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
    order: OrderLog
    publisher: Publisher
    snapshots: Snapshots
    catalogue: Catalogue
    similar: SimilarItems
    redis_loss: RedisLoss
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
    receivers = {settings.topics.items: items, **{each.topic: interactions for each in settings.inputs}}
    source = InteractionSource(
        settings,
        receivers,
        room=lambda: thread.room(),  # the one made below: what flows goes round in a circle of releases
        outage=kafka_outage,
        failed=failure.report,
    )
    brokers, topics = settings.kafka.bootstrap_servers, settings.topics
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
    order = OrderLog(settings.snapshots.directory)
    thread: StepThread[Step] = StepThread(
        slice_ms=settings.worker.slice_ms,
        done=publisher.add,
        failed=failure.report,
        effort=Effort(settings.worker.effort),
        order=order,
    )
    decoders = {
        each.topic: InteractionDecoder(InputMapping(each.default_kind, each.fields, each.kinds))
        for each in settings.inputs
    }
    intake = Intake(decoders, dead_letters, thread, failure)
    snapshots = Snapshots(
        thread,
        settings.snapshots.directory,
        every_s=settings.snapshots.every_s,
        keep=settings.snapshots.keep,
        unpublished=publisher.unpublished,
        order=order,
    )
    catalogue = Catalogue(
        client,
        prefix,
        dead_letters,
        thread,
        marker,
        KeptOff(client, prefix=prefix, rule_ttl_s=ttl_s),
        outage=redis_outage,
        failure=failure,
    )
    similar_lists = SimilarTopic(client, prefix=prefix, ttl_s=ttl_s, marker=marker)
    similar = SimilarItems(thread, similar_lists, outage=redis_outage)
    redis_loss = RedisLoss(
        marker,
        thread,
        publisher,
        similar,
        lists,
        similar_lists,
        again=lambda: source.read_again(settings.topics.items, catalogue.withdraw_below),
        failed=failure.report,
        every_s=settings.worker.status_every_s,
        slice_ms=settings.worker.slice_ms,
    )
    reporter = Reporter(
        settings, source, intake, catalogue, thread, publisher, gauges, redis_loss, client, kafka_outage, redis_outage
    )
    parts = Parts(
        source,
        intake,
        thread,
        order,
        publisher,
        snapshots,
        catalogue,
        similar,
        redis_loss,
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
        self.summary = Summary(events=0, slates=0, dead_letters=0, seq=0, state_hash=None, positions={})
        """How the run ended, once stopped; all zero if it had not begun or the step had failed."""
        self._settings = settings
        self._begun = False

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
        parts.snapshots.check_directory()
        directory = self._settings.snapshots.directory
        inputs = [each.topic for each in self._settings.inputs]
        resumed = await asyncio.to_thread(resume, self._settings.learning, directory, inputs)
        if resumed.path is not None:
            parts.source.resume(resumed.positions, resumed.topic_ids)
        # on from the snapshot: what is applied again is recorded again, in the same order
        parts.order.begin(resumed.step.seq)
        loaded = asyncio.wrap_future(resumed.step.warm_up())
        await self._reach_redis(parts.redis_loss.begin(resumed.step.seq))
        parts.thread.start(resumed.step, resumed.order)
        parts.publisher.start()
        if not are_compiled():
            _log.info(COMPILING)
        # asked before the first chunk is there, so it comes first: what is read meanwhile waits
        ready = asyncio.ensure_future(parts.thread.call(lambda _: compile_kernels()))
        again = asyncio.ensure_future(self._publish_again(resumed))
        await parts.source.maybe_start()
        parts.snapshots.describe(topic_ids=parts.source.topic_ids, begun=parts.source.read_from)
        _log.info("%s", self._start_line(resumed))
        await asyncio.gather(ready, again)
        self._begun = True
        self.add_future(parts.snapshots.run())
        self.add_future(parts.reporter.run())
        self.add_future(parts.similar.run())
        self.add_future(parts.redis_loss.run())
        # lists go out meanwhile, but a slice that ended a block of training would wait
        await loaded
        parts.reporter.state = "running"

    async def on_stop(self) -> None:
        """Stop reading, publish what is on its way, take a snapshot, close; within about five seconds."""
        parts = self.parts
        parts.reporter.state = "stopping"
        await parts.source.stop_reading()
        if self._begun and self.failure.error is None:
            await parts.reporter.publish_popular()
            if not await parts.source.drain(_DRAIN_WITHIN_S):
                parts.thread.abandon()
                await parts.publisher.drain(_FLUSH_WITHIN_S)
        if self._begun:
            # a start that came only half-way must not replace a snapshot whose lists it has not published again
            await self._snapshot()
        await parts.source.commit(parts.publisher.settled)
        await parts.source.stop()
        await parts.publisher.stop()
        await parts.thread.stop(_THREAD_ENDS_WITHIN_S)
        parts.order.close()
        await parts.reporter.write("stopped")
        await asyncio.gather(*(topic.close(_CLOSE_WITHIN_S) for topic in self._kafka_topics()))
        await parts.redis.aclose()

    def _kafka_topics(self) -> list[DeadLetterTopic | RecommendationsTopic]:
        recommendations = self.parts.recommendations
        return [self.parts.dead_letters, *([recommendations] if recommendations is not None else [])]

    async def _reach_redis(self, asked: Awaitable[object]) -> None:
        try:
            await asyncio.wait_for(asked, _REDIS_ANSWERS_WITHIN_S)
        except (RedisError, OSError, TimeoutError) as error:
            raise RedisUnreachable(
                f"no Redis answers at {_address(self._settings.redis.url)} ({str(error) or 'no answer in time'}); "
                "start one with `millstream up`, or name a running one in MILLSTREAM_REDIS__URL"
            ) from error

    async def _publish_again(self, resumed: Resumed) -> None:
        if resumed.unpublished:
            slates = await self.parts.thread.call(
                lambda step: step.relist(resumed.unpublished, threads=_RANKING_THREADS).encoded(
                    time.time_ns() // 1_000_000
                )
            )
            self.parts.publisher.add(SliceDone("", 0, 0, 0, 0, slates))

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
