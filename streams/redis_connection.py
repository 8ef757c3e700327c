"""Redis clients with time-outs and retries that suit their side.

redis-py retries ten times for some four seconds by default. The publisher wants to hear of an outage at once, since
it waits for Redis itself and says so; a reader must answer in milliseconds whatever happens.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

PUBLISH_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 0.04
"""So that with what surrounds it a reader has its answer, or gives one, within 50 ms."""


def connect(url: str, *, timeout_s: float = PUBLISH_TIMEOUT_S, reconnects: int = 0) -> redis.asyncio.Redis:
    """Return an asynchronous client of `url`; nothing is connected yet.

    A command fails with `redis.exceptions.TimeoutError` after `timeout_s`, with `redis.exceptions.ConnectionError` when
    the connection is refused or lost; the latter only after `reconnects` more tries without waiting between them.
    Raises ValueError for a URL that redis-py cannot read.
    """
    client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        # A time-out is never retried: the command may have been carried out.
        retry=AsyncRetry(NoBackoff(), reconnects, supported_errors=(RedisConnectionError,)),
    )
    return client


def connect_sync(url: str, *, timeout_s: float = READ_TIMEOUT_S, reconnects: int = 0) -> redis.Redis:
    """Return a blocking client of `url`, with the same promises as `connect`."""
    client: redis.Redis = redis.Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), reconnects, supported_errors=(RedisConnectionError,)),
    )
    return client


def host_of(url: str) -> str:
    """Return what of a Redis URL may be shown: never the password."""
    parts = urlsplit(url)
    return parts.path if parts.hostname is None else f"{parts.hostname}:{parts.port or 6379}"
