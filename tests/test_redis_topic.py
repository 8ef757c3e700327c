"""The Redis topic against a real Valkey: newest wins, whoever writes and however often."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

import pytest
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError
from redis.exceptions import TimeoutError as RedisTimeoutError

from millstream.schemas.records import ScoredItem, Slate, Version
from millstream.schemas.slates import EncodedSlate, decode_slate, encode_slate
from millstream.streams.local_redis import LocalRedis
from millstream.streams.redis_connection import connect
from millstream.streams.redis_topic import SLATES_PER_CALL, RedisTopic


def slate(user: str, position: int, *, generation: int = 1, revision: int = 0, list_name: str = "main") -> EncodedSlate:
    return encode_slate(
        Slate(
            slate_id=f"{user}-{position}",
            list=list_name,
            user_id=user,
            items=(ScoredItem(f"item-{position}", 1.0),),
            version=Version(generation, position, revision),
            as_of_ms=1_000 + position,
            generated_ts_ms=2_000 + position,
        )
    )


def topic_on(client: redis.asyncio.Redis, prefix: str, *, ttl_s: int = 600, feed_length: int = 100_000) -> RedisTopic:
    return RedisTopic(client, prefix=prefix, ttl_s=ttl_s, feed_length=feed_length)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with connect(redis_url) as client:
        yield client


@pytest.fixture
def topic(client: redis.asyncio.Redis, prefix: str) -> RedisTopic:
    return topic_on(client, prefix)


async def feed(client: redis.asyncio.Redis, prefix: str) -> list[tuple[str, Version]]:
    entries: Any = await client.xrange(f"{prefix}recs")
    return [(fields[b"k"].decode(), Version.unpack(fields[b"v"])) for _, fields in entries]


async def test_a_list_is_stored_with_a_ttl_and_a_pointer(
    client: redis.asyncio.Redis, topic: RedisTopic, prefix: str
) -> None:
    """The value is the encoded slate, it expires, and the feed says which list changed to which version."""
    assert await topic.publish([slate("a:b", 5), slate("", 6)]) == [True, True]
    assert await client.get(f"{prefix}rec:main:a:b") == slate("a:b", 5).stored
    assert 590_000 < await client.pttl(f"{prefix}rec:main:a:b") <= 600_000
    assert await feed(client, prefix) == [("main:a:b", Version(1, 5, 0)), ("main:", Version(1, 6, 0))]
    assert await topic.read_version("a:b") == Version(1, 5, 0)
    assert await topic.read_version() == Version(1, 6, 0)
    assert await topic.read_version("nobody") is None


@pytest.mark.parametrize(
    ("stored", "offered", "wins"),
    [
        (Version(1, 5, 9), Version(1, 6, 0), True),
        (Version(1, 5, 9), Version(1, 5, 10), True),
        (Version(1, 5, 9), Version(2, 0, 0), True),
        (Version(1, 5, 9), Version(1, 5, 9), False),
        (Version(1, 5, 9), Version(1, 5, 8), False),
        (Version(1, 5, 9), Version(1, 4, 99), False),
        (Version(2, 0, 0), Version(1, 99, 99), False),
        (Version(1, 255, 0), Version(1, 256, 0), True),
        (Version(1, 2**53 - 2, 0), Version(1, 2**53 - 1, 0), True),
        (Version(1, 2**53 - 1, 0), Version(1, 2**53 - 2, 0), False),
    ],
)
async def test_only_a_greater_version_replaces(
    client: redis.asyncio.Redis, topic: RedisTopic, prefix: str, stored: Version, offered: Version, wins: bool
) -> None:
    """The three numbers are compared in order; what loses or is equal changes no byte, no TTL and no feed."""
    first = slate("u", stored.position, generation=stored.generation, revision=stored.revision)
    second = slate("u", offered.position, generation=offered.generation, revision=offered.revision)
    await topic.publish([first])
    await client.pexpire(f"{prefix}rec:main:u", 100_000)
    assert await topic.publish([second]) == [wins]
    assert await client.get(f"{prefix}rec:main:u") == (second if wins else first).stored
    assert (await client.pttl(f"{prefix}rec:main:u") > 100_000) == wins
    assert len(await feed(client, prefix)) == 1 + wins


@pytest.mark.parametrize(
    "value", [b"", b"\x01short", b'{"items": [1, 2, 3, 4, 5, 6, 7, 8]}', b"\x02" + b"\xff" * 40, b"\x01" + b"\xff" * 40]
)
async def test_a_foreign_value_counts_as_older(
    client: redis.asyncio.Redis, topic: RedisTopic, prefix: str, value: bytes
) -> None:
    """What is no list of ours cannot keep a list out for ever."""
    await client.set(f"{prefix}rec:main:u", value)
    assert await topic.publish([slate("u", 0, generation=0)]) == [True]
    assert await topic.read_version("u") == Version(0, 0, 0)


async def test_a_value_of_another_type_counts_as_older(
    client: redis.asyncio.Redis, topic: RedisTopic, prefix: str
) -> None:
    """Even a hash under the key is replaced, with the rest of the call stored as well."""
    await client.hset(f"{prefix}rec:main:u", mapping={"a": "b"})
    assert await topic.publish([slate("u", 1), slate("v", 1)]) == [True, True]


async def test_many_slates_keep_their_order_over_several_calls(topic: RedisTopic, prefix: str) -> None:
    """Verdicts come back one a slate, in order, however many calls it takes; a user may come twice."""
    count = 2 * SLATES_PER_CALL + 7
    await topic.publish([slate(str(user), 5) for user in range(0, count, 3)])
    verdicts = await topic.publish([slate(str(user), 5) for user in range(count)] + [slate("0", 6), slate("0", 4)])
    assert verdicts == [user % 3 != 0 for user in range(count)] + [True, False]


async def test_an_emptied_script_cache_goes_unnoticed(client: redis.asyncio.Redis, topic: RedisTopic) -> None:
    """After a restart or SCRIPT FLUSH the script is loaded again."""
    await topic.publish([slate("u", 1)])
    await client.script_flush()
    assert await topic.publish([slate("u", 2)]) == [True]


async def test_the_feed_is_trimmed(client: redis.asyncio.Redis, prefix: str) -> None:
    """The feed keeps about as many pointers as it was told, not all of them."""
    topic = topic_on(client, prefix, feed_length=100)
    await topic.publish([slate(str(user), 1) for user in range(2_000)])
    assert 100 <= await client.xlen(f"{prefix}recs") < 400


async def race(topics: list[RedisTopic], users: int, versions: int) -> None:
    """Let every topic publish every version of every user, in an order of its own, in small calls."""

    async def one(seed: int, topic: RedisTopic) -> None:
        slates = [slate(str(user), position) for user in range(users) for position in range(1, versions + 1)]
        random.Random(seed).shuffle(slates)
        for first in range(0, len(slates), 20):
            await topic.publish(slates[first : first + 20])

    await asyncio.gather(*(one(seed, topic) for seed, topic in enumerate(topics)))


async def stale(client: redis.asyncio.Redis, prefix: str, users: int, newest: int) -> int:
    values: Any = await client.mget([f"{prefix}rec:main:{user}" for user in range(users)])
    return sum(
        decode_slate(value, list_name="main", user_id=str(user)).version.position != newest
        for user, value in enumerate(values)
    )


async def test_racing_writers_leave_no_stale_list(client: redis.asyncio.Redis, prefix: str) -> None:
    """Four writers, each in another order: every list is the newest, and each user's feed only goes up."""
    await race([topic_on(client, prefix) for _ in range(4)], users=50, versions=20)
    assert await stale(client, prefix, users=50, newest=20) == 0
    last: dict[str, Version] = {}
    for pointer, version in await feed(client, prefix):
        assert last.get(pointer, Version(0, 0, 0)) < version
        last[pointer] = version


async def test_without_the_guard_racing_writers_leave_stale_lists(client: redis.asyncio.Redis, prefix: str) -> None:
    """The same race with a script that does not compare: this is what the guard prevents."""
    script = (files("millstream.streams") / "publish.lua").read_text()
    compares = "local verdict = compare(KEYS[i], value)"
    assert compares in script
    topics = [topic_on(client, prefix) for _ in range(4)]
    for topic in topics:
        topic._script = client.register_script(script.replace(compares, "local verdict = 'n'"))
    await race(topics, users=50, versions=20)
    assert await stale(client, prefix, users=50, newest=20) > 10


async def test_what_a_lost_answer_stored_is_reported_when_published_again(
    client: redis.asyncio.Redis, topic: RedisTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis stored the lists and the connection broke before saying so: publishing again says True, once."""
    script = topic._script

    async def answer_is_lost(**arguments: Any) -> bytes:
        await script(**arguments)
        raise RedisTimeoutError("answer lost")

    slates = [slate(str(user), 5) for user in range(SLATES_PER_CALL + 5)]
    monkeypatch.setattr(topic, "_script", answer_is_lost)
    with pytest.raises(RedisTimeoutError):
        await topic.publish(slates)
    monkeypatch.setattr(topic, "_script", script)
    assert await topic.publish(slates) == [True] * len(slates)
    assert await topic.publish(slates) == [False] * len(slates)


async def test_redis_gone_and_back() -> None:
    """Gone: ConnectionError at once, not after seconds of retries. Frozen: TimeoutError. Back: the same call works."""
    with LocalRedis() as server:
        async with connect(server.url, timeout_s=0.3) as client:
            topic = topic_on(client, "")
            await topic.publish([slate("u", 1)])
            server.pause()
            with pytest.raises(RedisTimeoutError):
                await topic.publish([slate("u", 2)])
            server.resume()
            assert await topic.publish([slate("u", 2)]) == [True]
            server.kill()
            with pytest.raises(RedisConnectionError):
                await asyncio.wait_for(topic.publish([slate("u", 3)]), 1.0)
            server.restart()
            assert await topic.publish([slate("u", 3)]) == [True]
            assert await topic.publish([slate("u", 3)]) == [False]


async def test_redis_at_its_memory_limit_refuses_the_whole_call() -> None:
    """No half-stored call: after OutOfMemoryError the lists and the feed are as before, and room again mends it."""
    with LocalRedis() as server:
        async with connect(server.url) as client:
            topic = topic_on(client, "")
            await topic.publish([slate("u", 1)])
            await client.config_set("maxmemory", "1")
            with pytest.raises(OutOfMemoryError):
                await topic.publish([slate("u", 2), slate("v", 2)])
            await client.config_set("maxmemory", "0")
            assert await topic.read_version("u") == Version(1, 1, 0)
            assert len(await feed(client, "")) == 1
            assert await topic.publish([slate("u", 2), slate("v", 2)]) == [True, True]


def test_a_list_name_with_a_colon_is_refused() -> None:
    """Keys would be ambiguous."""
    with pytest.raises(ValueError, match="a:b"):
        RedisTopic(connect("redis://127.0.0.1:1"), ttl_s=1, feed_length=1, list_name="a:b")
