"""Answers to what a process asks over channels of Redis: they come on one of its own, each to who waits for it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import redis.asyncio

from millstream.schemas.questions import read_reply

from .channel import listen
from .ending import end_tasks
from .redis_keys import reply_channel

_log = logging.getLogger(__name__)


class Answers:
    """Hears what comes to `channel` from the first `hearing` on, until `close`. One event loop.

    An answer nobody waits for is nothing: it came too late, or somebody else's was the first.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self.channel = reply_channel(prefix, secrets.token_hex(8))
        self._url = url
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._hears = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def hears(self) -> bool:
        """Whether answers would be heard now."""
        return self._hears.is_set()

    async def hearing(self) -> None:
        """Return once answers would be heard."""
        if self._task is None:
            self._task = asyncio.create_task(listen(self._url, self.channel, self._take, hears=self._heard))
        await self._hears.wait()

    @contextmanager
    def awaited(self) -> Iterator[tuple[int, asyncio.Future[bytes]]]:
        """Yield a number to ask under, and what will be the answer, as JSON."""
        number, answer = next(self._numbers), asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            yield number, answer
        finally:
            del self._waiting[number]

    async def close(self) -> None:
        """Hear nothing more."""
        if self._task is not None:
            await end_tasks([self._task])

    def _heard(self, hears: bool) -> None:
        if hears:
            self._hears.set()
        else:
            self._hears.clear()

    async def _take(self, _client: redis.asyncio.Redis, value: bytes) -> None:
        try:
            reply = read_reply(value)
        except msgspec.MsgspecError as error:
            _log.warning("an answer that cannot be read: %s", error)
            return
        answer = self._waiting.get(reply.number)
        if answer is not None and not answer.done():
            answer.set_result(bytes(reply.answer))
