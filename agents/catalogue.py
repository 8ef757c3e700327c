"""The catalogue as people see it: each item's title and availability, in one Redis hash beside the lists.

The topic is read from its beginning at every start and the hash is overwritten item by item, so nothing of it needs a
snapshot, and reading a record again changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import msgspec
import redis.asyncio

from millstream.schemas.columns import Reject
from millstream.schemas.decode_items import ItemDecoder
from millstream.streams.outage import Outage
from millstream.streams.source import RawChunk

from .failure import Failure
from .intake import DeadLetters
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
    """Applies the items topic to the hash, in order; a tombstone removes its key's item. Waits through outages."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        prefix: str,
        dead_letters: DeadLetters,
        *,
        outage: Outage,
        release: Callable[[int], None],
        failure: Failure,
    ) -> None:
        self.items = 0
        """Records applied."""
        self.dead_letters = 0
        self._client = client
        self._key = catalogue_key(prefix)
        self._decoder = ItemDecoder()
        self._letters = dead_letters
        self._outage = outage
        self._release = release
        self._failure = failure

    async def take(self, raw: RawChunk) -> None:
        """Return when the hash holds what the chunk says. Errors are reported."""
        try:
            changes, rejects = self._decode(raw)
            if rejects:
                await self._letters.write(
                    rejects, raw.values, raw.timestamps_ms, topic=raw.input, partition=raw.partition
                )
                self.dead_letters += len(rejects)
            await self._write(changes)
            self.items += len(raw)
            self._release(len(raw))
        except Exception as error:
            self._failure.report(error)

    def _decode(self, raw: RawChunk) -> tuple[dict[str, bytes | None], list[Reject]]:
        """Return the last word on each item of the chunk, None for removed, and what could not be read."""
        changes: dict[str, bytes | None] = {}
        rejects: list[Reject] = []
        for index, value in enumerate(raw.values):
            if value is None:
                changes[(raw.keys[index] or b"").decode(errors="replace")] = None
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
                changes[item.item_id] = msgspec.json.encode(Shown(item.title, item.available))
        return changes, rejects

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
