"""Reading lists where they are served: one round trip, an answer in milliseconds whatever happens.

Four lines are a recommender in any Python service:

    from millstream.streams.reader import Reader
    reader = Reader("redis://127.0.0.1:6379/0")
    answer = reader.top("42", k=10)
    print([item.item_id for item in answer.items], answer.age_ms, answer.fallback)

Importing this loads redis, msgspec and the standard library, nothing else.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Self

import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from millstream.schemas.records import Slate

from .answer import Answer, answer_from, checked_k, keys_to_read, unavailable
from .feed import ENTRIES_PER_READ, FROM_NOW, Entry, FeedCursor, start_after
from .outage import Outage
from .redis_connection import READ_TIMEOUT_S, connect, connect_sync
from .redis_keys import feed_key

__all__ = ["Answer", "AsyncReader", "Reader"]

REST_S = 0.1
"""How long after a failed read further reads answer `unavailable` without trying, so a hung Redis is not queued on."""
_BLOCK_S = 0.5  # the longest a stopped follower takes to notice
_FOLLOW_TIMEOUT_S = _BLOCK_S + 2.0
_FOLLOW_RETRY_S = 0.2


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


def _entries(reply: Any) -> list[Entry]:
    """Return the entries of an XREAD of one stream; RESP2 answers [[name, entries]], or [] when nothing came."""
    return reply[0][1] if reply else []


class Reader:
    """Reads the lists of one Redis; threads may share it. Nothing is connected before the first read.

    `prefix` is the pipeline's `redis.prefix`. A read fails over to `unavailable` after `timeout_s`.
    """

    def __init__(
        self,
        url: str,
        prefix: str = "",
        *,
        timeout_s: float = READ_TIMEOUT_S,
        clock_ms: Callable[[], int] = _wall_clock_ms,
    ) -> None:
        self._url = url
        self._prefix = prefix
        self._clock_ms = clock_ms
        # One reconnect: after a restart of Redis a pooled connection is dead, and Redis is not.
        self._client = connect_sync(url, timeout_s=timeout_s, reconnects=1)
        self._outage = Outage("redis (lists)", rest_s=REST_S)

    def top(self, user: str, k: int = 10, list: str = "main") -> Answer:
        """Return the user's `k` best items of `list`, by one MGET; without a list of theirs, the popular ones.

        Never raises for what Redis does: while it fails the answer is empty, with `fallback="unavailable"`. Raises
        ValueError for k < 1 or a list name with a colon. The user "" is the popular list itself.
        """
        keys = keys_to_read(self._prefix, list, user)
        checked_k(k)
        if self._outage.resting:
            return unavailable(list, user)
        try:
            values: Any = self._client.mget(keys)
        except RedisError as error:
            self._outage.lost(error)
            return unavailable(list, user)
        self._outage.back()
        return answer_from(*values, list_name=list, user_id=user, k=k, now_ms=self._clock_ms())

    def follow(
        self, from_id: str = FROM_NOW, *, list: str | None = None, stop: threading.Event | None = None
    ) -> Iterator[Slate]:
        """Return an iterator over refreshed lists as they are published, of `list` alone or of every one.

        `from_id` is the feed entry to begin after: `$` (from this call on), `0` (all the feed still holds), or an id.
        Several refreshes of one list between two reads come as one, the newest. Setting `stop` ends it within half a
        second. An outage is waited out; a follower that was further behind than the feed is long (`redis.feed_length`)
        misses pointers, never lists: those stand under their keys. Raises redis-py's error when Redis cannot be
        reached for the start.
        """
        client = connect_sync(self._url, timeout_s=_FOLLOW_TIMEOUT_S)
        feed = feed_key(self._prefix)
        try:
            newest: Any = client.xrevrange(feed, count=1) if from_id == FROM_NOW else None
        except BaseException:
            client.close()
            raise
        cursor = FeedCursor(self._prefix, from_id if newest is None else start_after(newest), list_name=list)
        return self._lists(client, cursor, stop or threading.Event())

    def _lists(self, client: redis.Redis, cursor: FeedCursor, stop: threading.Event) -> Iterator[Slate]:
        feed, outage = feed_key(self._prefix), Outage("redis (feed)")
        with client:
            while not stop.is_set():
                try:
                    if not cursor.keys():
                        reply = client.xread({feed: cursor.last_id}, ENTRIES_PER_READ, int(_BLOCK_S * 1000))
                        cursor.take(_entries(reply))
                    keys = cursor.keys()
                    values: Any = client.mget(keys) if keys else []
                except (RedisConnectionError, RedisTimeoutError) as error:
                    outage.lost(error)
                    stop.wait(_FOLLOW_RETRY_S)
                    continue
                outage.back()
                yield from cursor.slates(values)

    def close(self) -> None:
        """Close the connections. Iterators of `follow` have their own and end by their `stop`."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


class AsyncReader:
    """`Reader` for one event loop: the same answers, the same promises."""

    def __init__(
        self,
        url: str,
        prefix: str = "",
        *,
        timeout_s: float = READ_TIMEOUT_S,
        clock_ms: Callable[[], int] = _wall_clock_ms,
    ) -> None:
        self._url = url
        self._prefix = prefix
        self._clock_ms = clock_ms
        self._client = connect(url, timeout_s=timeout_s, reconnects=1)
        self._outage = Outage("redis (lists)", rest_s=REST_S)

    async def top(self, user: str, k: int = 10, list: str = "main") -> Answer:
        """Return what `Reader.top` returns."""
        keys = keys_to_read(self._prefix, list, user)
        checked_k(k)
        if self._outage.resting:
            return unavailable(list, user)
        try:
            values: Any = await self._client.mget(keys)
        except RedisError as error:
            self._outage.lost(error)
            return unavailable(list, user)
        self._outage.back()
        return answer_from(*values, list_name=list, user_id=user, k=k, now_ms=self._clock_ms())

    async def follow(self, from_id: str = FROM_NOW, *, list: str | None = None) -> AsyncGenerator[Slate]:
        """Yield what `Reader.follow` yields; `$` counts from the first step. Ends by `aclose` or cancellation."""
        client = connect(self._url, timeout_s=_FOLLOW_TIMEOUT_S)
        feed = feed_key(self._prefix)
        outage = Outage("redis (feed)")
        async with client:
            newest: Any = await client.xrevrange(feed, count=1) if from_id == FROM_NOW else None
            cursor = FeedCursor(self._prefix, from_id if newest is None else start_after(newest), list_name=list)
            while True:
                try:
                    if not cursor.keys():
                        reply = await client.xread({feed: cursor.last_id}, ENTRIES_PER_READ, int(_BLOCK_S * 1000))
                        cursor.take(_entries(reply))
                    keys = cursor.keys()
                    values: Any = await client.mget(keys) if keys else []
                except (RedisConnectionError, RedisTimeoutError) as error:
                    outage.lost(error)
                    await asyncio.sleep(_FOLLOW_RETRY_S)
                    continue
                outage.back()
                for slate in cursor.slates(values):
                    yield slate

    async def answers(self) -> bool:
        """Return whether Redis answers now; what readiness asks."""
        try:
            return bool(await self._client.ping())
        except RedisError:
            return False

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.close()
