"""The Redis topic: every user's freshest list under one key, and a feed of pointers to what changed.

The guard runs inside Redis, in the script that stores the list, so racing writers, a replay or a late retry can never
put an older list over a newer one. Written by the worker's publisher alone; read by anyone (`reader`, or a plain GET).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from millstream.schemas.records import Version
from millstream.schemas.slates import FORMAT, VERSION_BYTES, EncodedSlate, UnreadableSlate, decode_slate

from .marker import NO_MOVE, Marker, publish_script
from .redis_keys import POPULAR, checked_list_name, feed_key, list_key, list_prefix, marker_key

SLATES_PER_CALL = 200
"""Slates a script call: enough to make the round trip cheap, few enough to hold Redis for only some 2 ms."""
_NEWER, _EQUAL = ord("n"), ord("e")
_HEADER_BYTES = len(FORMAT) + VERSION_BYTES


class RedisTopic:
    """Publishes lists to Redis, newest wins.

    Guarantee: once `publish` returns, Redis holds for each slate that version or a newer one, and the feed has a
    pointer for each that was stored, unless `feed_length` is 0. Publishing again changes nothing. Not for use from two
    tasks at once. With a `marker`, each call moves it in the same step.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        *,
        prefix: str = "",
        ttl_s: int,
        feed_length: int,
        list_name: str = "main",
        marker: Marker | None = None,
    ) -> None:
        if ttl_s < 1 or feed_length < 0:
            raise ValueError(f"ttl_s={ttl_s} must be at least 1, feed_length={feed_length} at least 0")
        self._prefix = prefix
        self._client = client
        self._list_name = checked_list_name(list_name)
        self._settings = (ttl_s * 1000, feed_length, len(list_prefix(prefix).encode()))
        self._script = client.register_script(publish_script())
        self._marker = marker
        # What a failed call stored or may have stored, until it is published again; at most one entry a user.
        self._unsure: dict[tuple[str, str], Version] = {}

    async def publish(self, slates: Sequence[EncodedSlate], published: Mapping[int, int] | None = None) -> list[bool]:
        """Store each slate that is newer than what its key holds; return which were, in order.

        With these, all lists of some partitions are published, up to the events that `published` says of each.

        A value at the key that is no list of ours counts as older. After a call that raised, slates handed in
        again are also True where that call had stored them, so that what follows (the `recommendations` topic) gets
        each newer list at least once.

        Raises what redis-py raises, any part of the slates stored: call again with the same slates. `ConnectionError`
        (refused, lost, still loading), `TimeoutError`, `OutOfMemoryError` (at its memory limit) and `ReadOnlyError` (a
        replica), all of `redis.exceptions`, pass with time; others need a person.
        """
        stored: list[bool] = []
        try:
            for first in range(0, max(1, len(slates)), SLATES_PER_CALL):
                last = first + SLATES_PER_CALL
                stored += await self._publish_batch(slates[first:last], published if last >= len(slates) else None)
        except RedisError:
            self._remember_unsure(slates, stored)
            raise
        if self._unsure:
            for slate in slates:
                self._unsure.pop((slate.list, slate.user_id), None)
        return stored

    def _remember_unsure(self, slates: Sequence[EncodedSlate], stored: Sequence[bool]) -> None:
        """Note what this failed call stored, or may have: its caller never learned of it, and hands it in again."""
        newer = [slate for slate, was_stored in zip(slates, stored, strict=False) if was_stored]
        maybe_newer = slates[len(stored) : len(stored) + SLATES_PER_CALL]
        for slate in (*newer, *maybe_newer):
            self._unsure[slate.list, slate.user_id] = slate.version

    async def _publish_batch(self, slates: Sequence[EncodedSlate], published: Mapping[int, int] | None) -> list[bool]:
        keys = [feed_key(self._prefix), marker_key(self._prefix), *map(self._key, slates)]
        move = None if self._marker is None else self._marker.move(published)
        own = NO_MOVE if self._marker is None or move is None else self._marker.arguments(move)
        answer: bytes = await self._script(keys=keys, args=[*self._settings, *own, *(slate.stored for slate in slates)])
        if self._marker is not None and move is not None:
            self._marker.moved(move, answer)
        verdicts = answer[1:]
        if not self._unsure:
            return [verdict == _NEWER for verdict in verdicts]
        return [
            verdict == _NEWER or (verdict == _EQUAL and self._unsure.get((slate.list, slate.user_id)) == slate.version)
            for slate, verdict in zip(slates, verdicts, strict=True)
        ]

    def _key(self, slate: EncodedSlate) -> str:
        return list_key(self._prefix, slate.list, slate.user_id)

    async def read_items(self, names: Sequence[str], user_ids: Sequence[str]) -> list[list[str]]:
        """Return the items that each user's lists of these names hold, in the users' order; none where there is none.

        A value that is no list of ours counts as none. Raises what redis-py raises.
        """
        asked = [(user_id, name) for user_id in user_ids for name in names]
        values: Any = await self._client.mget([list_key(self._prefix, name, user_id) for user_id, name in asked])
        held: dict[str, list[str]] = {user_id: [] for user_id in user_ids}
        for (user_id, name), value in zip(asked, values, strict=True):
            if value is not None:
                with contextlib.suppress(UnreadableSlate):
                    slate = decode_slate(value, list_name=name, user_id=user_id)
                    held[user_id] += [item.item_id for item in slate.items]
        return [held[user_id] for user_id in user_ids]

    async def read_version(self, user_id: str = POPULAR) -> Version | None:
        """Return the version stored for a user (by default: of the popular list), None without a list of ours."""
        key = list_key(self._prefix, self._list_name, user_id)
        header: Any = await self._client.getrange(key, 0, _HEADER_BYTES - 1)
        if len(header) < _HEADER_BYTES or header[:1] != FORMAT:
            return None
        return Version.unpack(header[1:])


class BesideTopic(RedisTopic):
    """Publishes lists of something else than users, newest wins, under keys of their own; the feed tells nobody."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        key: Callable[[str, str], str],
        *,
        prefix: str = "",
        ttl_s: int,
        marker: Marker | None = None,
    ) -> None:
        super().__init__(client, prefix=prefix, ttl_s=ttl_s, feed_length=0, marker=marker)
        self._key_of = key

    def _key(self, slate: EncodedSlate) -> str:
        return self._key_of(self._prefix, slate.user_id)
