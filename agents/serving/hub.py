"""One follower of the feed for all open streams: it remembers which lists changed, each reader asks when it is ready.

Nothing is queued for anybody. A reader that falls behind what is remembered goes on from Redis, where the feed is
longer; so a slow one costs neither the others nor memory.
"""

from __future__ import annotations

import asyncio
from collections import deque

from redis.exceptions import RedisError

from millstream.streams.ending import end_tasks
from millstream.streams.outage import Outage
from millstream.streams.pointers import Pointer, PointerFeed

REMEMBERED = 20_000
"""Pointers kept for readers that are not waiting just now."""
_BLOCK_MS = 500
_RETRY_S = 0.2


class FeedHub:
    """Tells any number of readers what changed after where they are. One event loop owns it.

    Guarantee, at least once: a reader hears of every list refreshed after where it began, unless it was so far behind
    that the feed in Redis no longer holds the pointer.
    """

    def __init__(self, feed: PointerFeed, *, remembered: int = REMEMBERED) -> None:
        self._feed = feed
        self._recent: deque[Pointer] = deque(maxlen=remembered)
        self._complete_after: tuple[int, int] = (0, 0)
        """Every pointer after this one is in `_recent`, or not there yet."""
        self._more = asyncio.Event()
        self._starting = asyncio.Lock()
        self._following: asyncio.Task[None] | None = None
        self._outage = Outage("redis (feed)")
        self._closed = False

    async def newest(self) -> tuple[int, int]:
        """Return where somebody stands who begins now. Raises redis-py's error while Redis does not answer."""
        async with self._starting:
            if self._following is None:
                self._complete_after = await self._feed.newest()
                self._following = asyncio.create_task(self._follow())
        return self._recent[-1].at if self._recent else self._complete_after

    async def after(self, at: tuple[int, int], within_s: float) -> list[Pointer]:
        """Return what changed after `at`, oldest first; [] if that is nothing for so long, or Redis is away.

        `newest` comes first.
        """
        more = self._more
        if at < self._complete_after:
            try:
                behind = await self._feed.after(at)
            except RedisError as error:
                self._outage.lost(error)
                await asyncio.sleep(_RETRY_S)
                return []
            if behind:
                return behind
            # the feed has nothing between `at` and what we remember, or no longer
        found = self._remembered(at)
        if not found:
            try:
                await asyncio.wait_for(more.wait(), within_s)
            except TimeoutError:
                return []
            found = self._remembered(at)
        return found

    async def close(self) -> None:
        """Stop following and close the connection."""
        self._closed = True  # redis-py was seen to swallow a cancellation after a reconnect
        if self._following is not None:
            await end_tasks([self._following])
        await self._feed.close()

    def _remembered(self, at: tuple[int, int]) -> list[Pointer]:
        found = []
        for pointer in reversed(self._recent):
            if pointer.at <= at:
                break
            found.append(pointer)
        found.reverse()
        return found

    async def _follow(self) -> None:
        last = self._complete_after
        while not self._closed:
            try:
                pointers = await self._feed.after(last, block_ms=_BLOCK_MS)
            except RedisError as error:
                self._outage.lost(error)
                await asyncio.sleep(_RETRY_S)
                continue
            self._outage.back()
            if not pointers:
                continue
            over = len(self._recent) + len(pointers) - (self._recent.maxlen or 0)
            if over > 0:
                self._complete_after = (*self._recent, *pointers)[over - 1].at
            self._recent.extend(pointers)
            last = pointers[-1].at
            more, self._more = self._more, asyncio.Event()
            more.set()
