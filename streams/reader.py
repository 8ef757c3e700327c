"""Reading lists where they are served: one round trip, an answer in milliseconds whatever happens.

Four lines are a recommender in any Python service:

    from millstream.streams.reader import Reader
    reader = Reader("redis://127.0.0.1:6379/0")
    answer = reader.top("42", k=10)
    print([item.item_id for item in answer.items], answer.age_ms, answer.fallback)

With `cached=True` lists stay in the process for as long as Redis says that they have not changed: a hit costs about a
microsecond. Importing this loads redis, msgspec and the standard library, nothing else.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Self

import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from millstream.schemas.records import Slate

from .answer import NOTHING, Answer, category_of, checked_k
from .catalogue_hash import catalogue_key, of_category
from .coalesced import CoalescedReads
from .feed import ENTRIES_PER_READ, FROM_NOW, Entry, FeedCursor, start_after
from .list_cache import ListCache
from .outage import Outage
from .read_core import SIMILAR, ReadCore, joined, split
from .redis_connection import READ_TIMEOUT_S, connect, connect_sync
from .redis_keys import feed_key

__all__ = ["Answer", "AsyncReader", "Reader"]

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

    `prefix` is the pipeline's `redis.prefix`. A read that takes longer than `timeout_s` is given up. `static` are items
    to show when there is neither a list nor a popular one, and while Redis does not answer. With `cached`, a thread
    listens for changes, and a list that has not changed is answered from this process; a change shows 50 ms after it at
    the latest.
    """

    def __init__(
        self,
        url: str,
        prefix: str = "",
        *,
        timeout_s: float = READ_TIMEOUT_S,
        static: Sequence[str] = (),
        cached: bool = False,
        clock_ms: Callable[[], int] = _wall_clock_ms,
    ) -> None:
        self._url = url
        self._prefix = prefix
        # One reconnect: after a restart of Redis a pooled connection is dead, and Redis is not.
        self._client = connect_sync(url, timeout_s=timeout_s, reconnects=1)
        self._core = ReadCore(url, prefix, static=static, cached=cached, clock_ms=clock_ms)

    def top(
        self,
        user: str,
        k: int = 10,
        list: str = "main",
        exclude: Collection[str] = NOTHING,
        context: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the user's `k` best items of `list` that may be shown, by one MGET; `Answer` says what stands in.

        Items that are withdrawn, that the user's rules name, or that are in `exclude` are left out. Never raises for
        what Redis does: while it fails the answer is the static list, else empty. Raises ValueError for k < 1 or a list
        name with a colon. The user "" is the popular list itself. A `context` that names a category is `top_in`'s.
        """
        if context:
            return self.top_in(category_of(context), user, k, list, exclude)
        answer = self._core.cached(user, k, list, exclude)
        return answer if answer is not None else self._read((user,), k, list, exclude)[0]

    def top_many(
        self, users: Sequence[str], k: int = 10, list: str = "main", exclude: Collection[str] = NOTHING
    ) -> Sequence[Answer]:
        """Return what `top` returns for each user, in their order, by one MGET in all."""
        known, missing = split(self._core, users, k, list, exclude)
        return joined(users, known, missing, self._read(missing, k, list, exclude) if missing else ())

    def similar(self, item: str, k: int = 10, exclude: Collection[str] = NOTHING) -> Answer:
        """Return the `k` items most similar to `item` that may be shown, by one MGET; `user_id` is the item's id.

        The popular list stands in where the worker has made none. Otherwise as `top`; never from the cache.
        """
        checked_k(k)
        core = self._core
        keys = core.similar_keys(item)
        if not core.outage.may_try():
            return core.unavailable(None, (item,), k, SIMILAR, exclude)[0]
        try:
            values: Any = self._client.mget(keys)
        except RedisError as error:
            core.outage.lost(error)
            return core.unavailable(None, (item,), k, SIMILAR, exclude)[0]
        core.outage.back()
        return core.similar_answer(values, item, k, exclude)

    def top_in(
        self, category: str, user: str = "", k: int = 10, list: str = "main", exclude: Collection[str] = NOTHING
    ) -> Answer:
        """Return the `k` best items of a category for the user, by two round trips: never from the cache.

        First those of the user's own list that are of it, as the catalogue says, then those of the category's popular
        list. Otherwise as `top`; nothing of another category stands in. Without a user the popular list.
        """
        checked_k(k)
        core = self._core
        keys = core.category_keys(list, user, category)
        if not core.outage.may_try():
            return core.unavailable_in_category(user, list)
        try:
            values: Any = self._client.mget(keys)
            own = core.own_items(list, user, values)
            known: Any = self._client.hmget(catalogue_key(self._prefix), own) if own else []
        except RedisError as error:
            core.outage.lost(error)
            return core.unavailable_in_category(user, list)
        core.outage.back()
        return core.category_answer(values, of_category(own, known, category), user, k, list, category, exclude)

    def _read(self, users: Sequence[str], k: int, list_name: str, exclude: Collection[str]) -> Sequence[Answer]:
        core = self._core
        keys, fetch = core.begin(list_name, users)
        if not core.outage.may_try():
            return core.unavailable(fetch, users, k, list_name, exclude)
        try:
            values: Any = self._client.mget(keys)
        except RedisError as error:
            core.outage.lost(error)
            return core.unavailable(fetch, users, k, list_name, exclude)
        except BaseException:
            core.abandon(fetch)
            raise
        core.outage.back()
        return core.answers(values, fetch, users, k, list_name, exclude)

    @property
    def cache(self) -> ListCache | None:
        """The cache, if there is one."""
        return self._core.cache

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
        self._core.close()
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


class AsyncReader:
    """`Reader` for one event loop: the same answers, the same promises. Reads that come together share an MGET."""

    def __init__(
        self,
        url: str,
        prefix: str = "",
        *,
        timeout_s: float = READ_TIMEOUT_S,
        static: Sequence[str] = (),
        cached: bool = False,
        clock_ms: Callable[[], int] = _wall_clock_ms,
    ) -> None:
        self._url = url
        self._prefix = prefix
        self._client = connect(url, timeout_s=timeout_s, reconnects=1)
        self._core = ReadCore(url, prefix, static=static, cached=cached, clock_ms=clock_ms)
        self._reads = CoalescedReads(self._mget)

    async def top(
        self,
        user: str,
        k: int = 10,
        list: str = "main",
        exclude: Collection[str] = NOTHING,
        context: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return what `Reader.top` returns."""
        if context:
            return await self.top_in(category_of(context), user, k, list, exclude)
        answer = self._core.cached(user, k, list, exclude)
        return answer if answer is not None else (await self._read((user,), k, list, exclude))[0]

    async def top_many(
        self, users: Sequence[str], k: int = 10, list: str = "main", exclude: Collection[str] = NOTHING
    ) -> Sequence[Answer]:
        """Return what `Reader.top_many` returns."""
        known, missing = split(self._core, users, k, list, exclude)
        return joined(users, known, missing, await self._read(missing, k, list, exclude) if missing else ())

    async def similar(self, item: str, k: int = 10, exclude: Collection[str] = NOTHING) -> Answer:
        """Return what `Reader.similar` returns."""
        checked_k(k)
        core = self._core
        try:
            values = await self._reads.values(core.similar_keys(item))
        except RedisError:
            return core.unavailable(None, (item,), k, SIMILAR, exclude)[0]
        return core.similar_answer(values, item, k, exclude)

    async def top_in(
        self, category: str, user: str = "", k: int = 10, list: str = "main", exclude: Collection[str] = NOTHING
    ) -> Answer:
        """Return what `Reader.top_in` returns."""
        checked_k(k)
        core = self._core
        try:
            values = await self._reads.values(core.category_keys(list, user, category))
            own = core.own_items(list, user, values)
            known = await self._categories(own) if own else []
        except RedisError:
            return core.unavailable_in_category(user, list)
        return core.category_answer(values, of_category(own, known, category), user, k, list, category, exclude)

    async def kept_off(self, user: str = "") -> frozenset[str]:
        """Return the items that may not be shown to the user; while Redis is away what was withdrawn when last seen."""
        try:
            values = await self._reads.values(self._core.kept_off_keys(user))
        except RedisError:
            values = []
        return self._core.kept_off(user, values)

    async def _categories(self, items: Sequence[str]) -> Any:
        try:
            return await self._client.hmget(catalogue_key(self._prefix), [*items])
        except RedisError as error:
            self._core.outage.lost(error)
            raise

    async def _read(self, users: Sequence[str], k: int, list_name: str, exclude: Collection[str]) -> Sequence[Answer]:
        core = self._core
        keys, fetch = core.begin(list_name, users)
        try:
            values = await self._reads.values(keys)
        except RedisError:
            return core.unavailable(fetch, users, k, list_name, exclude)
        except BaseException:  # cancelled
            core.abandon(fetch)
            raise
        return core.answers(values, fetch, users, k, list_name, exclude)

    @property
    def round_trips(self) -> int:
        """How many times Redis was asked for lists; reads that come together share one."""
        return self._reads.mgets

    @property
    def is_lost(self) -> bool:
        """Whether the last read of lists failed."""
        return self._core.outage.is_lost

    @property
    def cache(self) -> ListCache | None:
        """The cache, if there is one."""
        return self._core.cache

    async def _mget(self, keys: Sequence[bytes]) -> Any:
        outage = self._core.outage
        if not outage.may_try():
            raise RedisConnectionError("resting after a failed read")
        try:
            values = await self._client.mget(keys)
        except RedisError as error:
            outage.lost(error)
            raise
        outage.back()
        return values

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
        self._core.close()
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.close()
