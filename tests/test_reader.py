"""The reader against a real Valkey: whose list it answers with, how it follows the feed, what an outage costs."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from millstream.schemas.records import ScoredItem, Slate, Version
from millstream.schemas.slates import encode_slate
from millstream.streams.answer import Answer
from millstream.streams.feed import FeedCursor
from millstream.streams.local_process import free_ports
from millstream.streams.local_redis import LocalRedis
from millstream.streams.read_core import REST_S
from millstream.streams.reader import AsyncReader, Reader
from millstream.streams.redis_connection import connect, connect_sync
from millstream.streams.redis_topic import RedisTopic

NOW_MS = 5_000


def slate(user: str, position: int, *, items: int = 3, list_name: str = "main") -> Slate:
    return Slate(
        slate_id=f"{user}-{position}",
        list=list_name,
        user_id=user,
        items=tuple(ScoredItem(f"{user}-item{place}", 1.0 / (1 + place)) for place in range(items)),
        version=Version(1, position, 0),
        as_of_ms=1_000 + position,
        generated_ts_ms=2_000,
    )


def publish(url: str, prefix: str, *slates: Slate, feed_length: int = 1_000) -> None:
    async def once() -> None:
        async with connect(url) as client:
            await RedisTopic(client, prefix=prefix, ttl_s=60, feed_length=feed_length).publish(
                [encode_slate(each) for each in slates]
            )

    asyncio.run(once())


@pytest.fixture(params=["sync", "async"])
def top(request: pytest.FixtureRequest, redis_url: str, prefix: str) -> Callable[..., Answer]:
    """`top` of both readers, as one blocking function."""

    def read(*arguments: Any) -> Answer:
        if request.param == "sync":
            with Reader(redis_url, prefix, timeout_s=5.0, clock_ms=lambda: NOW_MS) as reader:
                return reader.top(*arguments)

        async def once() -> Answer:
            async with AsyncReader(redis_url, prefix, timeout_s=5.0, clock_ms=lambda: NOW_MS) as reader:
                return await reader.top(*arguments)

        return asyncio.run(once())

    return read


def test_a_known_user_gets_their_own_list(top: Callable[..., Answer], redis_url: str, prefix: str) -> None:
    """The first k items, best first, with version and age, and no fallback."""
    publish(redis_url, prefix, slate("u", 7, items=5), slate("", 9))
    answer = top("u", 2)
    assert [item.item_id for item in answer.items] == ["u-item0", "u-item1"]
    assert (answer.user_id, answer.list, answer.fallback) == ("u", "main", None)
    assert (answer.version, answer.as_of_ms, answer.age_ms) == (Version(1, 7, 0), 1_007, NOW_MS - 1_007)
    assert len(top("u", 100).items) == 5


def test_an_unknown_user_gets_the_popular_list(top: Callable[..., Answer], redis_url: str, prefix: str) -> None:
    """The answer says so, and how old the popular list is."""
    assert top("u") == Answer(user_id="u", list="main", fallback="empty", because="no_list")
    publish(redis_url, prefix, slate("", 9))
    answer = top("u")
    assert [item.item_id for item in answer.items] == ["-item0", "-item1", "-item2"]
    assert (answer.fallback, answer.version, answer.user_id) == ("popular", Version(1, 9, 0), "u")


def test_lists_of_another_name_are_apart(top: Callable[..., Answer], redis_url: str, prefix: str) -> None:
    """A list is found under its own name alone, its popular one too."""
    publish(redis_url, prefix, slate("u", 1, list_name="home"), slate("", 1))
    assert top("u", 10, "home").fallback is None
    assert top("u", 10, "main").fallback == "popular"
    assert top("v", 10, "home").fallback == "empty"


@pytest.mark.parametrize(
    "value", [b"\x03a newer format", encode_slate(slate("u", 1)).stored[:-3]], ids=["format", "cut"]
)
def test_an_unreadable_list_gives_the_popular_one(
    top: Callable[..., Answer], redis_url: str, prefix: str, value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged value costs a user their list, not the page; the log names the key."""
    publish(redis_url, prefix, slate("", 9))
    with connect_sync(redis_url, timeout_s=5.0) as client:
        client.set(f"{prefix}rec:main:u", value)
    assert top("u").fallback == "popular"
    assert "rec:main:u" in caplog.text


def test_the_age_is_never_negative(redis_url: str, prefix: str) -> None:
    """A broker's clock ahead of ours makes no list from the future."""
    publish(redis_url, prefix, slate("u", 7))
    with Reader(redis_url, prefix, timeout_s=5.0, clock_ms=lambda: 0) as reader:
        assert reader.top("u").age_ms == 0


def test_bad_questions_are_refused(redis_url: str) -> None:
    """k below 1 and ambiguous list names are mistakes of the caller, not fallbacks."""
    with Reader(redis_url) as reader:
        with pytest.raises(ValueError, match="k=0"):
            reader.top("u", 0)
        with pytest.raises(ValueError, match="a:b"):
            reader.top("u", 1, "a:b")


def test_redis_that_refuses_costs_milliseconds(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing listens: every read answers `unavailable` at once, and the log has one line, not one a read."""
    (port,) = free_ports(1)
    with Reader(f"redis://127.0.0.1:{port}") as reader, caplog.at_level(logging.WARNING):
        started_s = time.perf_counter()
        for _ in range(200):
            assert reader.top("u") == Answer(user_id="u", list="main", fallback="unavailable", because="unavailable")
        assert time.perf_counter() - started_s < 0.5
    assert len(caplog.records) == 1


def test_redis_that_hangs_costs_one_timeout_then_nothing() -> None:
    """Frozen: the first read waits its time-out, those after it do not; thawed: lists come again."""
    with LocalRedis() as server:
        publish(server.url, "", slate("u", 1))
        with Reader(server.url, timeout_s=0.1) as reader:
            assert reader.top("u").fallback is None
            server.pause()
            started_s = time.perf_counter()
            assert reader.top("u").fallback == "unavailable"
            first_s = time.perf_counter() - started_s
            assert reader.top("u").fallback == "unavailable"
            assert 0.1 <= first_s < 0.3
            server.resume()
            assert answers_within(reader, 5.0)


def test_a_restarted_redis_is_read_at_once() -> None:
    """A pooled connection that died with the old server costs a reconnect, not an answer."""
    with LocalRedis(append_only=True) as server:
        publish(server.url, "", slate("u", 1))
        with Reader(server.url, timeout_s=2.0) as reader:
            assert reader.top("u").fallback is None
            server.restart()
            assert reader.top("u").fallback is None


def answers_within(reader: Reader, within_s: float) -> bool:
    """Read until there is a list, as a page's visitors would."""
    resting = threading.Event()
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        if reader.top("u").fallback is None:
            return True
        resting.wait(REST_S)
    return False


def test_following_yields_lists_as_they_are_published(redis_url: str, prefix: str) -> None:
    """What was published before is left out, what comes after arrives whole and in order; `stop` ends it."""
    publish(redis_url, prefix, slate("old", 1))
    stop = threading.Event()
    with Reader(redis_url, prefix) as reader:
        following = reader.follow(stop=stop)
        publish(redis_url, prefix, slate("u", 1), slate("", 2), slate("v:w", 3))
        assert list(islice(following, 3)) == [slate("u", 1), slate("", 2), slate("v:w", 3)]
        stop.set()
        assert list(following) == []


def test_following_from_the_start_reads_each_list_once(redis_url: str, prefix: str) -> None:
    """Many pointers to one list become the newest list, at the place of its last pointer."""
    publish(redis_url, prefix, *(slate("u", position) for position in range(1, 50)), slate("v", 1), slate("u", 50))
    publish(redis_url, prefix, slate("w", 1, list_name="home"))
    with Reader(redis_url, prefix) as reader:
        assert list(islice(reader.follow("0"), 3)) == [slate("v", 1), slate("u", 50), slate("w", 1, list_name="home")]
        assert next(iter(reader.follow("0", list="home"))) == slate("w", 1, list_name="home")


def test_following_waits_out_a_restart() -> None:
    """Connection lost, server back with its data: what is published then arrives, nothing twice."""
    with LocalRedis(append_only=True) as server, Reader(server.url) as reader:
        following = reader.follow()
        publish(server.url, "", slate("u", 1))
        assert next(following) == slate("u", 1)
        server.restart()
        publish(server.url, "", slate("u", 2))
        assert next(following) == slate("u", 2)


def test_following_a_dead_redis_says_so_at_the_start() -> None:
    """There is nothing to wait out yet, so the caller learns at once."""
    (port,) = free_ports(1)
    with Reader(f"redis://127.0.0.1:{port}") as reader, pytest.raises(RedisConnectionError):
        reader.follow()


async def test_the_async_reader_follows_too(redis_url: str, prefix: str) -> None:
    """The same lists, one at a time, until closed."""
    async with connect(redis_url) as client, AsyncReader(redis_url, prefix) as reader:
        topic = RedisTopic(client, prefix=prefix, ttl_s=60, feed_length=100)
        await topic.publish([encode_slate(slate("u", 1))])
        following = reader.follow("0")
        assert await anext(following) == slate("u", 1)
        await topic.publish([encode_slate(slate("u", 2)), encode_slate(slate("v", 1))])
        assert [await anext(following), await anext(following)] == [slate("u", 2), slate("v", 1)]
        await following.aclose()
        assert await reader.answers()


def entry(number: int, user: str, position: int) -> tuple[bytes, dict[bytes, bytes]]:
    return f"{number}-0".encode(), {b"k": f"main:{user}".encode(), b"v": Version(1, position, 0).pack()}


def test_a_list_read_ahead_of_its_pointer_comes_once() -> None:
    """The list was newer than its pointer by the time it was read: the pointer that follows brings nothing."""
    cursor = FeedCursor("p:", "0")
    cursor.take([entry(1, "u", 1)])
    assert cursor.keys() == ["p:rec:main:u"]
    assert list(cursor.slates([encode_slate(slate("u", 3)).stored])) == [slate("u", 3)]
    cursor.take([entry(2, "u", 2), entry(3, "u", 3)])
    assert cursor.keys() == []
    cursor.take([entry(4, "u", 4)])
    assert list(cursor.slates([encode_slate(slate("u", 4)).stored])) == [slate("u", 4)]
    assert cursor.last_id == "4-0"


def test_expired_and_unreadable_lists_are_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    """The feed goes on; what could not be read is named."""
    cursor = FeedCursor("", "0")
    cursor.take([entry(1, "gone", 1), entry(2, "odd", 1), entry(3, "u", 1)])
    assert list(cursor.slates([None, b"odd", encode_slate(slate("u", 1)).stored])) == [slate("u", 1)]
    assert "rec:main:odd" in caplog.text


def test_importing_the_reader_stays_light() -> None:
    """A web process that reads lists loads nothing that learns, streams or validates."""
    code = "import sys, millstream.streams.reader; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    heavy = {"numpy", "pydantic", "torch", "numba", "faust", "aiokafka", "kafka", "orjson", "fastapi", "click", "rich"}
    assert heavy.isdisjoint(loaded)
