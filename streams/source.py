"""The source: every partition of every input, in micro-batches, from exact positions.

    InteractionSource      reads, bounds what is in flight, says when Kafka is gone and back
    PositionLost           the log no longer holds the position to read from
    TopicChanged           the topic is not the one the position was taken in

No consumer group decides what is read: positions belong to the snapshot, together with the state they produced. The
group id serves only to commit offsets, so that people see the lag with their usual tools.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

# aiokafka ships no types; its records are put into RawChunk at once
from aiokafka import AIOKafkaConsumer, TopicPartition  # type: ignore[import-untyped]
from aiokafka.errors import (  # type: ignore[import-untyped]
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from faust import Service

from .errors import BrokerUnreachable, Unavailable
from .outage import Outage
from .read_ahead import Deliver, ReadAhead
from .settings import Settings
from .topics import ensure_topics

Positions = Mapping[tuple[str, int], int]
"""(topic, partition) to the next offset to read."""

_CONNECT_WITHIN_S = 5.0
_STOP_WITHIN_S = 1.0
_POLL_MS = 100
"""How long a poll waits when nothing comes; what comes ends it at once, so this only bounds how soon a stop is seen."""
_PROBE_EVERY_S = 1.0
_PROBE_ANSWER_WITHIN_S = 3.0
_COMMIT_WITHIN_S = 2.0
_METADATA_EVERY_MS = 30_000

_log = logging.getLogger(__name__)


class PositionLost(Unavailable):
    """The log no longer holds the position to read from; the message says what was asked, what is there, the remedy."""


class TopicChanged(Unavailable):
    """A topic was made anew or got more partitions, so that positions taken before do not describe it."""


async def _always() -> None:
    """There is room."""


class InteractionSource(Service):
    """Reads topics and hands what was waiting to the topics' receivers, in order, one batch at a time.

    Guarantee: from its start positions on, each committed record of each partition is delivered exactly once by this
    object, in offset order. Between partitions the order is whatever Kafka returned.

    It reads ahead, and cuts a batch when `room` returns: so a batch is all that came until the learner could take it,
    up to `worker.max_chunk_events`, and is never waited for. At most `worker.max_in_flight_events` records are held,
    counted from read to `release`; beyond that it does not read.

    `receivers` maps a topic to who takes its batches. Topics that are not inputs (the catalogue) are always read from
    their beginning. Whatever ends reading for good is handed to `failed` once.
    """

    mundane_level = "debug"

    def __init__(
        self,
        settings: Settings,
        receivers: Mapping[str, Deliver],
        *,
        room: Callable[[], Awaitable[None]] = _always,
        outage: Outage | None = None,
        failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        super().__init__()
        self.topic_ids: dict[str, str] = {}
        """The broker's UUID of each topic read, once started."""
        self.read_from: dict[tuple[str, int], int] = {}
        """Where each partition was begun, once started."""
        self.lag = 0
        """Records of the inputs in Kafka and not delivered, as of the last probe."""
        self.in_flight = 0
        """Records delivered and not released."""
        self.outage = outage or Outage(f"Kafka at {settings.kafka.bootstrap_servers}")
        self._settings = settings
        self._inputs = {each.topic for each in settings.inputs}
        self._receivers = dict(receivers)
        self._room = room
        self._failed = failed
        self._resume: dict[tuple[str, int], int] = {}
        self._known_ids: dict[str, str] = {}
        self._continues = False
        self._ahead = ReadAhead(receivers, settings.worker.max_chunk_events)
        self._released = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._read_on = True
        self._again: dict[str, Callable[[Positions], None]] = {}
        self._consumer: Any = None
        self._places: list[Any] = []
        self._reading: asyncio.Future[Any] | None = None

    @property
    def next_offsets(self) -> dict[tuple[str, int], int]:
        """Next offset to deliver, by (topic, partition): the end of the last chunk cut."""
        return self._ahead.next_offsets

    def resume(self, positions: Positions, topic_ids: Mapping[str, str]) -> None:
        """Begin at a snapshot's positions, taken when the topics had these ids. Call before `start`.

        A partition without a position is then new since the snapshot and read from its beginning.
        """
        self._continues = True
        self._resume = dict(positions)
        self._known_ids = dict(topic_ids)

    def read_again(self, topic: str, begins: Callable[[Positions], None]) -> None:
        """Read a topic that is no input from its beginning once more, as soon as Kafka says where that is.

        `begins` is told where each partition ended then, before the first record is delivered again.
        """
        self._again[topic] = begins

    def release(self, records: int) -> None:
        """Say that so many records delivered earlier are done with; reading goes on if it had stopped for them."""
        self.in_flight -= records
        if self.in_flight == 0:
            self._idle.set()
        self._released.set()

    async def drain(self, within_s: float) -> bool:
        """Wait until everything delivered is released, or for `within_s`; return whether it is."""
        try:
            await asyncio.wait_for(self._idle.wait(), within_s)
        except TimeoutError:
            return False
        return True

    async def commit(self, positions: Positions) -> None:
        """Commit the positions to the group, for people to watch lag by. Failures are passed over: nothing needs it."""
        assigned = {TopicPartition(*place): offset for place, offset in positions.items() if place in self.next_offsets}
        if not assigned or self.outage.is_lost or self._consumer is None:
            return
        try:
            await asyncio.wait_for(self._consumer.commit(assigned), _COMMIT_WITHIN_S)
        except (KafkaError, TimeoutError) as error:
            _log.debug("offsets of group %s not committed: %s", self._settings.kafka.group_id, error)

    async def on_start(self) -> None:
        """Create missing topics, check the positions against the log, and begin to read.

        Raises `BrokerUnreachable` within some seconds, `TopicChanged` or `PositionLost`, each with the remedy.
        """
        partitions = await self._open_topics()
        self._consumer = self._make_consumer()
        try:
            await asyncio.wait_for(self._consumer.start(), _CONNECT_WITHIN_S)
            self._places = [TopicPartition(name, p) for name, count in partitions.items() for p in range(count)]
            self.read_from = await self._begin_at()
        except (KafkaError, TimeoutError) as error:
            await self._close()
            raise BrokerUnreachable(_unreachable(self._settings.kafka.bootstrap_servers)) from error
        except BaseException:
            await self._close()
            raise
        self._ahead.next_offsets.update(self.read_from)
        # No await from assign to the last seek: aiokafka would fetch from elsewhere in between and skip records.
        self._consumer.assign(self._places)
        for place in self._places:
            self._consumer.seek(place, self.read_from[place.topic, place.partition])
        self._reading = asyncio.gather(self._guard(self._read()), self._guard(self._hand_over()))
        self.add_future(self._guard(self._probe()))

    async def stop_reading(self) -> None:
        """Cut no more batches. The connection stays, for a last `commit`; what was read ahead is still in the log."""
        self._read_on = False
        self._released.set()
        self._ahead.came.set()
        if self._reading is not None:
            with suppress(asyncio.CancelledError, TimeoutError):
                await asyncio.wait_for(self._reading, _STOP_WITHIN_S)

    async def on_stop(self) -> None:
        """Read no more."""
        await self.stop_reading()

    async def on_shutdown(self) -> None:
        """Close the connections, also when no broker answers."""
        await self._close()

    async def _open_topics(self) -> dict[str, int]:
        """Return the partition count of each topic to read, and refuse one that is not what the snapshot knew."""
        states = {state.spec.name: state for state in await asyncio.to_thread(ensure_topics, self._settings)}
        for name in self._receivers:
            for problem in states[name].problems:
                _log.warning("%s", problem)
            now, known = states[name].topic_id, self._known_ids.get(name)
            if known is not None and now != known:
                raise TopicChanged(
                    f"topic {name} was deleted and created again since the snapshot (its id was {known}, is {now}): "
                    f"the snapshot's positions mean nothing in it; {self._start_over()}"
                )
            self.topic_ids[name] = str(now)
        return {name: states[name].partitions for name in self._receivers}

    def _make_consumer(self) -> Any:
        return AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka.bootstrap_servers,
            client_id="millstream-source",
            group_id=self._settings.kafka.group_id,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            metadata_max_age_ms=_METADATA_EVERY_MS,
        )

    async def _begin_at(self) -> dict[tuple[str, int], int]:
        consumer, start = self._consumer, self._settings.snapshots.start
        first, last = await consumer.beginning_offsets(self._places), await consumer.end_offsets(self._places)
        at_time = {}
        if isinstance(start, int) and not self._continues:
            at_time = await consumer.offsets_for_times(dict.fromkeys(self._places, start))
        begin: dict[tuple[str, int], int] = {}
        for place in self._places:
            key = (place.topic, place.partition)
            if key in self._resume:
                begin[key] = self._checked(place, self._resume[key], first[place], last[place])
            elif self._continues or place.topic not in self._inputs or start == "earliest":
                begin[key] = first[place]
            else:
                found = at_time.get(place)
                begin[key] = last[place] if found is None else found.offset
        return begin

    def _checked(self, place: Any, position: int, first: int, last: int) -> int:
        where = f"{place.topic}[{place.partition}]"
        if position < first:
            raise PositionLost(
                f"{where}: the snapshot goes on at offset {position}, but the log now begins at {first}: "
                f"{first - position:,} records were removed unread (retention); {self._start_over()}"
            )
        if position > last:
            raise PositionLost(
                f"{where}: the snapshot goes on at offset {position}, but the log ends at {last}: records it contains "
                f"are gone from Kafka; {self._start_over()}"
            )
        return position

    def _start_over(self) -> str:
        directory = self._settings.snapshots.directory
        return (
            f"to start over with what the log holds, move {directory} away and set MILLSTREAM_SNAPSHOTS__START to "
            "earliest, latest or a time in ms"
        )

    async def _read(self) -> None:
        bound = self._settings.worker.max_in_flight_events
        while self._read_on:
            room = bound - self.in_flight - len(self._ahead)
            if room <= 0:
                self._released.clear()
                await self._released.wait()
                continue
            try:
                if self._again:
                    await self._go_back()
                batches = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=room)
            except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
                raise PositionLost(
                    f"Kafka no longer holds what is next to read ({error}): retention was faster than reading, or a "
                    f"topic was made anew; {self._start_over()}"
                ) from error
            except KafkaError as error:
                if not error.retriable:
                    raise
                continue
            for place, records in batches.items():
                self._ahead.add(place, records)

    async def _go_back(self) -> None:
        places = [place for place in self._places if place.topic in self._again]
        first, last = await self._consumer.beginning_offsets(places), await self._consumer.end_offsets(places)
        # from here on no await: what was read ahead must not be cut between the positions and the seeks
        for topic, begins in self._again.items():
            begins({(topic, place.partition): last[place] for place in places if place.topic == topic})
        self._again.clear()
        for place in places:
            self._ahead.go_back(place, first[place])
            self._consumer.seek(place, first[place])

    async def _hand_over(self) -> None:
        while True:
            await self._ahead.came.wait()
            await self._room()
            if not self._read_on:
                return
            receiver, batch = self._ahead.cut()
            self.in_flight += sum(map(len, batch))
            self._idle.clear()
            await receiver(batch)

    async def _probe(self) -> None:
        """Ask for the end offsets over and over: the lag, and whether Kafka is there at all.

        An idle consumer and one whose broker is gone look the same from `getmany`.
        """
        while not self.should_stop:
            try:
                ends = await asyncio.wait_for(self._consumer.end_offsets(self._places), _PROBE_ANSWER_WITHIN_S)
            except (KafkaError, TimeoutError):
                self.outage.lost("waiting; nothing is lost")
            else:
                self.outage.back()
                await self._look_at(ends)
            await self.sleep(_PROBE_EVERY_S)

    async def _look_at(self, ends: Mapping[Any, int]) -> None:
        lag = 0
        for place, end in ends.items():
            position = self.next_offsets[place.topic, place.partition]
            if place not in self._ahead:
                # the fetch position has passed trailing transaction markers, which are never delivered
                position = max(position, await self._consumer.position(place))
            if place.topic in self._inputs:
                lag += max(0, end - position)
        self.lag = lag
        for name in self._receivers:
            now = len(self._consumer.partitions_for_topic(name) or ())
            known = sum(place.topic == name for place in self._places)
            if now > known:
                raise TopicChanged(
                    f"topic {name} has {now} partitions now and had {known}: start the worker again to read them all "
                    "(it goes on from its snapshot; nothing is lost)"
                )

    async def _guard(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:
            if self._failed is None:
                raise
            self._failed(error)

    async def _close(self) -> None:
        if self._consumer is not None:
            # leaving politely takes an answer, which a broker that is gone will not give
            with suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(self._consumer.stop(), _STOP_WITHIN_S)


def _unreachable(bootstrap_servers: str) -> str:
    return (
        f"no Kafka broker answers at {bootstrap_servers}; start one with `millstream up`, "
        "or name a running one in MILLSTREAM_KAFKA__BOOTSTRAP_SERVERS"
    )
