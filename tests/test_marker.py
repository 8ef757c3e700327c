"""The marker in Redis: how far partitions are published, and what a worker sees of a loss."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio
from lists import slate

from millstream.streams.marker import Marker
from millstream.streams.redis_connection import connect
from millstream.streams.redis_keys import marker_key
from millstream.streams.redis_topic import RedisTopic


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with connect(redis_url) as client:
        yield client


async def running(
    client: redis.asyncio.Redis, prefix: str, *, worker: str = "w", now_ms: int = 1_000
) -> tuple[Marker, RedisTopic]:
    """A run that has begun, for partitions 0 and 1, and its topic."""
    marker = Marker(client, prefix=prefix, now_ms=lambda: now_ms)
    await marker.begin(worker)
    marker.owned = frozenset({0, 1})
    return marker, RedisTopic(client, prefix=prefix, ttl_s=60, feed_length=100, marker=marker)


async def restore(client: redis.asyncio.Redis, key: str, older: Any) -> None:
    await client.delete(key)
    await client.hset(key, mapping=older)


async def test_while_redis_keeps_everything_nothing_is_missing(client: redis.asyncio.Redis, prefix: str) -> None:
    """The marker says how far each partition is published, whatever number of calls it took."""
    marker, topic = await running(client, prefix)
    await topic.publish([slate(f"u{n}", 1) for n in range(450)], {0: 450})
    assert not await marker.look()
    await topic.publish([], {1: 455})
    await topic.publish([], {0: 440})
    assert not await marker.look()
    assert await marker.published() == {0: 450, 1: 455}
    assert await client.ttl(marker_key(prefix)) == -1


async def test_an_older_marker_says_how_far_redis_is_whole(client: redis.asyncio.Redis, prefix: str) -> None:
    """Found by the next list or the next look; what is held stays where it was until it is let go."""
    marker, topic = await running(client, prefix)
    await topic.publish([slate("before", 1)], {0: 1})
    older = await client.hgetall(marker_key(prefix))
    await topic.publish([slate("since", 2)], {0: 2})
    await restore(client, marker_key(prefix), older)
    assert await topic.publish([slate("after", 3)], {0: 3}) == [True]
    assert marker.missed
    assert await marker.look()
    assert marker.held == {0, 1}
    assert not await marker.look()
    await topic.publish([slate("after", 4)], {0: 4})
    assert await marker.published() == {0: 1}
    marker.held.clear()
    assert not await marker.look({0: 3})
    assert await marker.published() == {0: 3}


@pytest.mark.parametrize("value", [None, "not a hash", {"run:w": "x", "mark:w": "1", "seq:0": "1"}])
async def test_a_marker_that_is_gone_is_seen_once(client: redis.asyncio.Redis, prefix: str, value: Any) -> None:
    """Removed, overwritten, unreadable."""
    marker, topic = await running(client, prefix)
    await topic.publish([slate("u", 1)], {0: 1})
    await client.delete(marker_key(prefix))
    if isinstance(value, dict):
        await client.hset(marker_key(prefix), mapping=value)
    elif value is not None:
        await client.set(marker_key(prefix), value)
    assert await marker.look()
    assert not await marker.look()
    assert not marker.missed


async def test_a_second_loss_while_the_first_is_mended_is_another(client: redis.asyncio.Redis, prefix: str) -> None:
    """What a run writes while it mends is marked, too."""
    marker, topic = await running(client, prefix)
    await topic.publish([slate("u", 1)], {0: 1})
    for _ in range(2):
        await client.delete(marker_key(prefix))
        assert await marker.look()
        await topic.publish([slate("u", 1)])


async def test_a_call_that_comes_late_moves_nothing(client: redis.asyncio.Redis, prefix: str) -> None:
    """Made before a loss was seen and carried out after: it knows nothing of what has to be published again."""
    marker, _ = await running(client, prefix)
    late = marker.move({0: 9})
    await client.delete(marker_key(prefix))
    assert await marker.look()
    answer = await marker._look(keys=marker._keys, args=[0, 0, 0, *marker.arguments(late)])
    marker.moved(late, answer)
    assert await marker.published() == {}


async def test_workers_share_the_marker(client: redis.asyncio.Redis, prefix: str) -> None:
    """Each knows what it wrote itself; a partition goes on from wherever either left it; a loss is seen by both."""
    first, first_lists = await running(client, prefix, worker="w1")
    second, second_lists = await running(client, prefix, worker="w2")
    await first_lists.publish([slate("u", 1)], {0: 5})
    await second_lists.publish([slate("v", 1)], {0: 4, 1: 7})
    assert await first.published() == await second.published() == {0: 5, 1: 7}
    assert not await first.look()
    assert not await second.look()
    await client.delete(marker_key(prefix))
    assert await first.look()
    assert await second.look()
    assert not await first.look()


async def test_a_run_gives_way_to_a_later_one(
    client: redis.asyncio.Redis, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Two workers of one name, by mistake: the earlier says so once, and neither takes it for a loss."""
    earlier, earlier_lists = await running(client, prefix, now_ms=2_000)
    later, later_lists = await running(client, prefix, now_ms=1_000)  # its clock is behind
    await earlier_lists.publish([slate("u", 1)], {0: 1})
    await later_lists.publish([slate("u", 2)], {0: 1})
    assert not await earlier.look()
    assert not await later.look()
    assert [record.getMessage().partition("; ")[2] for record in caplog.records] == [
        "give each a kafka.group_instance_id of its own"
    ]
