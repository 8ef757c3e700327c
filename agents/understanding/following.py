"""Keeps the index as the topics of items and of their vectors say, from their beginnings, for as long as it runs."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from typing import Any

from millstream.agents.from_beginning import FromBeginning
from millstream.schemas.columns import Reject
from millstream.schemas.decode_items import ItemDecoder
from millstream.schemas.item_vectors import decode_vector
from millstream.streams.settings import Settings

from .index import CatalogueIndex

_AT_ONCE = 64
"""Records taken in between two looks at who asks: some milliseconds."""
_SETTLE_EVERY_S = 0.1
"""How long what came may wait to be found."""
_LOADING_EVERY_S = 1.0
"""The same while all is read from the beginning."""

_log = logging.getLogger(__name__)


class Following:
    """Reads both topics into an index. One event loop owns it.

    Guarantee: an entry of the catalogue is found within `_SETTLE_EVERY_S` of being read. A record that cannot be read
    is passed over: it is the worker's to put aside.
    """

    def __init__(self, settings: Settings, index: CatalogueIndex) -> None:
        self.caught_up = asyncio.Event()
        """Whether all that stood in the topics at first has been read."""
        self._settings = settings
        self._index = index
        self._decoder = ItemDecoder()

    async def run(self) -> None:
        """Follow until cancelled; outages are waited out. Raises `BrokerUnreachable` where no Kafka is at first."""
        topics = self._settings.topics
        reading = FromBeginning(self._settings, [topics.items, topics.item_vectors], at_once=_AT_ONCE)
        settling = asyncio.create_task(self._settle())
        try:
            async with aclosing(reading.batches()) as batches:
                async for batch in batches:
                    if batch.anew:
                        self._index.clear()
                    for record in batch.records:
                        self._take(record)
                    if batch.caught_up and not self.caught_up.is_set():
                        self._index.settle()
                        self.caught_up.set()
                    await asyncio.sleep(0)
        finally:
            settling.cancel()

    async def _settle(self) -> None:
        while True:
            began_s = time.monotonic()
            more = self._index.settle()
            took_s = time.monotonic() - began_s
            every_s = _SETTLE_EVERY_S if self.caught_up.is_set() else _LOADING_EVERY_S
            await asyncio.sleep(took_s if more else max(every_s, took_s))

    def _take(self, record: Any) -> None:
        item_id = (record.key or b"").decode(errors="replace")
        if record.topic == self._settings.topics.item_vectors:
            try:
                vector = None if record.value is None else decode_vector(record.value)
            except ValueError as error:
                _log.debug("a vector that cannot be read: %s", error)
                return
            if vector is None:
                self._index.remove_vector(item_id)
            else:
                self._index.put_vector(vector)
        elif record.value is None:
            self._index.remove(item_id)
        else:
            item = self._decoder.decode_item(
                record.value, offset=record.offset, timestamp_ms=record.timestamp, input="", partition=record.partition
            )
            if not isinstance(item, Reject):
                self._index.put(item)
