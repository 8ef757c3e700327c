"""The catalogue: into the step, and into one Redis hash beside the lists, each item as its last record says.

The content vectors of its items (`schemas/item_vectors.py`) come on a topic of their own and go into the step alone.

The topic is read on from where the order stands, and again from its beginning when Redis has lost something. The hash
is overwritten item by item by the worker that decides the order, before it orders the chunk; what was ordered before is
passed over, so reading a record again changes nothing.

What the topic says of availability is heeded by the step: no list made from then on holds what is withdrawn, and those
that do are mended (`withdrawals.py`). `withdrawn`, which holds from the next read on, is the serving side's to write;
the worker writes it only after a loss, from what the topic has of it (a tombstone, or `available: false`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import redis.asyncio

from millstream.schemas.columns import Chunk, ItemColumns, Reject, VectorColumns
from millstream.schemas.decode_items import ItemDecoder
from millstream.schemas.item_vectors import CONTENT, ItemVector, decode_vector
from millstream.schemas.records import Item
from millstream.schemas.rejects import RejectCode
from millstream.streams.beginnings import Positions
from millstream.streams.catalogue_hash import catalogue_key, encode_item
from millstream.streams.kept_off import KeptOff, TooManyWithdrawn
from millstream.streams.marker import Marker
from millstream.streams.outage import Outage
from millstream.streams.read_ahead import RawBatch, RawChunk

from .failure import Failure
from .intake import DeadLetters, Offered
from .ordering import Reading
from .publisher import PASSING

_RETRY_S = 0.5
_WITHDRAWN_AT_ONCE = 100

_GONE = ItemVector("", "", "", 0.0, bytes(CONTENT))
"""What a tombstone of the content vectors stands for."""

_log = logging.getLogger(__name__)


class ReadItems(NamedTuple):
    """What a chunk of the items topic says."""

    columns: ItemColumns
    shown: dict[str, bytes | None]
    """The last word on each for the hash; None: removed."""
    rejects: list[Reject]
    """What could not be read."""


def read_items(decoder: ItemDecoder, raw: RawChunk) -> ReadItems:
    """Return the items of a chunk."""
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
        item = decoder.decode_item(
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
            shown[item.item_id] = encode_item(item)
    return ReadItems(ItemColumns(items, np.array(offsets, np.int64)), shown, rejects)


def read_vectors(raw: RawChunk) -> tuple[VectorColumns, list[Reject]]:
    """Return the content vectors of a chunk, and what could not be read."""
    item_ids: list[str] = []
    coded: list[bytes] = []
    scales: list[float] = []
    offsets: list[int] = []
    rejects: list[Reject] = []
    for index, value in enumerate(raw.values):
        try:
            record = _GONE if value is None else decode_vector(value)
        except ValueError as error:
            where = f"{raw.input}[{raw.partition}]@{raw.offsets[index]}"
            message = f"{where}: {error}; kept as a dead letter"
            rejects.append(Reject(index, raw.offsets[index], RejectCode.wrong_type.value, message))
            continue
        item_ids.append(record.item_id or (raw.keys[index] or b"").decode(errors="replace"))
        coded.append(record.coded or _GONE.coded)
        scales.append(record.scale)
        offsets.append(raw.offsets[index])
    held = np.frombuffer(b"".join(coded), np.int8).reshape(len(coded), CONTENT)
    return VectorColumns(item_ids, held, np.array(scales, np.float32), np.array(offsets, np.int64)), rejects


class Catalogue:
    """Applies the items topic to the hash and to the step, in order; a tombstone removes its key's item.

    Waits through outages.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        prefix: str,
        dead_letters: DeadLetters,
        ordering: Offered,
        marker: Marker,
        kept_off: KeptOff,
        *,
        vectors: str,
        outage: Outage,
        failure: Failure,
    ) -> None:
        self.items = 0
        """Records taken."""
        self._vectors = vectors  # the topic of the content vectors
        self.dead_letters = 0
        self._client = client
        self._key = catalogue_key(prefix)
        self._decoder = ItemDecoder()
        self._letters = dead_letters
        self._ordering = ordering
        self._marker = marker
        self._kept_off = kept_off
        self._withdraw_below: dict[tuple[str, int], int] = {}
        self._withdrawn: set[str] = set()  # by us: later words of the topic on these are ours to follow
        self._is_full = False
        self._outage = outage
        self._failure = failure

    def withdraw_below(self, ends: Positions) -> None:
        """Withdraw what the topic says, below these offsets, is not available; put it back when it says so later."""
        self._withdraw_below = dict(ends)
        self._is_full = False

    async def take(self, batch: RawBatch) -> None:
        """Offer the batch; the hash holds what it says before it is ordered. Errors are reported."""
        try:
            self._ordering.offer([self._reading(raw) for raw in batch])
            self.items += sum(len(raw) for raw in batch if raw.input != self._vectors)
        except Exception as error:
            self._failure.report(error)

    def _reading(self, raw: RawChunk) -> Reading:
        if raw.input == self._vectors:
            columns, rejects = read_vectors(raw)
            chunk = Chunk(raw.input, raw.partition, raw.start, raw.end, columns)
            return Reading(chunk, len(raw), partial(self._put_aside, raw, rejects) if rejects else None)
        read = read_items(self._decoder, raw)
        chunk = Chunk(raw.input, raw.partition, raw.start, raw.end, read.columns)
        return Reading(chunk, len(raw), partial(self._show, raw, read.columns.items, read.shown, read.rejects))

    async def _show(
        self, raw: RawChunk, items: Sequence[Item], shown: dict[str, bytes | None], rejects: Sequence[Reject]
    ) -> None:
        if rejects:
            await self._put_aside(raw, rejects)
        await self._keep_off(raw, items)
        await self._waiting(partial(self._write, shown))

    async def _put_aside(self, raw: RawChunk, rejects: Sequence[Reject]) -> None:
        await self._letters.write(rejects, raw.values, raw.timestamps_ms, topic=raw.input, partition=raw.partition)
        self.dead_letters += len(rejects)

    async def _keep_off(self, raw: RawChunk, items: Sequence[Item]) -> None:
        lost = raw.start < self._withdraw_below.get((raw.input, raw.partition), 0)
        available = {item.item_id: item.available for item in items}
        off = [id_ for id_, is_available in available.items() if not is_available and (lost or id_ in self._withdrawn)]
        on = [id_ for id_, is_available in available.items() if is_available and id_ in self._withdrawn]
        for first in range(0, len(off), _WITHDRAWN_AT_ONCE):
            part = off[first : first + _WITHDRAWN_AT_ONCE]
            await self._waiting(partial(self._withdraw, part))
        if on:
            self._withdrawn.difference_update(on)
            await self._waiting(partial(self._kept_off.restore, on))

    async def _withdraw(self, items: Sequence[str]) -> None:
        try:
            await self._kept_off.withdraw(items)
        except TooManyWithdrawn as error:
            if not self._is_full:
                _log.error("not all that is unavailable could be withdrawn again, %s among it: %s", items[0], error)
            self._is_full = True
        else:
            self._withdrawn.update(items)

    async def _write(self, changes: dict[str, bytes | None]) -> None:
        kept = {item_id: shown for item_id, shown in changes.items() if shown is not None}
        removed = [item_id for item_id, shown in changes.items() if shown is None]
        async with self._client.pipeline(transaction=True) as pipe:
            if kept:
                pipe.hset(self._key, items=[part for pair in kept.items() for part in pair])
            if removed:
                pipe.hdel(self._key, *removed)
            move = self._marker.join(pipe)
            answers = await pipe.execute()
        self._marker.moved(move, answers[-1])

    async def _waiting(self, write: Callable[[], Awaitable[object]]) -> None:
        """Return when Redis has taken it."""
        while True:
            try:
                await write()
            except PASSING as error:
                self._outage.lost(f"{error}; waiting; nothing is lost")
                await asyncio.sleep(_RETRY_S)
            else:
                self._outage.back()
                return
