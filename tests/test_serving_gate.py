"""Who may do what over HTTP, how often, and how much at once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from serving import ADMIN, READ, WRITE, publish, served, settings, slate

from millstream.agents.cli import main
from millstream.agents.serving.models import ErrorOut
from millstream.agents.serving.rate import RateLimit
from millstream.streams.settings import WrongSettings, load_settings

KEYS: dict[str, Any] = {"read_keys": [READ], "write_keys": [WRITE], "admin_keys": [ADMIN]}


@pytest.fixture
async def web(redis_url: str, prefix: str) -> AsyncIterator[httpx.AsyncClient]:
    await publish(redis_url, prefix, slate("u"))
    found = settings(redis_url, prefix, write_timeout_s=0.1, cors_origins=["https://shop.example"], **KEYS)
    async with served(found) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/users/u/recommendations", {READ, WRITE, ADMIN}),
        ("GET", "/v1/users/u%2F/recommendations?x=1", {READ, WRITE, ADMIN}),
        ("GET", "/v1/popular", {READ, WRITE, ADMIN}),
        ("POST", "/v1/recommendations", {READ, WRITE, ADMIN}),
        ("GET", "/metrics", {READ, WRITE, ADMIN}),
        ("POST", "/v1/interactions", {WRITE, ADMIN}),
        ("DELETE", "/v1/items/i", {ADMIN}),
        ("PUT", "/v1/items/i", {ADMIN}),
        ("PATCH", "/v1/items/i", {ADMIN}),
        ("GET", "/v1/items/i", {READ, WRITE, ADMIN}),
        ("GET", "/v1/items/i/similar", {READ, WRITE, ADMIN}),
        ("GET", "/v1/users/u/why/i", {READ, WRITE, ADMIN}),
    ],
)
@pytest.mark.parametrize("key", [None, "unknown-unknown-unknown", READ, WRITE, ADMIN])
async def test_each_key_may_do_what_its_level_says(
    web: httpx.AsyncClient, method: str, path: str, allowed: set[str], key: str | None
) -> None:
    """401 without a key that is known, 403 with one that is too low, and otherwise what the route answers."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    answer = await web.request(method, path, headers=headers, content=b"{")
    if key in allowed:
        assert answer.status_code not in (401, 403)
    else:
        known = key in (READ, WRITE, ADMIN)
        assert answer.status_code == (403 if known else 401)
        assert ErrorOut.model_validate_json(answer.text, strict=True).error.remedy
        assert (answer.headers.get("www-authenticate") is None) == known
        assert "key-that" not in answer.text


async def test_state_and_description_are_open(web: httpx.AsyncClient) -> None:
    """Whoever watches the process needs no key."""
    for path in ("/healthz", "/readyz", "/openapi.json"):
        assert (await web.get(path)).status_code == 200


async def test_a_page_of_the_settings_may_ask_from_a_browser(web: httpx.AsyncClient) -> None:
    """Its origin is allowed, on refusals too; another's is not."""
    asking = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    before = await web.options("/v1/popular", headers={"Origin": "https://shop.example", **asking})
    assert (before.status_code, before.headers["access-control-allow-origin"]) == (200, "https://shop.example")
    for key in (READ, "wrong"):
        headers = {"Origin": "https://shop.example", "Authorization": f"Bearer {key}"}
        answer = await web.get("/v1/popular", headers=headers)
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    answer = await web.get("/v1/popular", headers={"Origin": "https://other.example"})
    assert "access-control-allow-origin" not in answer.headers


async def test_too_many_requests_are_told_when_to_come_again(redis_url: str, prefix: str) -> None:
    """One key's excess does not touch another's."""
    found = settings(redis_url, prefix, rate_per_s=5, **KEYS)
    async with served(found) as web:
        hasty = {"Authorization": f"Bearer {READ}"}
        statuses = [(await web.get("/v1/popular", headers=hasty)).status_code for _ in range(12)]
        assert statuses[:5] == [200] * 5
        assert 429 in statuses
        refused = await web.get("/v1/popular", headers=hasty)
        while refused.status_code != 429:
            refused = await web.get("/v1/popular", headers=hasty)
        assert int(refused.headers["retry-after"]) >= 1
        assert "serve.rate_per_s" in refused.json()["error"]["remedy"]
        assert (await web.get("/v1/popular", headers={"Authorization": f"Bearer {WRITE}"})).status_code == 200


def test_a_bucket_fills_at_its_rate_and_no_higher() -> None:
    """By a clock that is told: a second's worth at once, then one every tenth."""
    now_s = 0.0
    limit = RateLimit(10.0, clock=lambda: now_s)
    assert [limit.wait_s("a") for _ in range(10)] == [0.0] * 10
    assert limit.wait_s("a") == pytest.approx(0.1)
    assert limit.wait_s("b") == 0.0
    now_s = 0.11
    assert limit.wait_s("a") == 0.0
    assert limit.wait_s("a") > 0.0
    now_s = 1_000.0
    assert [limit.wait_s("a") > 0 for _ in range(11)] == [False] * 10 + [True]


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("path", ["/v1/recommendations", "/v1/interactions", "/v1/items/i"])
async def test_bodies_above_the_bound_are_refused(redis_url: str, prefix: str, path: str, in_chunks: bool) -> None:
    """Also those that do not say beforehand how long they are."""
    content = json.dumps({"users": ["u" * 5_000]}).encode()

    async def chunks() -> AsyncIterator[bytes]:
        for first in range(0, len(content), 512):
            yield content[first : first + 512]

    async with served(settings(redis_url, prefix, max_body_bytes=2_048)) as web:
        answer = await web.request(
            "PUT" if "items" in path else "POST",
            path,
            content=chunks() if in_chunks else content,
            headers={"Content-Type": "application/json"},
        )
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_keys_only_loopback_is_served(alone: None) -> None:
    """The remedy is named before anything listens."""
    shown = CliRunner().invoke(main, ["serve", "--host", "0.0.0.0", "--port", "0"])
    assert shown.exit_code == 1
    assert "serve.read_keys" in shown.output


def test_a_wrong_key_is_named_and_not_repeated(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings say which is too short without writing it into a log; unknown kinds are listed."""
    monkeypatch.setenv("MILLSTREAM_SERVE__READ_KEYS", '["tooshort"]')
    with pytest.raises(WrongSettings) as wrong:
        load_settings()
    assert "MILLSTREAM_SERVE__READ_KEYS" in str(wrong.value)
    assert "16 printable" in str(wrong.value)
    assert "tooshort" not in str(wrong.value)
    monkeypatch.setenv("MILLSTREAM_SERVE__READ_KEYS", "[]")
    monkeypatch.setenv("MILLSTREAM_SERVE__HIDE_KINDS", '["stare"]')
    with pytest.raises(WrongSettings, match="no kind is called 'stare'"):
        load_settings()
