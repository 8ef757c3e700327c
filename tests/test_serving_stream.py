"""The event stream, from a real uvicorn: what comes, where it goes on, and that a slow reader holds nobody up."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from serving import publish, served, settings, slate

from millstream.agents.serving.hub import FeedHub
from millstream.schemas.item_sets import encode_item_set
from millstream.streams.local_redis import LocalRedis
from millstream.streams.pointers import Pointer, PointerFeed, read_id
from millstream.streams.redis_connection import connect_sync


@pytest.fixture
async def web(redis_url: str, prefix: str) -> AsyncIterator[httpx.AsyncClient]:
    await publish(redis_url, prefix, slate("u"), slate("v"))
    async with served(settings(redis_url, prefix)) as client:
        yield client


class Events:
    """One open stream: its events as (id, data)."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()
        self.last_id = ""

    async def begun(self) -> Events:
        """Return once the server says where the stream begins."""
        async for line in self._lines:
            if line.startswith("id: "):
                self.last_id = line[4:]
            if not line:
                break
        return self

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            async for line in self._lines:
                if line.startswith("id: "):
                    self.last_id = line[4:]
                elif line.startswith("data: "):
                    data: dict[str, Any] = json.loads(line[6:])
                    return data
        raise AssertionError("the stream ended")


@asynccontextmanager
async def streaming(web: httpx.AsyncClient, query: str = "", **headers: str) -> AsyncIterator[Events]:
    async with web.stream("GET", f"/v1/stream?{query}", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield await Events(response).begun()


async def test_a_refreshed_list_comes_as_a_read_would_give_it(
    web: httpx.AsyncClient, redis_url: str, prefix: str
) -> None:
    """From now on, of this user and list alone, k items of it, without what may not be shown."""
    with connect_sync(redis_url, timeout_s=5.0) as client:
        client.set(f"{prefix}withdrawn", encode_item_set(1, ["a"]))
    async with streaming(web, "user=u&k=1") as events:
        other = slate("u", position=9, list_name="home")
        await publish(redis_url, prefix, slate("v", position=3), other, slate("u", position=4))
        event = await events.next()
    assert (event["user_id"], event["version"]["position"]) == ("u", 4)
    assert [item["item_id"] for item in event["items"]] == ["b"]
    assert event == {**(await web.get("/v1/users/u/recommendations?k=1")).json(), "age_ms": event["age_ms"]}


@pytest.mark.parametrize("way", ["header", "query"])
async def test_a_stream_goes_on_where_it_was_cut_off(
    web: httpx.AsyncClient, redis_url: str, prefix: str, way: str
) -> None:
    """What was refreshed meanwhile comes first, each list once and as it is now; of everybody, in the feed's order."""
    async with streaming(web) as events:
        await publish(redis_url, prefix, slate("u", position=3))
        assert (await events.next())["version"]["position"] == 3
        last = events.last_id
    await publish(redis_url, prefix, slate("v", position=4), slate("u", position=5), slate("u", position=6))
    go_on = {"Last-Event-ID": last} if way == "header" else {}
    async with streaming(web, f"last={last}" if way == "query" else "", **go_on) as events:
        got = [await events.next(), await events.next()]
        await publish(redis_url, prefix, slate("w", position=7))
        got.append(await events.next())
    assert [(each["user_id"], each["version"]["position"]) for each in got] == [("v", 4), ("u", 6), ("w", 7)]


async def test_who_was_cut_off_before_the_first_event_misses_nothing(
    web: httpx.AsyncClient, redis_url: str, prefix: str
) -> None:
    """The stream begins with an id to go on after."""
    async with streaming(web, "user=u") as events:
        last = events.last_id
    await publish(redis_url, prefix, slate("u", position=3))
    async with streaming(web, f"user=u&last={last}") as events:
        assert (await events.next())["version"]["position"] == 3


@pytest.mark.parametrize("last", ["x", "1", "1-2-3", "-1-0", f"{2**64}-0"])
async def test_an_id_that_is_none_is_refused(web: httpx.AsyncClient, last: str) -> None:
    """With where it stood and the remedy."""
    answer = await web.get("/v1/stream", headers={"Last-Event-ID": last})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "header.last-event-id")
    answer = await web.get("/v1/stream", params={"last": last})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "query.last")


async def test_a_slow_reader_slows_no_other_and_loses_no_list(redis_url: str, prefix: str) -> None:
    """One does not read at all while far more is sent than sockets hold; another has each list at once."""
    await publish(redis_url, prefix, slate("u"))
    items = [f"item {n} {'x' * 60}" for n in range(200)]
    async with served(settings(redis_url, prefix)) as web, streaming(web, "user=u") as quick:
        host, port = web.base_url.host, web.base_url.port
        assert port is not None
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        stuck.connect((host, port))
        stuck.sendall(b"GET /v1/stream?k=1000&user=u HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.1)
        for position in range(10, 210):
            await publish(redis_url, prefix, slate("u", items, position=position))
            while (await quick.next())["version"]["position"] < position:
                pass
        # now the slow one reads: it comes to the newest list, and only a few of those between took memory meanwhile
        stuck.settimeout(5.0)
        received = b""
        newest = b'"position":209'
        loop = asyncio.get_running_loop()
        while newest not in received:
            part = await loop.run_in_executor(None, stuck.recv, 1 << 20)
            assert part, "the server hung up"
            received += part
        stuck.close()
        assert received.count(b"event: list") < 200


async def test_streams_end_with_the_server(redis_url: str, prefix: str) -> None:
    """An open stream does not keep a server that is told to stop."""
    async with asyncio.timeout(15):
        async with served(settings(redis_url, prefix)) as web:
            client = httpx.AsyncClient(base_url=web.base_url)
            stream = client.stream("GET", "/v1/stream")
            response = await stream.__aenter__()
            assert response.status_code == 200
        await stream.__aexit__(None, None, None)
        await client.aclose()


class Feed:
    """A feed that a test writes, and can take away."""

    def __init__(self) -> None:
        self.pointers: list[Pointer] = []
        self.gone = False
        self.reads = 0

    async def newest(self) -> tuple[int, int]:
        return self.pointers[-1].at if self.pointers else (0, 0)

    async def after(self, at: tuple[int, int], *, block_ms: int | None = None) -> list[Pointer]:
        self.reads += 1
        await asyncio.sleep(0.001)
        if self.gone:
            raise RedisConnectionError("gone")
        found = [pointer for pointer in self.pointers if pointer.at > at][:3]
        if not found and block_ms:
            await asyncio.sleep(0.005)
        return found

    async def close(self) -> None:
        pass


async def test_who_falls_behind_what_is_remembered_reads_on_in_redis() -> None:
    """Every pointer in order, through memory and the feed and an outage; waiting costs no reads of the feed."""
    feed = Feed()
    hub = FeedHub(feed, remembered=5)  # type: ignore[arg-type]  # a stand-in for PointerFeed
    at = await hub.newest()
    for number in range(1, 31):
        feed.pointers.append(Pointer((number, 0), "main", f"u{number}"))
        if number == 15:
            feed.gone = True
            await asyncio.sleep(0.02)
            feed.gone = False
        await asyncio.sleep(0.002)
    await asyncio.sleep(0.3)
    got: list[Pointer] = []
    while len(got) < 30:
        some = await hub.after(at, 1.0)
        assert some
        got += some
        at = got[-1].at
    assert got == feed.pointers
    assert await hub.after(at, 0.02) == []
    await hub.close()


async def test_the_feed_of_a_restarted_redis_is_followed_on() -> None:
    """Pointers after the restart come; those before are not asked for again."""
    with LocalRedis(append_only=True) as server:
        await publish(server.url, "", slate("u"))
        hub = FeedHub(PointerFeed(server.url))
        at = await hub.newest()
        await asyncio.to_thread(server.restart)
        await publish(server.url, "", slate("u", position=3))
        async with asyncio.timeout(10):
            while not (found := await hub.after(at, 1.0)):
                pass
        assert [(each.user_id, each.at > at) for each in found] == [("u", True)]
        await hub.close()


def test_ids_are_read_as_redis_writes_them() -> None:
    """They sort as numbers."""
    assert read_id("9-0") < read_id("10-0") < read_id("10-2") < read_id("10-10")
