"""The log once more: the inputs in their recorded order, read beside the workers, for what is asked of the past.

Nothing is written, and nobody's offsets move.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

# kafka-python ships no types
from kafka import KafkaConsumer, TopicPartition  # type: ignore[import-untyped]

from millstream.online_learning.order import FollowedOrder, OrderPosition, Part, Place
from millstream.schemas.columns import Chunk, Columns
from millstream.schemas.decode_items import ItemDecoder
from millstream.schemas.order_records import decode_order
from millstream.streams.errors import Unavailable
from millstream.streams.read_ahead import RawChunk, ReadAhead
from millstream.streams.settings import Settings
from millstream.streams.topic_reading import consuming, read_to_end

from .catalogue import read_items, read_vectors
from .intake import decode_chunk, decoders_of

_AT_ONCE = 4_000
_POLL_MS = 500
_STILL_WITHIN_S = 20.0


class PastGone(Unavailable):
    """Kafka no longer holds what is asked for; the message says what and since where."""


class Refold:
    """The parts that come after a state, in the recorded order. Raises what `read_to_end` does, and `PastGone`."""

    def __init__(self, settings: Settings, position: OrderPosition, positions: Mapping[Place, int]) -> None:
        self._settings = settings
        self._order = FollowedOrder(position, positions)
        log = settings.topics.model_log
        for record in read_to_end(settings.kafka.bootstrap_servers, log, start={0: position.offset}):
            if record.offset > self._order.position.offset:
                raise PastGone(f"{log} begins at offset {record.offset}, and {position.offset} is asked for")
            self._order.read(record.offset, decode_order(record.value))
        self._decoders = decoders_of(settings)
        self._items = ItemDecoder()

    @property
    def events(self) -> int:
        """Offsets that are ordered and not given yet."""
        return self._order.ahead

    def parts(self) -> Iterator[Part]:
        """Yield all of them that the order has."""
        with consuming(self._settings.kafka.bootstrap_servers) as consumer:
            topics = self._settings.topics
            ahead = ReadAhead(dict.fromkeys([*self._decoders, topics.items, topics.item_vectors], _nobody), _AT_ONCE)
            while (place := self._order.needed) is not None:
                for raw in self._read(consumer, ahead, place):
                    self._order.offer(Chunk(raw.input, raw.partition, raw.start, raw.end, self._decode(raw)), len(raw))
                yield from self._order.take()
                if self._order.swapped() is not None:
                    raise PastGone(
                        f"{self._settings.topics.model_log} goes on with another model there, which no fold from "
                        "before it comes to; only snapshots from after it do"
                    )

    def _read(self, consumer: KafkaConsumer, ahead: ReadAhead, place: Place) -> tuple[RawChunk, ...]:
        """Return what comes next at a place, some thousand records at most."""
        where = TopicPartition(*place)
        if where not in consumer.assignment():
            self._begin(consumer, ahead, where)
        consumer.resume(where)
        began_s = time.monotonic()
        records: list[Any] = []
        while not records:
            records = consumer.poll(timeout_ms=_POLL_MS, max_records=_AT_ONCE).get(where, [])
            if time.monotonic() - began_s > _STILL_WITHIN_S:
                raise PastGone(f"{place[0]}[{place[1]}]: nothing more came for {_STILL_WITHIN_S:g} s; run this again")
        consumer.pause(where)
        ahead.add(where, records)
        return ahead.cut()[1]

    def _begin(self, consumer: KafkaConsumer, ahead: ReadAhead, where: TopicPartition) -> None:
        start = self._order.begun[where.topic, where.partition]
        first = consumer.beginning_offsets([where])[where]
        if start < first and where.topic in self._decoders:
            raise PastGone(
                f"{where.topic}[{where.partition}] is needed from offset {start} on, and Kafka has it from {first} on"
            )
        assigned = consumer.assignment()
        at = {each: consumer.position(each) for each in assigned}
        consumer.assign([*assigned, where])
        for each, offset in {**at, where: max(start, first)}.items():
            consumer.seek(each, offset)
            consumer.pause(each)
        ahead.next_offsets[where.topic, where.partition] = start

    def _decode(self, raw: RawChunk) -> Columns:
        if raw.input in self._decoders:
            return decode_chunk(self._decoders, raw)[0]
        if raw.input == self._settings.topics.item_vectors:
            return read_vectors(raw)[0]
        return read_items(self._items, raw).columns


async def _nobody(_: object) -> None:
    """What is cut is taken at once."""
