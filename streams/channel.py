"""Listening to a channel of Redis: what is said is heard by who listens at that moment, and by nobody later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from .redis_connection import connect

_HEAR_AGAIN_S = 1.0
_LISTEN_S = 1.0

_log = logging.getLogger(__name__)


async def listen(
    url: str,
    channel: str,
    take: Callable[[redis.asyncio.Redis, bytes], Awaitable[None]],
    *,
    hears: Callable[[bool], None] = lambda hears: None,
) -> None:
    """Hand each message to `take`, one at a time, until cancelled or until `take` raises; outages are waited out.

    `take` also gets a client of the same Redis. The connection is one of its own: it outlives the writes of others.
    `hears` is told whenever messages begin to come, and no longer come.
    """
    while True:
        try:
            async with connect(url) as client, client.pubsub() as heard:
                await heard.subscribe(channel)
                while True:
                    message: Any = await heard.get_message(timeout=_LISTEN_S)
                    if message is None:
                        continue
                    if message["type"] == "message":
                        await take(client, message["data"])
                    else:
                        hears(message["type"] == "subscribe")
        except (RedisError, OSError) as error:
            _log.debug("nothing is heard on %s: %s", channel, error)  # the publisher says that Redis is gone
        hears(False)
        await asyncio.sleep(_HEAR_AGAIN_S)
