"""What a worker does by the clock beside learning: its status, the popular list, the offsets people watch lag by."""

from __future__ import annotations

import asyncio
import logging
import os
import time

import redis.asyncio
from redis.exceptions import RedisError

from millstream.online_learning.drift import LossDrift
from millstream.online_learning.step import NOBODY, Step
from millstream.streams.membership import Membership
from millstream.streams.outage import Outage
from millstream.streams.settings import Settings
from millstream.streams.source import InteractionSource

from .catalogue import Catalogue
from .drift_log import DriftLog
from .intake import Intake
from .ordering import Ordering
from .publisher import Publisher
from .slices import SliceDone
from .status import Gauges, WorkerStatus, by_topic, percentiles_of, write_status
from .step_thread import StepStopped, StepThread
from .upkeep import Upkeep

_POPULAR_EVERY_S = 1.0
_WRITE_WITHIN_S = 1.0
_Quality = dict[str, dict[str, float | int | None]]

_log = logging.getLogger(__name__)


class Reporter:
    """Reports a running pipeline. Failing to report never disturbs it: the next report replaces it soon."""

    def __init__(
        self,
        settings: Settings,
        source: InteractionSource,
        intake: Intake,
        catalogue: Catalogue,
        ordering: Ordering,
        thread: StepThread[Step],
        publisher: Publisher,
        gauges: Gauges,
        upkeep: Upkeep,
        membership: Membership,
        client: redis.asyncio.Redis,
        kafka: Outage,
        redis_: Outage,
    ) -> None:
        self.state = "starting"
        self._settings = settings
        self._source = source
        self._intake = intake
        self._catalogue = catalogue
        self._ordering = ordering
        self._thread = thread
        self._publisher = publisher
        self._gauges = gauges
        self.worker = ""
        """Its name among the workers."""
        self._upkeep = upkeep
        self._membership = membership
        self._client = client
        self._kafka = kafka
        self._redis = redis_
        self._seq = 0
        self._generation = 1
        self._duplicates = 0
        self._quality: _Quality = {"quality": {}, "popularity": {}}
        self._drifts = DriftLog()
        self._revision = 0
        self._reported = -1, -1

    async def run(self) -> None:
        """Report until cancelled, or until the step has ended."""
        next_popular_s = 0.0
        while True:
            now_s = time.monotonic()
            try:
                looked = await self._thread.call(_look)
                self._seq, self._revision, self._generation, self._duplicates, self._quality, fired, drifts = looked
                self._drifts.note(fired, drifts)
                if now_s >= next_popular_s:
                    next_popular_s = now_s + _POPULAR_EVERY_S
                    await self._by_the_second()
            except StepStopped:
                return
            await self.write()
            await asyncio.sleep(self._settings.worker.status_every_s)

    async def publish_popular(self) -> None:
        """Queue the list for unknown users as of now, unless there are no events to make it of."""
        try:
            slates = await self._thread.call(
                lambda step: step.relist([NOBODY]).encoded(time.time_ns() // 1_000_000) if step.seq else []
            )
        except StepStopped:
            return
        if slates:
            self._publisher.add(SliceDone("", 0, 0, 0, 0, slates))

    async def write(self, state: str | None = None) -> None:
        """Write the status, with `state` or the state that things are in."""
        try:
            status = self._status(state or self._current_state())
            await asyncio.wait_for(write_status(self._client, self._settings.redis.prefix, status), _WRITE_WITHIN_S)
        except (RedisError, OSError, TimeoutError) as error:
            _log.debug("status not written: %s", error)

    async def _by_the_second(self) -> None:
        now = self._publisher.events, self._revision
        if now == self._reported:
            return
        self._reported = now
        if self._ordering.leads:
            await self.publish_popular()
        await self._membership.commit(self._publisher.settled)

    def _current_state(self) -> str:
        if self.state != "running":
            return self.state
        if self._redis.is_lost:
            return "waiting for Redis"
        return "waiting for Kafka" if self._kafka.is_lost else "running"

    def _published(self) -> dict[tuple[str, int], int]:
        """Return how far each partition is published: without an event since the start, as far as it was then."""
        inputs = {each.topic for each in self._settings.inputs}
        begun = {place: at for place, at in self._source.read_from.items() if place[0] in inputs}
        return {**begun, **self._publisher.settled}

    def _status(self, state: str) -> WorkerStatus:
        publisher = self._publisher
        partitions = self._upkeep.partitions
        published = {place: end for place, end in self._published().items() if place[1] in partitions}
        return WorkerStatus(
            worker=self.worker,
            leads=self._ordering.leads,
            partitions=sorted(partitions),
            state=state,
            pid=os.getpid(),
            written_ms=time.time_ns() // 1_000_000,
            uptime_s=round(self._gauges.uptime_s, 3),
            events=publisher.events,
            events_per_s=round(self._gauges.rate(publisher.events), 1),
            lag=self._source.lag + self._source.in_flight,
            seq=self._seq,
            generation=self._generation,
            effort=round(1 / self._thread.train_every, 4),
            slates=publisher.slates,
            items=self._catalogue.items,
            dead_letters=self._intake.dead_letters + self._catalogue.dead_letters,
            duplicates=self._duplicates,
            freshness_ms=self._gauges.freshness(),
            quality=self._quality["quality"],
            popularity=self._quality["popularity"],
            drifts=self._drifts.fired,
            last_drift=self._drifts.last,
            staleness_ms=percentiles_of(self._thread.staleness_ms.values()),
            taken_over=self._upkeep.taken_over,
            redis_losses=self._upkeep.losses,
            stale_after_redis_loss=self._upkeep.stale,
            published_again=self._upkeep.published_again,
            positions=by_topic(published),
        )


def _look(step: Step) -> tuple[int, int, int, int, _Quality, int, tuple[LossDrift, ...]]:
    quality = step.quality
    return (
        step.seq,
        step.revision,
        step.generation,
        step.duplicates,
        quality.summary(),
        quality.drift.fired,
        tuple(quality.drift.drifts),
    )
