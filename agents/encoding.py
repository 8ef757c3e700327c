"""The process that encodes: keeps the topic of content vectors as the catalogue says, and gives way to everything else.

It reads the catalogue from its beginning at each start; what is encoded already, by this encoder and from the same
words, the topic of the vectors itself says. So there is no state to lose. One batch at a time: what comes meanwhile
waits in Kafka.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millstream.schemas.columns import Reject
from millstream.schemas.decode_items import ItemDecoder
from millstream.schemas.item_vectors import ItemVector, decode_vector, encode_vector
from millstream.schemas.records import Item
from millstream.streams.acked_producer import AckedProducer, Record
from millstream.streams.settings import Settings
from millstream.streams.topic_reading import read_to_end

from .encoders import TextEncoder
from .from_beginning import FromBeginning
from .item_contents import contents, digest_of

_AT_ONCE = 64
"""Items encoded between two looks at what else is there."""
_MOST_KEPT = 50_000
"""Vectors kept by what they were made of: many items may say the same, and one may say again what it said before."""

_SESSION = Path("/proc/self/autogroup")

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
        self._digests: dict[str, str] = {}
        self._kept: dict[str, ItemVector] = {}

    async def run(self, *, once: bool = False, on_progress: Callable[[int, int], None] = lambda done, of: None) -> None:
        """Encode until cancelled; `once`: until all that the catalogue has now is encoded.

        `on_progress` hears how many of its records are done, and of how many. An outage is waited out. Raises
        `BrokerUnreachable` where there is no Kafka at the start, and `RefusedByBroker`.
        """
        await asyncio.to_thread(self._look_back)
        try:
            catalogue = FromBeginning(self._settings, [self._settings.topics.items], at_once=_AT_ONCE)
            async with aclosing(catalogue.batches()) as batches:
                async for batch in batches:
                    await self._take(batch.records)
                    on_progress(batch.done, batch.of)
                    if once and batch.caught_up:
                        return
        finally:
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
    """Let other processes of the machine go first, by as much as this.

    Where Linux deals its time to sessions (sched_autogroup_enabled, see sched(7)), niceness counts within a session
    alone: one that this process leads gives way as a whole. One that it shares, as in a terminal, is left as it is.
    """
    os.nice(max(0, nice - os.nice(0)))
    if os.getsid(0) == os.getpid():
        with suppress(OSError):
            _SESSION.write_text(str(nice))


def _of(made: ItemVector, item_id: str) -> ItemVector:
    return ItemVector(item_id, made.encoder, made.digest, made.scale, made.coded)
