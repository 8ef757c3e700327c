"""An independent reader that looks at every user's list, over and over, and counts each that went backwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import redis.asyncio
from redis.exceptions import RedisError

from millstream.schemas.records import Version
from millstream.schemas.slates import FORMAT, VERSION_BYTES
from millstream.streams.redis_connection import connect
from millstream.streams.redis_keys import list_key

_EVERY_S = 0.1
_HEADER_BYTES = len(FORMAT) + VERSION_BYTES


class Watcher:
    """Looks until cancelled. One event loop owns it."""

    def __init__(self, url: str, prefix: str, users: Sequence[str]) -> None:
        self.went_backwards = 0
        self.looks = 0
        self._client = connect(url)
        self._users = users
        self._keys = [list_key(prefix, "main", user) for user in users]
        self._newest: dict[str, Version] = {}

    async def run(self) -> None:
        """Look ten times a second."""
        try:
            while True:
                for user, version in (await self.versions()).items():
                    self.went_backwards += version < self._newest.get(user, version)
                    self._newest[user] = max(version, self._newest.get(user, version))
                self.looks += 1
                await asyncio.sleep(_EVERY_S)
        finally:
            await self._client.aclose()

    def forget(self) -> None:
        """Redis has lost its data: what there was is no longer to be compared with."""
        self._newest.clear()

    async def versions(self) -> dict[str, Version]:
        """Return the version of each list that is there now; none while Redis does not answer."""
        try:
            return await read_versions(self._client, self._users, self._keys)
        except RedisError:
            return {}


async def read_versions(client: redis.asyncio.Redis, users: Sequence[str], keys: Sequence[str]) -> dict[str, Version]:
    """Return the version of each user's list that is there. Raises what redis-py raises."""
    async with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.getrange(key, 0, _HEADER_BYTES - 1)
        headers = await pipe.execute()
    return {
        user: Version.unpack(header[1:])
        for user, header in zip(users, headers, strict=True)
        if len(header) == _HEADER_BYTES and header[:1] == FORMAT
    }
