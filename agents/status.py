"""How the worker stands, as one JSON object in Redis: for commands, and for anybody with `redis-cli get PREFIXstatus`.

The key expires soon after the worker stops writing it, so a status that can be read is a worker that runs.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import redis.asyncio

from millstream.online_learning.drift import LossDrift
from millstream.schemas.slates import EncodedSlate

TTL_S = 10
HISTORIC_MS = 3_600_000
"""A record older than this when its list is published is history being learned, not a click to be fresh for."""
_RATE_WINDOW_S = 5.0
_FRESHNESS_SAMPLES = 4_096


class FreshnessMs(msgspec.Struct, frozen=True, kw_only=True):
    """How long something took, over the last few thousand times; null without any."""

    p50: float | None = None
    p99: float | None = None


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The worker at one moment. Counts are since it started, except `seq`; `positions` are published, not just read."""

    worker: str = ""
    """Its name among the workers."""
    leads: bool = True
    """Whether it decides the order of events, that all workers follow."""
    partitions: list[int] = []
    """Partitions whose users' lists it publishes."""
    state: str
    """`starting`, `running`, `waiting for Kafka`, `waiting for Redis`, `stopping` or `stopped`."""
    pid: int
    written_ms: int = 0
    """When it said so."""
    uptime_s: float
    events: int
    """Events learned and published."""
    events_per_s: float
    """Over the last five seconds."""
    lag: int
    """Records in the inputs that are not yet published."""
    seq: int
    """Events the model contains, those of earlier runs included."""
    generation: int = 1
    """First number of the versions of the lists that it makes."""
    effort: float
    """Share of events that train the blend, 1 down to .05; all are counted."""
    slates: int
    items: int = 0
    """Records of the catalogue taken in, those read at an earlier start again included."""
    dead_letters: int
    duplicates: int = 0
    """Events passed over, since their ids had been learned before."""
    freshness_ms: FreshnessMs
    """From a record's Kafka timestamp to its list in Redis."""
    quality: dict[str, float | int | None]
    """n, hit@10, ndcg@10, mrr@20 of the last 10,000 judged events; lists, coverage, novelty of as many lists."""
    popularity: dict[str, float | int | None]
    """The same of what popularity would have shown."""
    drifts: int = 0
    """How often the loss was found to have moved."""
    last_drift: LossDrift | None = None
    staleness_ms: FreshnessMs = FreshnessMs()
    """From a record of the order to its events applied here, over the last ten seconds."""
    taken_over: int = 0
    """Users whose lists were made anew when their partitions were taken over."""
    redis_losses: int = 0
    """How often Redis had lost lists."""
    stale_after_redis_loss: int = 0
    """Users, and items, whose lists Redis lost and does not hold again yet."""
    published_again: int = 0
    """Users, and items, whose lists were published again for that reason."""
    positions: dict[str, dict[str, int]]
    """Topic to partition to next offset, of the partitions that it publishes."""


def status_key(prefix: str) -> str:
    """Return the Redis key of the status of the worker that leads."""
    return f"{prefix}status"


def workers_key(prefix: str) -> str:
    """Return the Redis key of the hash of all workers' statuses, by their names."""
    return f"{prefix}workers"


def read_status(value: bytes) -> WorkerStatus:
    """Read back a status. Raises `msgspec.MsgspecError` for anything else."""
    return msgspec.json.decode(value, type=WorkerStatus)


def read_workers(values: Iterable[bytes], now_ms: int) -> list[WorkerStatus]:
    """Return the statuses of a hash of workers of those who wrote theirs lately; what is none is passed over."""
    found = []
    for value in values:
        with contextlib.suppress(msgspec.MsgspecError):
            found.append(read_status(value))
    return [status for status in found if now_ms - status.written_ms < 1_000 * TTL_S]


async def write_status(client: redis.asyncio.Redis, prefix: str, status: WorkerStatus) -> None:
    """Store the status for `TTL_S` seconds: among the workers', and as the leader's if it is, or if nobody leads.

    Raises what redis-py raises.
    """
    value = msgspec.json.encode(status)
    async with client.pipeline(transaction=False) as pipe:
        pipe.set(status_key(prefix), value, ex=TTL_S, nx=not status.leads)
        pipe.hset(workers_key(prefix), status.worker, value)
        pipe.expire(workers_key(prefix), TTL_S)
        await pipe.execute()


def by_topic(positions: dict[tuple[str, int], int]) -> dict[str, dict[str, int]]:
    """Return positions as JSON has them: topic to partition, as text, to next offset."""
    nested: dict[str, dict[str, int]] = {}
    for (topic, partition), offset in sorted(positions.items()):
        nested.setdefault(topic, {})[str(partition)] = offset
    return nested


class Gauges:
    """What the status needs and nobody else counts: the rate and the freshness of the last moments."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._counts: deque[tuple[float, int]] = deque()
        self._fresh_ms: deque[float] = deque(maxlen=_FRESHNESS_SAMPLES)

    @property
    def uptime_s(self) -> float:
        """Seconds since this was made."""
        return time.monotonic() - self._began_s

    def published(self, slates: Sequence[EncodedSlate], now_ms: int) -> None:
        """Take in lists that Redis stored just now."""
        ages = [now_ms - slate.as_of_ms for slate in slates if slate.user_id]
        self._fresh_ms.extend(age for age in ages if age < HISTORIC_MS)

    def rate(self, events: int) -> float:
        """Return events a second over the last seconds, given the count so far."""
        now_s = time.monotonic()
        self._counts.append((now_s, events))
        while len(self._counts) > 2 and now_s - self._counts[0][0] > _RATE_WINDOW_S:
            self._counts.popleft()
        (first_s, first), (last_s, last) = self._counts[0], self._counts[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else 0.0

    def freshness(self) -> FreshnessMs:
        """Return the percentiles of the lists taken in lately."""
        return percentiles_of(self._fresh_ms)


def percentiles_of(ms: Sequence[float]) -> FreshnessMs:
    """Return the percentiles of some measurements; null without any."""
    if not ms:
        return FreshnessMs()
    p50, p99 = np.percentile(np.array(ms, np.float64), (50, 99)).tolist()
    return FreshnessMs(p50=_shown(p50), p99=_shown(p99))


def _shown(ms: float) -> float | None:
    return round(ms, 3) if math.isfinite(ms) else None
