"""The process that encodes: keeps the topic of content vectors as the catalogue says, and gives way to everything else.

It reads the catalogue from its beginning at each start; what is encoded already, by this encoder and from the same
words, the topic of the vectors itself says. So there is no state to lose. One batch at a time: what comes meanwhile
waits in Kafka.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition  # type: ignore[import-untyped]  # it ships no types

from millstream.schemas.columns import Reject
from millstream.schemas.decode_items import ItemDecoder
from millstream.schemas.item_vectors import ItemVector, decode_vector, encode_vector
from millstream.schemas.records import Item
from millstream.streams.acked_producer import AckedProducer, Record
from millstream.streams.beginnings import open_topics
from millstream.streams.consumer import LOST, end_consumer, make_consumer
from millstream.streams.errors import BrokerUnreachable
from millstream.streams.outage import Outage
from millstream.streams.settings import Settings
from millstream.streams.topic_reading import read_to_end

from .encoders import TextEncoder
from .item_contents import contents, digest_of

_AT_ONCE = 64
"""Items encoded between two looks at what else is there."""
_POLL_MS = 200
_RETRY_S = 1.0
_MOST_KEPT = 50_000
"""Vectors kept by what they were made of: many items may say the same, and one may say again what it said before."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Encoded:
    """What was done so far."""

    records: int = 0
    """Records of the catalogue read."""
    encoded: int = 0
    """Vectors written."""
    removed: int = 0
    """Vectors taken back."""


class Encoding:
    """Encodes what changes. One event loop; the encoder works on another thread."""

    def __init__(self, settings: Settings, encoder: TextEncoder) -> None:
        self.done = Encoded()
        self._settings = settings
        self._encoder = encoder
        self._decoder = ItemDecoder()
        brokers, topics = settings.kafka.bootstrap_servers, settings.topics
        self._producer = AckedProducer(brokers, topics.item_vectors, client_id="millstream-encode")
        self._outage = Outage(f"Kafka at {brokers}")
        self._digests: dict[str, str] = {}
        self._kept: dict[str, ItemVector] = {}
        self._consumer: Any = None

    async def run(self, *, once: bool = False, on_progress: Callable[[int, int], None] = lambda done, of: None) -> None:
        """Encode until cancelled; `once`: until all that the catalogue has now is encoded.

        `on_progress` hears how many of its records are done, and of how many. An outage is waited out. Raises
        `BrokerUnreachable` where there is no Kafka at the start, and `RefusedByBroker`.
        """
        topic = self._settings.topics.items
        await asyncio.to_thread(self._look_back)
        try:
            ends: Mapping[Any, int] = {}
            while True:
                try:
                    if self._consumer is None:
                        ends = await self._connect()
                    batches = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_AT_ONCE)
                    at = {place: await self._consumer.position(place) for place in ends}
                    grown = len(self._consumer.partitions_for_topic(topic) or ()) > len(ends)
                except (*LOST, BrokerUnreachable) as error:
                    self._outage.lost(f"{error!r}; waiting; nothing is lost")
                    await self._disconnect()
                    await asyncio.sleep(_RETRY_S)
                    continue
                self._outage.back()
                if grown:  # partitions were added: all is read again, and nothing encoded twice
                    await self._disconnect()
                    continue
                await self._take([record for records in batches.values() for record in records])
                on_progress(sum(min(at[place], end) for place, end in ends.items()), sum(ends.values()))
                if once and all(at[place] >= end for place, end in ends.items()):
                    return
        finally:
            await self._disconnect()
            await self._producer.close()

    def _look_back(self) -> None:
        """Read which items have a vector of what they say, by this encoder."""
        topics = self._settings.topics
        for record in read_to_end(self._settings.kafka.bootstrap_servers, topics.item_vectors):
            item_id = (record.key or b"").decode(errors="replace")
            self._digests.pop(item_id, None)
            try:
                found = None if record.value is None else decode_vector(record.value)
            except ValueError:
                continue  # the worker's to put aside; it is written anew
            if found is not None:
                self._digests[item_id] = found.digest

    async def _connect(self) -> Mapping[Any, int]:
        """Read the catalogue from its beginning; return where each of its partitions ends now."""
        topic = self._settings.topics.items
        _, count = (await open_topics(self._settings, [topic]))[topic]
        self._consumer = consumer = make_consumer(self._settings.kafka)
        await consumer.start()
        places = [TopicPartition(topic, number) for number in range(count)]
        first, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        consumer.assign(places)  # no await from here to the last seek
        for place in places:
            consumer.seek(place, first[place])
        return dict(ends)

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await end_consumer(consumer)

    async def _take(self, records: Sequence[Any]) -> None:
        """Write the vectors of the last words on each item, where they are not there yet."""
        last: dict[str, Item | None] = {}
        for record in records:
            if record.value is None:
                last[(record.key or b"").decode(errors="replace")] = None
                continue
            item = self._decoder.decode_item(
                record.value, offset=record.offset, timestamp_ms=record.timestamp, input="", partition=record.partition
            )
            if not isinstance(item, Reject):  # a rejected one is the worker's to put aside
                last[item.item_id] = item
        self.done.records += len(records)
        name = self._encoder.name
        new = {
            item.item_id: (item, digest)
            for item in last.values()
            if item is not None and self._digests.get(item.item_id) != (digest := digest_of(item, name))
        }
        unseen = [item for item, digest in new.values() if digest not in self._kept]
        if unseen:
            for made in await asyncio.to_thread(contents, unseen, self._encoder):
                self._kept[made.digest] = made
        vectors = [_of(self._kept[digest], item_id) for item_id, (_, digest) in new.items()]
        gone = [item_id for item_id, item in last.items() if item is None and item_id in self._digests]
        out = [Record(each.item_id.encode(), encode_vector(each)) for each in vectors]
        await self._producer.send([*out, *(Record(item_id.encode(), None) for item_id in gone)])
        self._digests.update({each.item_id: each.digest for each in vectors})
        for item_id in gone:
            del self._digests[item_id]
        while len(self._kept) > _MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self.done.encoded += len(vectors)
        self.done.removed += len(gone)


def give_way(nice: int) -> None:
    """Let other processes of the machine go first, by as much as this."""
    os.nice(max(0, nice - os.nice(0)))


def _of(made: ItemVector, item_id: str) -> ItemVector:
    return ItemVector(item_id, made.encoder, made.digest, made.scale, made.coded)
