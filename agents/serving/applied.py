"""Waiting until the worker has learned what was written to Kafka and the lists that say so are in Redis.

The workers' statuses have the positions up to which every list is published; all who wait share one look at them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec
import redis.asyncio
from redis.exceptions import RedisError

from millstream.agents.status import read_status, workers_key
from millstream.streams.ending import end_tasks

_LOOK_EVERY_S = 0.02


class AppliedPositions:
    """Tells when a topic is applied up to given positions. One event loop owns it.

    Without a worker, or while Redis does not answer, nothing is known to be applied.
    """

    def __init__(self, client: redis.asyncio.Redis, prefix: str = "") -> None:
        self._client = client
        self._key = workers_key(prefix)
        self._waiting: list[tuple[str, Mapping[int, int], asyncio.Future[None]]] = []
        self._looking: asyncio.Task[None] | None = None

    async def reached(self, topic: str, ends: Mapping[int, int], within_s: float) -> bool:
        """Return True as soon as every partition of `ends` is applied up to its next offset, False after `within_s`."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((topic, ends, done))
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            await asyncio.wait_for(done, within_s)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Stop looking; who still waits hears nothing more."""
        if self._looking is not None:
            await end_tasks([self._looking])

    async def _look(self) -> None:
        try:
            while self._waiting:
                positions = await self._positions()
                for topic, ends, done in self._waiting:
                    at = positions.get(topic, {})
                    if not done.done() and all(at.get(str(partition), 0) >= end for partition, end in ends.items()):
                        done.set_result(None)
                self._waiting = [waiting for waiting in self._waiting if not waiting[2].done()]
                if self._waiting:
                    await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            self._looking = None

    async def _positions(self) -> dict[str, dict[str, int]]:
        """Return how far each partition is published, by whichever worker says the most of it."""
        reached: dict[str, dict[str, int]] = {}
        with contextlib.suppress(RedisError, msgspec.MsgspecError):
            statuses: Any = await self._client.hvals(self._key)
            for status in map(read_status, statuses):
                for topic, ends in status.positions.items():
                    at = reached.setdefault(topic, {})
                    at.update({partition: max(end, at.get(partition, 0)) for partition, end in ends.items()})
        return reached
