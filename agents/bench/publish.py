"""`bench publish`: lists a second through the Redis topic, against plain pipelined SETs of the very same bytes.

The topic's side does all a worker does for a list: encode it, compare versions inside Redis, store it with its time to
live, and write the feed's pointer. The baseline's side sends ready bytes and stores them unguarded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from millstream.agents.demo_servers import Say
from millstream.online_learning.step import INTERACTIONS, Step
from millstream.schemas.columns import Chunk
from millstream.schemas.records import Version
from millstream.schemas.slates import EncodedSlate
from millstream.streams.redis_connection import connect
from millstream.streams.redis_keys import list_key
from millstream.streams.redis_topic import SLATES_PER_CALL, RedisTopic
from millstream.streams.settings import Settings

from .place import Place
from .report import Report, WrongResult
from .shoppers import shoppers_log

RATIO = "publish_over_set"
_CHUNK_EVENTS = 1_000


async def publish(where: Place, *, events: int, seconds: float, runs: int, say: Say) -> Report:
    """Return the lowest ratio of the runs, each side publishing for about `seconds`.

    The lists are real ones, made of so many simulated events. Raises `WrongResult` if Redis refused one.
    """
    slates = await asyncio.to_thread(newest_slates, where.settings, events, say)
    size_bytes = sum(len(slate.stored) for slate in slates) / len(slates)
    say(f"{len(slates):,} lists of {size_bytes:,.0f} bytes on average")
    client = connect(where.settings.redis.url, timeout_s=10.0)
    try:
        measured = []
        for number in range(1, runs + 1):
            plain_per_s = await _plain_sets(client, where.apart("plain").redis.prefix, slates, where.settings, seconds)
            topic_per_s = await _topic(
                client, where.apart("topic").redis.prefix, slates, where.settings, number, seconds
            )
            measured.append((topic_per_s, plain_per_s))
            say(
                f"run {number} of {runs}: {topic_per_s:,.0f} lists/s, plain SETs {plain_per_s:,.0f}/s; "
                f"ratio {topic_per_s / plain_per_s:.2f}"
            )
    finally:
        await client.aclose()
    topic_per_s, plain_per_s = min(measured, key=lambda each: each[0] / each[1])
    return Report(
        name="publish",
        figures={
            "lists_per_s": topic_per_s,
            "bytes_per_list": size_bytes,
            "runs_lists_per_s": [each for each, _ in measured],
        },
        baseline={"lists_per_s": plain_per_s, "runs_lists_per_s": [each for _, each in measured]},
        ratios={RATIO: topic_per_s / plain_per_s},
        targets={},
        facts=(
            f"{len(slates):,} lists again and again, {SLATES_PER_CALL} a call on both sides; measured: newer-wins "
            "script, feed pointer; baseline: the same bytes, SET with the same time to live",
        ),
    )


def newest_slates(settings: Settings, events: int, say: Say) -> list[EncodedSlate]:
    """Return the newest list of every user of the simulated log."""
    say(f"making lists of {events:,} simulated events")
    columns, step = shoppers_log(events), Step(settings.learning)
    newest: dict[str, EncodedSlate] = {}
    for first in range(0, events, _CHUNK_EVENTS):
        last = min(first + _CHUNK_EVENTS, events)
        applied = step.apply(Chunk(INTERACTIONS, 0, first, last, columns.cut(first, last)))
        newest |= {slate.user_id: slate for slate in applied.encoded(0)}
    return list(newest.values())


async def _topic(
    client: Any, prefix: str, slates: Sequence[EncodedSlate], settings: Settings, generation: int, seconds: float
) -> float:
    """Publish newer and newer versions for about `seconds`; return lists a second."""
    topic = RedisTopic(client, prefix=prefix, ttl_s=settings.redis.list_ttl_s, feed_length=settings.redis.feed_length)
    done, elapsed_s, turn = 0, 0.0, 0
    while elapsed_s < seconds:
        turn += 1
        newer = [
            msgspec.structs.replace(
                slate, version=Version(generation, slate.version.position + turn, slate.version.revision)
            )
            for slate in slates
        ]
        began_s = time.perf_counter()
        stored = await topic.publish(newer)
        elapsed_s += time.perf_counter() - began_s
        done += len(newer)
        if not all(stored):
            raise WrongResult(f"Redis refused {len(stored) - sum(stored):,} of {len(stored):,} lists that were newer")
    return done / elapsed_s


async def _plain_sets(
    client: Any, prefix: str, slates: Sequence[EncodedSlate], settings: Settings, seconds: float
) -> float:
    """SET the same bytes under keys of the same shape for about `seconds`; return lists a second."""
    pairs = [(list_key(prefix, slate.list, slate.user_id), slate.stored) for slate in slates]
    done, elapsed_s = 0, 0.0
    while elapsed_s < seconds:
        began_s = time.perf_counter()
        for first in range(0, len(pairs), SLATES_PER_CALL):
            pipeline = client.pipeline(transaction=False)
            for key, value in pairs[first : first + SLATES_PER_CALL]:
                pipeline.set(key, value, ex=settings.redis.list_ttl_s)
            await pipeline.execute()
        elapsed_s += time.perf_counter() - began_s
        done += len(pairs)
    return done / elapsed_s
