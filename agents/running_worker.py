"""Whether a worker runs: asked by commands that would write behind its back."""

from __future__ import annotations

import time
from typing import Any

import click
import redis

from millstream.streams.settings import Settings

from .errors import Problem
from .status import read_workers, workers_key

_GONE = {"stopped"}
_REDIS_WITHIN_S = 1.0


def refuse_if_running(settings: Settings) -> None:
    """Raise `Problem` if a worker of these settings runs: it would write its own state behind another one."""
    client = redis.Redis.from_url(settings.redis.url, socket_timeout=_REDIS_WITHIN_S)
    try:
        values: Any = client.hvals(workers_key(settings.redis.prefix))
    except (redis.RedisError, OSError):
        click.echo(
            f"Redis at {settings.redis.shown_url} does not answer, so whether a worker runs is not known", err=True
        )
        return
    finally:
        client.close()
    for status in read_workers(values, time.time_ns() // 1_000_000):
        if status.state not in _GONE:
            raise Problem(f"a worker is {status.state} (pid {status.pid}); stop it first, with Ctrl-C or SIGTERM")
