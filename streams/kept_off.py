"""Writing what may not be shown: items withdrawn for everybody, and items that a user's rules keep off their lists.

A reader fetches both with the list itself, so what is written here holds from the next read on, whatever the lists in
Redis still hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files

import redis.asyncio

from .redis_keys import rule_key, withdrawn_key

MAX_WITHDRAWN = 10_000
"""Items that can be withdrawn at a time: every read carries them."""
MAX_PER_USER = 1_000
"""Items a user's rules can name; beyond it the oldest give way."""


class TooManyWithdrawn(ValueError):
    """No more items can be withdrawn; the message says how many are and the remedy."""


class KeptOff:
    """Changes what is kept off lists, in one step inside Redis each, so that several writers lose nothing.

    Guarantee: once a call has returned, every read that begins later heeds it (with a reader's cache: 50 ms later).
    Repeating a call changes nothing. Raises what redis-py raises; then it may have been carried out or not.
    """

    def __init__(self, client: redis.asyncio.Redis, *, prefix: str = "", rule_ttl_s: int) -> None:
        self._prefix = prefix
        self._rule_ttl_ms = 1_000 * rule_ttl_s
        self._script = client.register_script(files(__package__).joinpath("keep_off.lua").read_text())

    async def withdraw(self, items: Iterable[str]) -> int:
        """Show these items to nobody until they are restored; return the set's version. Raises `TooManyWithdrawn`."""
        version = await self._change(withdrawn_key(self._prefix), "add", MAX_WITHDRAWN, "refuse", 0, items)
        if version < 0:
            raise TooManyWithdrawn(
                f"{MAX_WITHDRAWN:,} items are withdrawn already, and every read carries them; "
                "restore items that are on no list any more"
            )
        return version

    async def restore(self, items: Iterable[str]) -> int:
        """Let these items be shown again; return the set's version."""
        return await self._change(withdrawn_key(self._prefix), "remove", MAX_WITHDRAWN, "refuse", 0, items)

    async def hide(self, user_id: str, items: Iterable[str]) -> int:
        """Keep these items off the user's lists; return the version of their rules.

        Beyond `MAX_PER_USER` the oldest give way. The rules expire when they were not touched for their time to live.
        """
        return await self._change(
            rule_key(self._prefix, user_id), "add", MAX_PER_USER, "oldest", self._rule_ttl_ms, items
        )

    async def unhide(self, user_id: str, items: Iterable[str]) -> int:
        """Let these items be shown to the user again; return the version of their rules."""
        return await self._change(
            rule_key(self._prefix, user_id), "remove", MAX_PER_USER, "oldest", self._rule_ttl_ms, items
        )

    async def _change(self, key: str, how: str, most: int, when_full: str, ttl_ms: int, items: Iterable[str]) -> int:
        return int(await self._script(keys=[key], args=[how, most, when_full, ttl_ms, *items]))
