"""The source: every partition of every input, in micro-batches, from exact positions, and the order to apply them in.

It bounds what is in flight, and says when Kafka is gone and back. No consumer group decides what is read: positions
belong to the snapshot, together with the state they produced.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

# aiokafka ships no types; its records are put into RawChunk at once
from aiokafka import TopicPartition  # type: ignore[import-untyped]
from aiokafka.errors import (  # type: ignore[import-untyped]
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from faust import Service

from .beginnings import PositionLost, Positions, begin_at, check_ids, open_topics, start_over
from .consumer import LOST, STOP_WITHIN_S, end_consumer, make_consumer
from .errors import BrokerUnreachable
from .model_log import Follower, written
from .outage import Outage
from .read_ahead import Deliver, ReadAhead
from .settings import Settings

_CONNECT_WITHIN_S = 5.0
_POLL_MS = 100
"""How long a poll waits when nothing comes; what comes ends it at once, so this only bounds how soon a stop is seen."""
_FULL_POLL_MS = 20
"""The same while there is no room for inputs."""
_NEEDED_RECORDS = 500
_PROBE_EVERY_S = 1.0
_PROBE_ANSWER_WITHIN_S = 3.0

_log = logging.getLogger(__name__)


async def _always() -> None:
    """There is room."""


class InteractionSource(Service):
    """Reads topics and hands what was waiting to the topics' receivers, in order, one batch at a time.

    Guarantee: from its start positions on, each committed record of each partition is delivered exactly once by this
    object, in offset order. Between partitions the order is whatever Kafka returned.

    It reads ahead, and cuts a batch when `room` returns: so a batch is all that came until the learner could take it,
    up to `worker.max_chunk_events`, and is never waited for. At most `worker.max_in_flight_events` records are held,
    counted from read to `release`; beyond that it does not read.

    `receivers` maps a topic to who takes its batches; `follower` gets the records of the order as soon as they are
    read, before any batch those that stand in the log when this starts. What the order needs next is read also when
    there is no room. Whatever ends reading for good is handed to `failed` once.
    """

    mundane_level = "debug"

    def __init__(
        self,
        settings: Settings,
        receivers: Mapping[str, Deliver],
        *,
        room: Callable[[], Awaitable[None]] = _always,
        follower: Follower | None = None,
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
        self._follower = follower
        self._order_place: Any = None
        self._failed = failed
        self._resume: dict[tuple[str, int], int] = {}
        self._known_ids: dict[str, str] = {}
        self._continues = False
        self._ahead = ReadAhead(receivers, settings.worker.max_chunk_events)
        self._released = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._cut_on = True
        self._read_on = True
        self._again: dict[str, Callable[[Positions], None]] = {}
        self._consumer: Any = None
        self._successor: Any = None
        """A consumer that is connected, to take over where this one has read to."""
        self._connecting = asyncio.Lock()
        self._places: list[Any] = []
        self._added: set[Any] = set()
        """Places that are new in a topic, to be read from now on."""
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

    async def on_start(self) -> None:
        """Create missing topics, check the positions against the log, and begin to read.

        Raises `BrokerUnreachable` within some seconds, `TopicChanged` or `PositionLost`, each with the remedy.
        """
        follower = self._follower
        opened = await open_topics(self._settings, [*self._receivers, *([follower.topic] if follower else [])])
        self.topic_ids = {name: topic_id for name, (topic_id, _) in opened.items()}
        if follower is not None and self._known_ids.pop(follower.topic, None) != opened[follower.topic][0]:
            follower.begin_anew()
        check_ids(self._settings, self.topic_ids, self._known_ids)
        self._places = [TopicPartition(name, p) for name in self._receivers for p in range(opened[name][1])]
        self._consumer = make_consumer(self._settings.kafka)
        try:
            await asyncio.wait_for(self._consumer.start(), _CONNECT_WITHIN_S)
            if follower is not None:
                await self._read_order(follower)
                check_ids(self._settings, self.topic_ids, follower.topic_ids)
                self._resume = {**follower.begun, **self._resume}
            self.read_from = await begin_at(
                self._consumer,
                self._places,
                self._settings,
                self._resume,
                continues=self._continues or bool(follower and follower.begun),
            )
        except (KafkaError, TimeoutError) as error:
            await self._close()
            raise BrokerUnreachable.at(self._settings.kafka.bootstrap_servers) from error
        except BaseException:
            await self._close()
            raise
        self._ahead.next_offsets.update(self.read_from)
        self._assign(lambda place: self.read_from[place.topic, place.partition])
        self._reading = asyncio.gather(self._guard(self._read()), self._guard(self._hand_over()))
        self.add_future(self._guard(self._probe()))

    async def stop_reading(self) -> None:
        """Cut no more batches; what was read ahead is still in the log. The order is read on, until this stops."""
        self._cut_on = False
        self._ahead.came.set()

    async def on_stop(self) -> None:
        """Read no more."""
        await self.stop_reading()
        self._read_on = False
        self._released.set()
        if self._reading is not None:
            with suppress(asyncio.CancelledError, TimeoutError):
                await asyncio.wait_for(self._reading, STOP_WITHIN_S)

    async def on_shutdown(self) -> None:
        """Close the connections, also when no broker answers."""
        await self._close()

    async def _read_order(self, follower: Follower) -> None:
        """Hand over all of the order that stands in its topic now.

        By a connection of its own: on one that waits for more records, each later question would wait with it.
        """
        self._order_place = place = TopicPartition(follower.topic, 0)
        consumer = make_consumer(self._settings.kafka)
        try:
            await asyncio.wait_for(consumer.start(), _CONNECT_WITHIN_S)
            first = (await consumer.beginning_offsets([place]))[place]
            end = (await consumer.end_offsets([place]))[place]
            if not first <= follower.next_record <= end:
                raise PositionLost(
                    f"{follower.topic}: the order is to be followed from offset {follower.next_record}, but the log "
                    f"has {first} to {end}; {start_over(self._settings)}"
                )
            consumer.assign([place])
            consumer.seek(place, follower.next_record)
            while await consumer.position(place) < end:
                batches = await consumer.getmany(place, timeout_ms=_POLL_MS)
                follower.read(written(batches.get(place, ())))
        finally:
            await end_consumer(consumer)

    def _assign(self, offset: Callable[[Any], int]) -> None:
        # No await from assign to the last seek: aiokafka would fetch from elsewhere in between and skip records.
        order = [self._order_place] if self._order_place is not None else []
        self._consumer.assign([*self._places, *order])
        for place in self._places:
            self._consumer.seek(place, offset(place))
        if self._follower is not None:
            self._consumer.seek(self._order_place, self._follower.next_record)

    async def _read(self) -> None:
        while self._read_on:
            if self._successor is not None:
                await self._hand_on()
            needed = self._needed()
            if needed is not None and needed.topic in self._receivers and needed not in self._places:
                self._added.add(needed)
            places, room = self._readable()
            if not places:
                self._released.clear()
                await self._released.wait()
                continue
            try:
                if self._added:
                    await self._take_in()
                    continue
                if self._again:
                    await self._go_back()
                timeout_ms = _POLL_MS if room > _NEEDED_RECORDS else _FULL_POLL_MS
                batches = await self._consumer.getmany(*places, timeout_ms=timeout_ms, max_records=room)
            except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
                raise PositionLost(
                    f"Kafka no longer holds what is next to read ({error}): retention was faster than reading, or a "
                    f"topic was made anew; {start_over(self._settings)}"
                ) from error
            except KafkaError as error:
                if not error.retriable:
                    raise
                continue
            except RuntimeError:
                await self._connect_anew()
                await asyncio.sleep(_POLL_MS / 1000)
                continue
            if self._follower is not None and self._order_place in batches:
                self._follower.read(written(batches.pop(self._order_place)))
            for place, records in batches.items():
                self._ahead.add(place, records)
            if self._follower is not None and (pause_s := self._follower.pause_s) > 0:
                await asyncio.sleep(pause_s)  # each fetch costs us and the broker something, however little it brings

    def _readable(self) -> tuple[list[Any], int]:
        """Return which places may be read now, and how many records."""
        order = [self._order_place] if self._order_place is not None else []
        room = self._settings.worker.max_in_flight_events - self.in_flight - len(self._ahead)
        if not self._cut_on:
            return order, _NEEDED_RECORDS
        if room > 0:
            return [*self._places, *order], room
        needed = self._needed()
        if needed is not None and needed in self._places and needed not in self._ahead:
            return [needed, *order], _NEEDED_RECORDS
        return order, _NEEDED_RECORDS

    def _needed(self) -> Any:
        """Return the place that the order needs next, if it needs any."""
        needed = self._follower.needed if self._follower is not None else None
        return None if needed is None else TopicPartition(*needed)

    async def _take_in(self) -> None:
        """Read places that are new in a topic, too, each from where the order begins it, or from its beginning."""
        added = sorted(self._added)
        first = await self._consumer.beginning_offsets(added)
        begun = self._follower.begun if self._follower is not None else {}
        for place in added:
            key = (place.topic, place.partition)
            self.read_from[key] = self._ahead.next_offsets[key] = begun.get(key, first[place])
        self._places += added
        self._added.difference_update(added)
        self._assign(self._ahead.next_to_read)
        _log.info("%s: new, read from now on", ", ".join(f"{place.topic}[{place.partition}]" for place in added))

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
            if not self._cut_on:
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
            except LOST:
                self.outage.lost("waiting; nothing is lost")
                await self._connect_anew()
            else:
                self.outage.back()
                await self._look_at(ends)
            await self.sleep(_PROBE_EVERY_S)

    async def _connect_anew(self) -> None:
        """Connect another consumer, if the broker lets us: the one there is may never find back to it.

        What aiokafka does not expect (`LOST`) ends its task for metadata; whatever needs some then waits for ever.
        """
        async with self._connecting:
            if self._successor is not None:
                return
            another = make_consumer(self._settings.kafka)
            try:
                await asyncio.wait_for(another.start(), _CONNECT_WITHIN_S)
            except LOST:
                await end_consumer(another)
            else:
                self._successor = another

    async def _hand_on(self) -> None:
        """Let the successor read on, behind the last record that was read. Only between two reads."""
        before, self._consumer, self._successor = self._consumer, self._successor, None
        self._assign(self._ahead.next_to_read)
        await end_consumer(before)

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
        there = {
            TopicPartition(name, number)
            for name in self._receivers
            for number in self._consumer.partitions_for_topic(name) or ()
        }
        if added := there.difference(self._places):
            self._added |= added
            self._released.set()

    async def _guard(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:
            if self._failed is None:
                raise
            self._failed(error)

    async def _close(self) -> None:
        for each in (self._consumer, self._successor):
            if each is not None:
                await end_consumer(each)
