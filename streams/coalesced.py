"""Reads that come together go together: while one MGET is under way, those that arrive wait for the next, as one.

Nobody waits for company: a read that finds none under way goes out at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

MOST_KEYS = 512
"""Keys of one MGET: enough for a hundred readers, few enough to hold Redis for a fraction of a millisecond."""

Values = Sequence[bytes | None]
Mget = Callable[[list[bytes]], Awaitable[Any]]


class CoalescedReads:
    """Fetches keys for many tasks of one event loop. A key that several ask for is asked for once."""

    def __init__(self, mget: Mget) -> None:
        self.mgets = 0
        """Round trips so far."""
        self._mget = mget
        self._waiting: list[tuple[Sequence[bytes], asyncio.Future[Values]]] = []
        self._running: asyncio.Task[None] | None = None

    async def values(self, keys: Sequence[bytes]) -> Values:
        """Return the values of `keys`, read after this was called. Raises what the MGET raises."""
        answer: asyncio.Future[Values] = asyncio.get_running_loop().create_future()
        self._waiting.append((keys, answer))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._read_some()
        finally:
            self._running = None
            for _, answer in self._waiting:  # only if we were cancelled: the loop is ending
                answer.cancel()

    async def _read_some(self) -> None:
        places: dict[bytes, int] = {}
        batch: list[tuple[Sequence[bytes], asyncio.Future[Values]]] = []
        for keys, answer in self._waiting:
            if batch and len(places) + len(keys) > MOST_KEYS:
                break
            for key in keys:
                places.setdefault(key, len(places))
            batch.append((keys, answer))
        del self._waiting[: len(batch)]
        try:
            self.mgets += 1
            values = await self._mget(list(places))
        except Exception as error:  # whoever asked is told, whatever it is
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
            return
        for keys, answer in batch:
            if not answer.done():  # its reader may have gone
                answer.set_result([values[places[key]] for key in keys])
