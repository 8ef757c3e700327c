"""Freshness counts every event, from its send to the first list read that contains it."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from millstream.agents.freshness import FeedFollower, FreshnessMeter, percentiles
from millstream.schemas.records import ScoredItem, Slate, Version
from millstream.schemas.slates import encode_slate
from millstream.streams.errors import Unavailable
from millstream.streams.redis_connection import connect
from millstream.streams.redis_topic import RedisTopic

MS = 1_000_000


def test_an_event_is_fresh_at_the_first_list_that_contains_it() -> None:
    """Position p contains offsets below p: a list at p = offset is a list without the event."""
    meter = FreshnessMeter()
    meter.sent("u", 7, 100 * MS)
    meter.listed("u", 7, 103 * MS)
    assert meter.fresh_ms == []
    meter.listed("u", 8, 110 * MS)
    meter.listed("u", 9, 190 * MS)
    assert meter.fresh_ms == [10.0]


def test_coalesced_events_each_count() -> None:
    """Three events met by one list are three measurements, each from its own send."""
    meter = FreshnessMeter()
    for offset in (4, 5, 9):
        meter.sent("u", offset, offset * MS)
    assert meter.waiting == 3
    meter.listed("u", 10, 20 * MS)
    assert meter.fresh_ms == [16.0, 15.0, 11.0]
    assert meter.waiting == 0


def test_a_list_read_before_the_brokers_answer_still_counts() -> None:
    """The read may be heard of before the send's offset is; the first list that contains the event is taken."""
    meter = FreshnessMeter()
    meter.listed("u", 3, 50 * MS)
    meter.listed("u", 5, 60 * MS)
    meter.listed("u", 6, 70 * MS)
    meter.sent("u", 3, 48 * MS)
    meter.sent("u", 5, 49 * MS)
    assert meter.fresh_ms == [12.0, 21.0]


def test_another_users_list_says_nothing() -> None:
    """Offsets of a partition are shared, lists are not."""
    meter = FreshnessMeter()
    meter.sent("u", 1, 0)
    meter.listed("v", 100, 5 * MS)
    assert meter.waiting == 1


def test_percentiles_are_measured_values() -> None:
    """Ranks round up; nothing measured is said as NaN."""
    assert percentiles([float(ms) for ms in range(1, 101)]) == (percentiles([*map(float, range(100, 0, -1))]))
    some = percentiles([1.0, 2.0, 3.0, 50.0])
    assert (some.n, some.p50, some.p99) == (4, 3.0, 50.0)
    assert math.isnan(percentiles([]).p50)


async def test_another_process_reads_what_is_published(redis_url: str, prefix: str) -> None:
    """The follower sees each published list, with its position and a time after the publishing began."""
    seen: list[tuple[str, int, int]] = []
    both = asyncio.Event()

    def listed(user_id: str, position: int, seen_ns: int) -> None:
        seen.append((user_id, position, seen_ns))
        if len(seen) == 2:
            both.set()

    client = connect(redis_url)
    topic = RedisTopic(client, prefix=prefix, ttl_s=60, feed_length=1_000)
    slates = [
        Slate(
            slate_id=user,
            list="main",
            user_id=user,
            items=(ScoredItem("i1", 1.0),),
            version=Version(1, position, position),
            as_of_ms=0,
            generated_ts_ms=0,
        )
        for user, position in (("a b", 3), ("c", 9))
    ]
    async with FeedFollower(redis_url, prefix, listed) as follower:
        began_ns = time.monotonic_ns()
        await topic.publish([encode_slate(each) for each in slates])
        async with asyncio.timeout(20):
            await both.wait()
    assert [(user, position) for user, position, _ in seen] == [("a b", 3), ("c", 9)]
    assert all(began_ns < seen_ns < time.monotonic_ns() for _, _, seen_ns in seen)
    assert follower.lists == 2
    await client.aclose()


async def test_a_follower_that_cannot_start_is_said(prefix: str) -> None:
    """A Redis that is not there ends the other process, and that is an error here."""
    with pytest.raises(Unavailable, match="before it was ready"):
        async with FeedFollower("nonsense://", prefix, lambda *_: None):
            pass
