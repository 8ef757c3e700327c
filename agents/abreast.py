"""Keeping workers abreast: who follows says how much work waits, and who leads orders less of it.

Said over a channel of Redis, so that it costs nothing while nobody is behind, and forgotten soon after the last word.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec
import redis.asyncio
from redis.exceptions import RedisError

from millstream.streams.channel import listen
from millstream.streams.redis_keys import waiting_channel

from .effort import OTHERS_LITTLE_S, Effort

_EVERY_S = 0.05
_FORGOTTEN_AFTER_S = 0.5

_log = logging.getLogger(__name__)


class _Waits(msgspec.Struct, frozen=True):
    worker: str
    waiting_s: float


class Abreast:
    """Says how far this worker is behind, or hears how far others are. One event loop owns it."""

    def __init__(
        self,
        url: str,
        prefix: str,
        client: redis.asyncio.Redis,
        effort: Effort,
        *,
        name: str,
        waiting_s: Callable[[], float],
        leads: Callable[[], bool],
    ) -> None:
        self._url = url
        self._channel = waiting_channel(prefix)
        self._client = client
        self._effort = effort
        self._name = name
        self._waiting_s = waiting_s
        self._leads = leads
        self._others: dict[str, tuple[float, float]] = {}  # worker to how long its work takes, and when it said so
        self._said_s = 0.0

    async def run(self) -> None:
        """Say and hear until cancelled. An outage costs effort that is too high for a while, nothing else."""
        await asyncio.gather(listen(self._url, self._channel, self._hear), self._say())

    async def _hear(self, _client: redis.asyncio.Redis, value: bytes) -> None:
        try:
            said = msgspec.json.decode(value, type=_Waits)
        except msgspec.MsgspecError as error:
            _log.warning("somebody waits for something that cannot be read: %s", error)
            return
        if self._leads() and said.worker != self._name:
            self._others[said.worker] = said.waiting_s, time.monotonic()
            self._effort.others(self._slowest_s())

    async def _say(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            if self._others:
                self._forget()
            if not self._leads():
                await self._say_once()

    async def _say_once(self) -> None:
        """Say what waits while that is not little, and once more when it is little again."""
        waiting_s, before_s = self._waiting_s(), self._said_s
        self._said_s = waiting_s
        if max(waiting_s, before_s) < OTHERS_LITTLE_S:
            return
        try:
            await self._client.publish(self._channel, msgspec.json.encode(_Waits(self._name, waiting_s)))
        except (RedisError, OSError) as error:
            _log.debug("not said how much waits: %s", error)  # the publisher says that Redis is gone

    def _forget(self) -> None:
        now_s = time.monotonic()
        self._others = {who: said for who, said in self._others.items() if now_s - said[1] < _FORGOTTEN_AFTER_S}
        if not self._others:
            self._effort.others(None)

    def _slowest_s(self) -> float:
        return max(waiting_s for waiting_s, _ in self._others.values())
