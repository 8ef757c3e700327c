"""Lists over HTTP, from a real uvicorn over a real Valkey: what is answered, refused, and while Redis is away."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from serving import publish, served, settings, slate

from millstream.agents.serving.models import BatchOut, ErrorOut, ListOut
from millstream.agents.serving.quick import plainly_asked
from millstream.schemas.item_sets import encode_item_set
from millstream.streams.local_process import free_ports
from millstream.streams.local_redis import LocalRedis
from millstream.streams.redis_connection import connect_sync


@pytest.fixture
async def web(redis_url: str, prefix: str) -> AsyncIterator[httpx.AsyncClient]:
    await publish(redis_url, prefix, slate("u"), slate("u/1 ü\n", ["x"]), slate("", ["p", "a"]))
    async with served(settings(redis_url, prefix)) as client:
        yield client


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


async def test_a_users_list_is_json_with_named_fields(web: httpx.AsyncClient) -> None:
    """Items with scores and reasons, the slate's id, version and age; what stands in and why."""
    answer = (await web.get("/v1/users/u/recommendations", params={"k": 1})).json()
    assert answer.pop("age_ms") > 0
    assert answer == {
        "user_id": "u",
        "list": "main",
        "items": [
            {
                "item_id": "a",
                "score": 2.0,
                "reasons": [{"signal": "covisitation", "contribution": 2.0, "evidence": "seen"}],
                "propensity": None,
            }
        ],
        "slate_id": "slate 2 of u",
        "version": {"generation": 1, "position": 2, "revision": 3},
        "as_of_ms": 1_700_000_000_000,
        "fallback": None,
        "because": None,
        "withheld": 0,
    }


@pytest.mark.parametrize(
    "query",
    ["", "k=2", "k=2&list=main", "exclude=a&exclude=c", "k=1&exclude=a", "list=home", "exclude=", "k=1000"],
)
@pytest.mark.parametrize("user", ["u", "stranger", "u%2F1%20%C3%BC%0A"])
async def test_the_short_and_the_long_way_answer_alike(web: httpx.AsyncClient, user: str, query: str) -> None:
    """A parameter that nobody knows sends a request the long way and changes nothing."""
    short = await web.get(f"/v1/users/{user}/recommendations?{query}")
    long = await web.get(f"/v1/users/{user}/recommendations?{query}&unknown=1")
    assert short.status_code == long.status_code == 200
    assert short.headers["content-type"] == long.headers["content-type"]
    fields = [json.loads(each.text) for each in (short, long)]
    for each in fields:
        ListOut.model_validate(each, strict=True)
        each["age_ms"] = None
    assert fields[0] == fields[1]


@pytest.mark.parametrize(
    "query", ["k=0", "k=1001", "k=²", "k=1&k=2", "list=", "list=a:b", "a=1", "exclude=%61", "k", "k=+1"]
)
def test_the_short_way_takes_nothing_odd(query: str) -> None:
    """Whatever has to be judged is left to the route that says what is wrong with it."""
    path = "/v1/users/u/recommendations"
    assert plainly_asked({"path": path, "query_string": query.encode()}) is None
    for odd in ("/v1/users//recommendations", f"/v1/users/{'u' * 65}/recommendations", "/v1/users/a\0/recommendations"):
        assert plainly_asked({"path": odd, "query_string": b""}) is None


async def test_what_may_not_be_shown_is_not(web: httpx.AsyncClient, redis_url: str, prefix: str) -> None:
    """Withdrawn, hidden and excluded items are left out, of the popular list too."""
    with connect_sync(redis_url, timeout_s=5.0) as client:
        client.set(f"{prefix}withdrawn", encode_item_set(1, ["b"]))
        client.set(f"{prefix}rule:u", encode_item_set(1, ["c"]))
    answer = await web.get("/v1/users/u/recommendations")
    assert (ids(answer), answer.json()["withheld"]) == (["a"], 2)
    assert ids(await web.get("/v1/users/v/recommendations", params={"exclude": "p"})) == ["a"]
    assert ids(await web.get("/v1/popular", params={"k": 1})) == ["p"]


async def test_several_users_at_once(web: httpx.AsyncClient) -> None:
    """In the order asked; what is answered is what is described."""
    answer = await web.post("/v1/recommendations", json={"users": ["u", "v"], "k": 1, "exclude": ["a"]})
    assert answer.status_code == 200, answer.text
    found = BatchOut.model_validate_json(answer.text, strict=True).answers
    assert [(each.user_id, each.items[0].item_id, each.fallback) for each in found] == [
        ("u", "b", None),
        ("v", "p", "popular"),
    ]


@pytest.mark.parametrize(
    ("query", "field"),
    [({"k": 0}, "k"), ({"k": 1_001}, "k"), ({"k": "many"}, "k"), ({"list": "a:b"}, "list"), ({"list": ""}, "list")],
)
@pytest.mark.parametrize("path", ["/v1/users/u/recommendations", "/v1/popular"])
async def test_bad_questions_name_the_field(
    web: httpx.AsyncClient, path: str, query: dict[str, str | int], field: str
) -> None:
    """422 with the value, where it stands, and a remedy; never a 5xx for what the caller got wrong."""
    answer = await web.get(path, params=query)
    assert answer.status_code == 422
    error = ErrorOut.model_validate_json(answer.text, strict=True).error
    assert error.field == f"query.{field}"
    assert repr(str(query[field])) in error.message
    assert error.remedy


@pytest.mark.parametrize(
    ("content", "kind", "status", "field"),
    [
        (b'{"users": ["u"]}', "text/plain", 415, "header.content-type"),
        (b'{"users": ["u"', "application/json", 400, "body"),
        (b'{"users": []}', "application/json", 422, "body.users"),
        (b'{"users": ["u"], "k": 0}', "application/json", 422, "body.k"),
        (b'{"users": ["u"], "kk": 1}', "application/json", 422, "body.kk"),
        (b'{"users": ["a\\u0000"]}', "application/json", 422, "body.users.0"),
        (b"[]", "application/json", 422, "body"),
    ],
)
async def test_bad_bodies_name_the_field(
    web: httpx.AsyncClient, content: bytes, kind: str, status: int, field: str
) -> None:
    """The media type, the syntax and each value."""
    answer = await web.post("/v1/recommendations", content=content, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["error"]["field"]) == (status, field), answer.text


@pytest.mark.parametrize("path", ["/nothing", "/v1/users/u", "/v1/interactions/"])
async def test_what_is_not_there_is_404_in_the_same_form(web: httpx.AsyncClient, path: str) -> None:
    """With a remedy like every other error."""
    answer = await web.get(path)
    assert answer.status_code == 404
    ErrorOut.model_validate_json(answer.text, strict=True)
    assert (await web.put("/v1/popular")).status_code == 405


async def test_concurrent_requests_share_round_trips(web: httpx.AsyncClient) -> None:
    """Metrics show far fewer MGETs than answers, and count every answer by what stood in."""

    async def figure(name: str) -> float:
        text = (await web.get("/metrics")).text
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(f"millstream_{name}"))

    async with httpx.AsyncClient(base_url=web.base_url, limits=httpx.Limits(max_connections=64)) as many:
        answers = await asyncio.gather(*(many.get(f"/v1/users/u{n}/recommendations") for n in range(200)))
    assert {answer.status_code for answer in answers} == {200}
    assert await figure('answers_total{fallback="popular"}') == 200
    assert 1 <= await figure("redis_reads") < 200
    assert await figure('http_requests_total{method="GET",route="recommendations",status="200"}') == 200
    assert await figure("redis_lost") == 0


async def test_healthy_and_ready(web: httpx.AsyncClient) -> None:
    """With Redis there, both say yes."""
    assert (await web.get("/healthz")).json() == {"status": "ok"}
    assert (await web.get("/readyz")).json() == {"status": "ready"}


async def test_without_redis_the_static_list_is_served_at_once() -> None:
    """The process is healthy, not ready; a page gets the static list, in milliseconds, and a metric shows it."""
    (port,) = free_ports(1)
    found = settings(f"redis://127.0.0.1:{port}", "", static_items=["s1", "s2"])
    async with served(found) as web:
        for _ in range(20):
            began_s = time.perf_counter()
            answer = await web.get("/v1/users/u/recommendations", params={"k": 1})
            assert time.perf_counter() - began_s < 0.25
            assert (ids(answer), answer.json()["fallback"], answer.json()["because"]) == (
                ["s1"],
                "static",
                "unavailable",
            )
        assert (await web.get("/healthz")).status_code == 200
        assert (await web.get("/readyz")).status_code == 503
        assert (await web.get("/v1/stream")).status_code == 503
        metrics = (await web.get("/metrics")).text
        assert 'millstream_answers_total{fallback="static"} 20.0' in metrics
        assert "millstream_redis_lost 1.0" in metrics


async def test_redis_stopped_paused_and_full() -> None:
    """Paused or killed: the static list in milliseconds, then lists again. Full: reads do not notice."""
    with LocalRedis(append_only=True) as server:
        await publish(server.url, "", slate("u"))
        async with served(settings(server.url, "", static_items=["s"])) as web:

            async def fallback_is(expected: str | None, within_s: float) -> None:
                async with asyncio.timeout(within_s):
                    while (await web.get("/v1/users/u/recommendations")).json()["fallback"] != expected:
                        await asyncio.sleep(0.02)

            await fallback_is(None, 1.0)
            for stop, go_on in ((server.pause, server.resume), (server.kill, server.restart)):
                stop()
                began_s = time.perf_counter()
                assert (await web.get("/v1/users/u/recommendations")).json()["fallback"] == "static"
                assert time.perf_counter() - began_s < 0.25
                await asyncio.to_thread(go_on)
                await fallback_is(None, 5.0)
            with connect_sync(server.url, timeout_s=5.0) as client:
                client.config_set("maxmemory", "1")
            await fallback_is(None, 0.5)
            answer = await web.delete("/v1/items/i")
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "redis_unavailable")
