"""Following the feed's pointers alone: which lists changed, for whoever reads those few of them that matter to him."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from .feed import start_after
from .redis_connection import connect
from .redis_keys import feed_key, split_pointer

POINTERS_PER_READ = 1_000
_TIMEOUT_S = 2.0
_ENTRY_ID = re.compile(r"(\d{1,20})-(\d{1,20})")


class Pointer(NamedTuple):
    """One entry of the feed: a list that was refreshed. Pointers sort as they stand in the feed."""

    at: tuple[int, int]
    """The entry's id, as numbers."""
    list_name: str
    user_id: str

    @property
    def entry_id(self) -> str:
        """The entry's id, as Redis writes it."""
        return written_id(self.at)


class PointerFeed:
    """Reads the feed of one Redis. One event loop. Raises what redis-py raises; asking again is always right."""

    def __init__(self, url: str, prefix: str = "") -> None:
        self._feed = feed_key(prefix)
        self._client = connect(url, timeout_s=_TIMEOUT_S, reconnects=1)

    async def newest(self) -> tuple[int, int]:
        """Return the id of the newest entry; (0, 0) without any."""
        entries: Any = await self._client.xrevrange(self._feed, count=1)
        return read_id(start_after(entries))

    async def after(self, at: tuple[int, int], *, block_ms: int | None = None) -> list[Pointer]:
        """Return the next pointers after an entry, oldest first; wait for the first of them for at most `block_ms`."""
        reply: Any = await self._client.xread({self._feed: written_id(at)}, POINTERS_PER_READ, block_ms)
        return [
            Pointer(read_id(entry_id.decode()), *split_pointer(fields[b"k"].decode()))
            for entry_id, fields in (reply[0][1] if reply else ())
        ]

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()


def read_id(entry_id: str) -> tuple[int, int]:
    """Return an entry's id as numbers. Raises ValueError for what is none.

    >>> read_id("1767225600000-3")
    (1767225600000, 3)
    """
    found = _ENTRY_ID.fullmatch(entry_id)
    at = (int(found[1]), int(found[2])) if found else (-1, 0)
    if not 0 <= at[0] < 2**64 or at[1] >= 2**64:
        raise ValueError(f"{entry_id!r} is no id of a feed entry: it must be MILLISECONDS-NUMBER")
    return at


def written_id(at: tuple[int, int]) -> str:
    """Return an entry's id as Redis writes it."""
    return f"{at[0]}-{at[1]}"
