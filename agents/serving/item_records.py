"""What the catalogue says of items, as far as this process can know: for a change of a part, which needs the whole.

The hash in Redis lags behind the topic by what the worker needs to read it, so what was written here lately is
remembered. Changes of one item follow one another.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import redis.asyncio

from millstream.schemas.records import Item
from millstream.streams.catalogue_hash import read_items

_REMEMBERED = 10_000


class _Written(NamedTuple):
    at_ms: int
    item: Item | None
    """None: removed."""


class ItemRecords:
    """Reads the hash of the catalogue. One event loop owns it.

    Guarantee: between changes of an item through one process none is lost. Another process is seen once the worker has
    read what it wrote.
    """

    def __init__(self, client: redis.asyncio.Redis, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._written: OrderedDict[str, _Written] = OrderedDict()
        self._changing: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def changing(self, item_id: str) -> AsyncIterator[None]:
        """Hold back other changes of the item."""
        lock, waiting = self._changing.get(item_id, (asyncio.Lock(), 0))
        self._changing[item_id] = lock, waiting + 1
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._changing.pop(item_id)
            if waiting > 1:
                self._changing[item_id] = lock, waiting - 1

    async def read(self, item_id: str) -> Item | None:
        """Return the item's newest record; None where there is none, or it was removed. Raises what redis-py raises."""
        there = (await read_items(self._client, self._prefix, [item_id])).get(item_id)
        written = self._written.get(item_id)
        if written is None or (there is not None and there.updated_ms > written.at_ms):
            return there
        return written.item

    def note(self, item_id: str, at_ms: int, item: Item | None) -> None:
        """Note what was written of an item; None: that it was removed."""
        self._written.pop(item_id, None)
        self._written[item_id] = _Written(at_ms, item)
        while len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)
