"""Serving over HTTP: the reader's answers as JSON, bad questions as 422, and answers while Redis is away."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from millstream.schemas.records import Reason, ScoredItem, Slate, Version
from millstream.schemas.slates import encode_slate
from millstream.streams.http import RecommendationsOut, create_app
from millstream.streams.local_process import free_ports
from millstream.streams.reader import AsyncReader
from millstream.streams.redis_connection import connect
from millstream.streams.redis_topic import RedisTopic


def slate(user: str) -> Slate:
    return Slate(
        slate_id="s",
        list="main",
        user_id=user,
        items=(ScoredItem("a", 2.0, (Reason("covisitation", 2.0, "b"),)), ScoredItem("c", 1.0, (), 0.5)),
        version=Version(1, 2, 3),
        as_of_ms=1_000,
        generated_ts_ms=2_000,
    )


@asynccontextmanager
async def served(url: str, prefix: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application over `url`, without a socket between."""
    async with AsyncReader(url, prefix, timeout_s=2.0, clock_ms=lambda: 5_000) as reader:
        transport = httpx.ASGITransport(create_app(reader))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


@pytest.fixture
async def web(redis_url: str, prefix: str) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(redis_url) as client:
        topic = RedisTopic(client, prefix=prefix, ttl_s=60, feed_length=100)
        await topic.publish([encode_slate(slate("u/1")), encode_slate(slate(""))])
    async with served(redis_url, prefix) as client:
        yield client


async def test_a_users_list_is_json_with_named_fields(web: httpx.AsyncClient) -> None:
    """Items with scores and reasons, version, age; ids may hold what a path cannot, percent-encoded."""
    assert (await web.get("/v1/users/u%3A1/recommendations")).json()["fallback"] == "popular"
    answer = await web.get("/v1/users/u%2F1/recommendations", params={"k": 1})
    assert answer.status_code == 200
    assert answer.json() == {
        "user_id": "u/1",
        "list": "main",
        "items": [
            {
                "item_id": "a",
                "score": 2.0,
                "reasons": [{"signal": "covisitation", "contribution": 2.0, "evidence": "b"}],
                "propensity": None,
            }
        ],
        "version": {"generation": 1, "position": 2, "revision": 3},
        "as_of_ms": 1_000,
        "age_ms": 4_000,
        "fallback": None,
    }


async def test_what_is_answered_fits_what_is_described(web: httpx.AsyncClient) -> None:
    """The OpenAPI schema and its example are those of the real answer."""
    described = (await web.get("/openapi.json")).json()
    assert "/v1/users/{user}/recommendations" in described["paths"]
    RecommendationsOut.model_validate_json((await web.get("/v1/users/u%2F1/recommendations")).text, strict=True)
    # from the model, for OpenAPI's writer leaves nulls out of examples
    example = RecommendationsOut.model_json_schema()["example"]
    RecommendationsOut.model_validate_json(json.dumps(example), strict=True)


async def test_an_unknown_user_gets_the_popular_list(web: httpx.AsyncClient) -> None:
    """And an unknown list is empty; both say so."""
    assert (await web.get("/v1/users/nobody/recommendations")).json()["fallback"] == "popular"
    assert (await web.get("/v1/users/nobody/recommendations", params={"list": "home"})).json()["fallback"] == "empty"


@pytest.mark.parametrize("query", [{"k": 0}, {"k": 1_001}, {"k": "many"}, {"list": "a:b"}, {"list": ""}])
async def test_bad_questions_are_422_and_name_the_parameter(
    web: httpx.AsyncClient, query: dict[str, str | int]
) -> None:
    """Never a 5xx for what the caller got wrong."""
    answer = await web.get("/v1/users/u/recommendations", params=query)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", next(iter(query))]


async def test_health_and_readiness(web: httpx.AsyncClient) -> None:
    """With Redis there, both say yes."""
    assert (await web.get("/health")).json() == {"status": "ok"}
    assert (await web.get("/ready")).json() == {"status": "ready"}


async def test_without_redis_there_is_an_answer_and_no_readiness() -> None:
    """The process is healthy, not ready, and a page still gets a list, an empty one that says why."""
    (port,) = free_ports(1)
    async with served(f"redis://127.0.0.1:{port}", "") as web:
        answer = await web.get("/v1/users/u/recommendations")
        assert (answer.status_code, answer.json()["fallback"], answer.json()["items"]) == (200, "unavailable", [])
        assert (await web.get("/health")).status_code == 200
        assert (await web.get("/ready")).status_code == 503
