"""The catalogue: into the step, and into one Redis hash beside the lists, each item's title and availability.

The topic is read from its beginning at every start. The hash is overwritten item by item, and the step passes over what
it has taken in before, so reading a record again changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
import numpy as np
import redis.asyncio

from millstream.schemas.columns import Chunk, ItemColumns, Reject
from millstream.schemas.decode_items import ItemDecoder
from millstream.schemas.records import Item
from millstream.streams.outage import Outage
from millstream.streams.source import RawChunk

from .failure import Failure
from .intake import DeadLetters, Learner
from .publisher import PASSING

_RETRY_S = 0.5


class Shown(msgspec.Struct, frozen=True):
    """What the hash holds of an item, as JSON."""

    title: str | None
    available: bool


def catalogue_key(prefix: str) -> str:
    """Return the Redis key of the hash: item id to `{"title": …, "available": …}`."""
    return f"{prefix}items"


def titles(values: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the titles in a hash as `HGETALL` gives it; items without one are left out."""
    read = {key.decode(): msgspec.json.decode(value, type=Shown).title for key, value in values.items()}
    return {item_id: title for item_id, title in read.items() if title is not None}


class Catalogue:
    """Applies the items topic to the hash and to the step, in order; a tombstone removes its key's item.

    Waits through outages.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        prefix: str,
        dead_letters: DeadLetters,
        learner: Learner,
        *,
        outage: Outage,
        failure: Failure,
    ) -> None:
        self.items = 0
        """Records taken."""
        self.dead_letters = 0
        self._client = client
        self._key = catalogue_key(prefix)
        self._decoder = ItemDecoder()
        self._letters = dead_letters
        self._learner = learner
        self._outage = outage
        self._failure = failure

    async def take(self, raw: RawChunk) -> None:
        """Return when the hash holds what the chunk says and it is queued for learning. Errors are reported."""
        try:
            columns, shown, rejects = self._decode(raw)
            if rejects:
                await self._letters.write(
                    rejects, raw.values, raw.timestamps_ms, topic=raw.input, partition=raw.partition
                )
                self.dead_letters += len(rejects)
            await self._write(shown)
            chunk = Chunk(raw.input, raw.partition, raw.start, raw.end, columns)
            await self._learner.submit(chunk, records=len(raw))
            self.items += len(raw)
        except Exception as error:
            self._failure.report(error)

    def _decode(self, raw: RawChunk) -> tuple[ItemColumns, dict[str, bytes | None], list[Reject]]:
        """Return the items of the chunk, the last word on each for the hash (None: removed), what could not be read."""
        shown: dict[str, bytes | None] = {}
        items: list[Item] = []
        offsets: list[int] = []
        rejects: list[Reject] = []
        for index, value in enumerate(raw.values):
            if value is None:
                removed = Item(item_id=(raw.keys[index] or b"").decode(errors="replace"), available=False)
                items.append(removed)
                offsets.append(raw.offsets[index])
                shown[removed.item_id] = None
                continue
            item = self._decoder.decode_item(
                value,
                offset=raw.offsets[index],
                timestamp_ms=raw.timestamps_ms[index],
                input=raw.input,
                partition=raw.partition,
                index=index,
            )
            if isinstance(item, Reject):
                rejects.append(item)
            else:
                items.append(item)
                offsets.append(raw.offsets[index])
                shown[item.item_id] = msgspec.json.encode(Shown(item.title, item.available))
        return ItemColumns(items, np.array(offsets, np.int64)), shown, rejects

    async def _write(self, changes: dict[str, bytes | None]) -> None:
        kept = {item_id: shown for item_id, shown in changes.items() if shown is not None}
        removed = [item_id for item_id, shown in changes.items() if shown is None]
        while changes:
            try:
                async with self._client.pipeline(transaction=False) as pipe:
                    if kept:
                        pipe.hset(self._key, items=[part for pair in kept.items() for part in pair])
                    if removed:
                        pipe.hdel(self._key, *removed)
                    await pipe.execute()
            except PASSING as error:
                self._outage.lost(f"{error}; waiting; nothing is lost")
                await asyncio.sleep(_RETRY_S)
            else:
                self._outage.back()
                return
