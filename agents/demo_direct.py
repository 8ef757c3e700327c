"""The demo without Kafka: the same events straight into the same step, its lists into the same Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Self

from millstream.online_learning.order import OrderPosition, Part
from millstream.online_learning.step import Step
from millstream.schemas.columns import Chunk, InteractionColumns, catalogue_chunk
from millstream.schemas.records import Item
from millstream.streams.outage import Outage
from millstream.streams.redis_connection import connect
from millstream.streams.redis_topic import RedisTopic
from millstream.streams.settings import Settings

from .demo_route import Standing
from .effort import FULL
from .freshness import FreshnessMeter
from .publisher import Publisher
from .slices import SliceDone
from .step_thread import StepThread
from .warm_up import compile_kernels, load_training

_TICK_S = 0.002
_PUBLISHED_WITHIN_S = 30.0


class Directly:
    """A route of one process. An event's send is the moment it falls due here; nothing is rejected on this way.

    The step is fed as the worker's is: what has fallen due makes a chunk, of one partition, so the state equals the
    one that `evaluate` makes of the same log.
    """

    def __init__(
        self,
        settings: Settings,
        columns: InteractionColumns,
        rate: float,
        meter: FreshnessMeter,
        catalogue: Sequence[Item] = (),
    ) -> None:
        self.sent = 0
        self._settings = settings
        self._columns = columns
        self._catalogue = catalogue
        self._rate = rate
        self._meter = meter
        self._learned = 0
        self._in_flight = 0
        self._failure: BaseException | None = None
        self._took = asyncio.Event()
        self._step = StepThread[Step](
            slice_ms=settings.worker.slice_ms, done=self._done, failed=self._fail, took=self._took.set
        )
        self._client = connect(settings.redis.url)
        self._publisher = Publisher(
            RedisTopic(
                self._client,
                prefix=settings.redis.prefix,
                ttl_s=settings.redis.list_ttl_s,
                feed_length=settings.redis.feed_length,
            ),
            None,
            outage=Outage("redis (lists)"),
            release=self._release,
            failed=self._fail,
        )

    async def __aenter__(self) -> Self:
        # so that no event of the run waits for it
        await asyncio.to_thread(compile_kernels)
        await asyncio.to_thread(load_training)
        self._step.start(Step(self._settings.learning, [self._settings.inputs[0].topic]))
        self._publisher.start()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._publisher.stop()
        await self._step.stop()
        await self._client.aclose()

    async def offer(self) -> None:
        """Submit what has fallen due, as one chunk, until all is submitted; hold back while too much is in flight."""
        n, topic = len(self._columns), self._settings.inputs[0].topic
        most = self._settings.worker.max_chunk_events
        if self._catalogue:
            await self._submit(catalogue_chunk(self._catalogue, self._settings.topics.items), records=0)
        began_ns = time.monotonic_ns()
        while self.sent < n:
            self._raise_failure()
            due = min(n, self.sent + most, int((time.monotonic_ns() - began_ns) / 1e9 * self._rate) + 1)
            if due <= self.sent or self._in_flight >= self._settings.worker.max_in_flight_events:
                await asyncio.sleep(_TICK_S)
                continue
            part = self._columns.cut(self.sent, due)
            now_ns = time.monotonic_ns()
            for user_id, offset in zip(part.user_ids, part.offsets.tolist(), strict=True):
                self._meter.sent(user_id, offset, now_ns)
            chunk = Chunk(topic, 0, self.sent, due, part)
            self.sent = due
            self._in_flight += len(part)
            await self._submit(chunk, records=len(part))

    async def _submit(self, chunk: Chunk, *, records: int) -> None:
        while self._step.queued:
            self._took.clear()
            await self._took.wait()
        self._step.submit([Part(chunk, records, FULL, OrderPosition(), 0)])

    async def standing(self) -> Standing:
        """Return the step's own figures."""
        self._raise_failure()
        return await self._step.call(self._look)

    async def finish(self) -> Standing:
        """Wait until every list is in Redis; return the end."""
        await self._publisher.drain(_PUBLISHED_WITHIN_S)
        standing = await self.standing()
        state_hash = await self._step.call(lambda step: step.state_hash())
        return Standing(
            learned=standing.learned,
            lists=standing.lists,
            dead_letters=standing.dead_letters,
            quality=standing.quality,
            popularity=standing.popularity,
            drifts=standing.drifts,
            last_drift=standing.last_drift,
            effort=standing.effort,
            state_hash=state_hash,
        )

    def _look(self, step: Step) -> Standing:
        figures, drift = step.quality.summary(), step.quality.drift
        return Standing(
            learned=self._learned,
            lists=self._publisher.slates,
            dead_letters=step.duplicates,
            quality=figures["quality"],
            popularity=figures["popularity"],
            drifts=drift.fired,
            last_drift=drift.drifts[-1] if drift.drifts else None,
            effort="full",
        )

    def _done(self, done: SliceDone) -> None:
        self._learned += done.events
        self._publisher.add(done)

    def _release(self, records: int) -> None:
        self._in_flight -= records

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
