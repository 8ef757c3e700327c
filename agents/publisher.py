"""The publisher: what the step made goes to Redis, then to Kafka, in order, and then the source may read on.

Two stages with a bounded queue between them: the lists of the next slices reach Redis while Kafka still acknowledges
those before. Both stages wait through outages; what waits is bounded by what the source may have in flight.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

from millstream.schemas.slates import EncodedSlate
from millstream.streams.ending import end_tasks
from millstream.streams.outage import Outage

from .slices import SliceDone

PASSING = (RedisConnectionError, RedisTimeoutError, OutOfMemoryError, ReadOnlyError)
"""What Redis answers, or fails to, in states that pass with time."""

_MERGED_SLATES = 400
_UNACKNOWLEDGED_BATCHES = 32
_LINGER_S = 0.02
"""What has reached Redis waits so long for company on its way to Kafka: a request a slice and partition kept broker and
event loop so busy that lists reached Redis later."""
_RETRY_S = 0.1
_SLOWEST_RETRY_S = 1.0


class ListTopic(Protocol):
    """Where lists are read from: `RedisTopic`."""

    async def publish(self, slates: Sequence[EncodedSlate], published: Mapping[int, int] | None = None) -> list[bool]:
        """Store what is newer; return which were. With these, partitions are published up to the events given."""


class ListLog(Protocol):
    """Where newer lists are logged: `RecommendationsTopic`."""

    async def publish(self, slates: Sequence[EncodedSlate]) -> None:
        """Return when every slate is acknowledged."""


@dataclass(frozen=True, slots=True)
class MadeAgain(SliceDone):
    """Lists made without an event, and who waits for them."""

    stored: asyncio.Future[None] = field(kw_only=True)


@dataclass(slots=True)
class _Batch:
    slices: list[SliceDone]
    slates: list[EncodedSlate]

    @property
    def records(self) -> int:
        return sum(done.records for done in self.slices)

    @property
    def published(self) -> dict[int, int]:
        """By partition, the event up to which all lists are in this batch, or in those before."""
        return {done.partition: done.listed_to for done in self.slices if done.listed_to}

    @property
    def again(self) -> list[MadeAgain]:
        return [done for done in self.slices if isinstance(done, MadeAgain)]


class Publisher:
    """Publishes slices in the order they are added. One event loop owns it.

    Guarantee, at least once: a slice's records are released, and its position counts as `settled`, only when Redis
    holds every list of it (or a newer one of the same user) and Kafka has acknowledged those that Redis judged newer.
    While it is behind, a user's older waiting list gives way to the newer one and is not published on its own.
    """

    def __init__(
        self,
        lists: ListTopic,
        log: ListLog | None,
        *,
        outage: Outage,
        release: Callable[[int], None],
        failed: Callable[[BaseException], None],
        observe: Callable[[Sequence[EncodedSlate], int], None] = lambda _slates, _now_ms: None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.slates = 0
        """Lists that Redis judged newer."""
        self.events = 0
        """Events settled."""
        self.settled: dict[tuple[str, int], int] = {}
        """Next offset by (topic, partition): everything before it is learned and published."""
        self._lists = lists
        self._log = log
        self._outage = outage
        self._release = release
        self._failed = failed
        self._observe = observe
        self._now_ms = now_ms
        self._waiting: deque[SliceDone] = deque()
        self._open: deque[_Batch] = deque()
        self._added = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stored: asyncio.Queue[tuple[_Batch, list[EncodedSlate]]] = asyncio.Queue(_UNACKNOWLEDGED_BATCHES)
        self._stages: list[asyncio.Future[None]] = []

    def start(self) -> None:
        """Begin to publish."""
        self._stages = [
            asyncio.ensure_future(self._guard(self._to_redis())),
            asyncio.ensure_future(self._guard(self._to_kafka())),
        ]

    def add(self, done: SliceDone) -> None:
        """Queue a slice; never waits."""
        self._waiting.append(done)
        self._idle.clear()
        self._added.set()

    async def publish_again(self, slates: Sequence[EncodedSlate]) -> None:
        """Return when Redis holds these lists, made without an event, or newer ones; they wait their turn."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.add(MadeAgain("", 0, 0, 0, 0, slates, stored=stored))
        await stored

    async def drain(self, within_s: float) -> bool:
        """Wait until everything added is published, or for `within_s`; return whether it is."""
        try:
            await asyncio.wait_for(self._idle.wait(), within_s)
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Stop where it stands. What is unpublished stays so, and the marker says of which partition it is."""
        await end_tasks(self._stages)

    async def _to_redis(self) -> None:
        while True:
            await self._added.wait()
            batch = self._take()
            newer = await self._store(batch)
            self.slates += len(newer)
            # a list made again says nothing of how long an event waited
            again = {id(slate) for done in batch.again for slate in done.slates}
            self._observe([slate for slate in newer if id(slate) not in again] if again else newer, self._now_ms())
            for done in batch.again:
                if not done.stored.done():  # whoever waited may have given up
                    done.stored.set_result(None)
            await self._stored.put((batch, newer))

    def _take(self) -> _Batch:
        """Take what waits, some hundred lists at most, and of each user the newest list alone."""
        slices: list[SliceDone] = []
        newest: dict[tuple[str, str], EncodedSlate] = {}
        while self._waiting and len(newest) < _MERGED_SLATES:
            done = self._waiting.popleft()
            slices.append(done)
            for slate in done.slates:
                held = newest.get((slate.list, slate.user_id))
                # what was made again may be added after the list of a later event
                if held is None or held.version < slate.version:
                    newest[slate.list, slate.user_id] = slate
        if not self._waiting:
            self._added.clear()
        batch = _Batch(slices, list(newest.values()))
        self._open.append(batch)
        return batch

    async def _store(self, batch: _Batch) -> list[EncodedSlate]:
        slates, published = batch.slates, batch.published
        if not slates and not published:
            return []
        pause_s = _RETRY_S
        while True:
            try:
                stored = await self._lists.publish(slates, published)
            except PASSING as error:
                self._outage.lost(f"{error}; waiting; nothing is lost")
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _SLOWEST_RETRY_S)
            else:
                self._outage.back()
                return [slate for slate, newer in zip(slates, stored, strict=True) if newer]

    async def _to_kafka(self) -> None:
        while True:
            entries = [await self._stored.get()]
            if self._log is not None:
                await asyncio.sleep(_LINGER_S)
            while not self._stored.empty():
                entries.append(self._stored.get_nowait())
            if self._log is not None:
                newer = [slate for _, slates in entries for slate in slates]
                if newer:
                    await self._log.publish(newer)
            for batch, _ in entries:
                self._settle(batch)

    def _settle(self, batch: _Batch) -> None:
        self._open.popleft()
        for done in batch.slices:
            self.events += done.events
            if done.input:
                self.settled[done.input, done.partition] = done.end
        self._release(batch.records)
        if not self._waiting and not self._open:
            self._idle.set()

    async def _guard(self, stage: Awaitable[None]) -> None:
        try:
            await stage
        except Exception as error:
            self._failed(error)
