"""A serving process as its users meet it: uvicorn on a port of its own, in the test's event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import uvicorn

from millstream.agents.serving.app import Serving
from millstream.schemas.records import Reason, ScoredItem, Slate, Version
from millstream.schemas.slates import encode_slate
from millstream.streams.redis_connection import connect
from millstream.streams.redis_topic import RedisTopic
from millstream.streams.settings import Settings

READ, WRITE, ADMIN = "a-key-that-reads", "a-key-that-writes", "a-key-that-manages"


def settings(
    redis_url: str, prefix: str, *, bootstrap: str = "127.0.0.1:1", topic: str = "t", **serve: object
) -> Settings:
    return Settings.model_validate(
        {
            "kafka": {"bootstrap_servers": bootstrap},
            "redis": {"url": redis_url, "prefix": prefix},
            "inputs": [{"topic": topic}],
            "topics": {"items": f"{topic}.items", "partitions": 1},
            "serve": serve,
        }
    )


@asynccontextmanager
async def served(found: Settings, key: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server with these settings; it sends `key`."""
    serving = Serving(found)
    server = uvicorn.Server(uvicorn.Config(serving.app, log_level="warning", timeout_graceful_shutdown=2))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        running = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.005)
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=10) as client:
                yield client
        finally:
            serving.ending.set()
            server.should_exit = True
            await running


def slate(user: str, items: Sequence[str] = ("a", "b", "c"), position: int = 2, list_name: str = "main") -> Slate:
    return Slate(
        slate_id=f"slate {position} of {user}",
        list=list_name,
        user_id=user,
        items=tuple(ScoredItem(item, 2.0, (Reason("covisitation", 2.0, "seen"),)) for item in items),
        version=Version(1, position, 3),
        as_of_ms=1_700_000_000_000,
        generated_ts_ms=1_700_000_000_000,
    )


async def publish(url: str, prefix: str, *slates: Slate) -> None:
    async with connect(url) as client:
        await RedisTopic(client, prefix=prefix, ttl_s=60, feed_length=1_000).publish(
            [encode_slate(each) for each in slates]
        )
