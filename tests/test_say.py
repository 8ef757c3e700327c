"""What users say, over HTTP and on Kafka: understood once, written with what it means, and shown on their lists."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import orjson
import pytest
from logs import START_MS
from running import Pipeline, until
from serving import READ, WRITE, served
from serving import settings as of_serving
from shop import CATEGORIES, ITEMS
from understands import CLI, put, settings, understanding

pytest.importorskip("faiss", reason="the extra `search` is not installed")
pytest.importorskip("tantivy", reason="the extra `search` is not installed")

from millstream.agents.encoders import missing_packages
from millstream.agents.understanding.hearing import Ear, Heard
from millstream.schemas.mapping import InputMapping
from millstream.schemas.records import Kind
from millstream.schemas.utterances import judge_utterance
from millstream.streams.topic_reading import read_to_end

needs_encoder = pytest.mark.skipif(bool(missing_packages()), reason="the extra `text` is not installed")
SLOW = {"m5", "m6"}
"""Films that are described as slow science fiction."""


def heard(record: dict[str, Any], mapping: InputMapping | None = None) -> Heard | None:
    return Ear(mapping or InputMapping()).hear(orjson.dumps(record), "t-0-7", START_MS)


@pytest.mark.parametrize("kind", ["say", "query", "Query"])
def test_words_that_nobody_understood_are_heard(kind: str) -> None:
    """Their user, their text, their time; the same id each time, another for another place."""
    found = heard({"user": "u", "kind": kind, "query": "warm boots", "session": "s"})
    assert found is not None
    assert (found.event.user_id, found.text, found.event.ts_ms) == ("u", "warm boots", START_MS)
    assert found.extras == {"session_id": "s", "query": "warm boots"}
    again = heard({"user": "u", "kind": kind, "query": "warm boots"})
    assert again is not None
    assert found.event.event_id == again.event.event_id
    other = Ear(InputMapping()).hear(orjson.dumps({"user": "u", "kind": "say", "query": "x"}), "t-0-8", START_MS)
    assert other is not None
    assert other.event.event_id != found.event.event_id


@pytest.mark.parametrize(
    "record",
    [
        {"user": "u", "kind": "click", "item": "say", "query": "boots"},
        {"user": "u", "kind": "say"},
        {"user": "u", "kind": "say", "query": "  "},
        {"user": "u", "kind": "say", "query": 7},
        {"user": "u", "kind": "say", "query": "boots", "vector": [1] * 384},
        {"user": "", "kind": "say", "query": "boots"},
    ],
)
def test_all_else_is_passed_over(record: dict[str, Any]) -> None:
    """Clicks, words without a text, words that are understood, and what is a dead letter."""
    assert heard(record) is None


def test_an_inputs_own_names_are_heard() -> None:
    """A kind and a field that go by other names, and an input that holds nothing but searches."""
    mapping = InputMapping(fields={"query": "q"}, kinds={"search_made": "query"})
    found = heard({"user": "u", "kind": "Search-Made", "q": "boots"}, mapping)
    assert found is not None
    assert (found.text, found.event.kind) == ("boots", Kind.query)
    assert heard({"user": "u", "query": "boots"}, InputMapping(default_kind="query")) is not None
    assert Ear(mapping).hear(b"{ say", "t-0-1", START_MS) is None
    assert Ear(mapping).hear(None, "t-0-1", START_MS) is None


def test_the_length_of_a_vector_says_nothing() -> None:
    """Whole numbers, or any multiple of them, come to the same."""
    whole = [(n * 7) % 255 - 127 for n in range(384)]
    one, other = (judge_utterance("vector", [times * each for each in whole], None) for times in (1, 0.001))
    assert one is not None
    assert other is not None
    assert (one.coded.tolist(), one.scale) == (whole, pytest.approx(other.scale))  # type: ignore[union-attr]  # no flaw
    assert one.coded.tolist() == other.coded.tolist()  # type: ignore[union-attr]  # no flaw


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"text": ""}, 422, "string_too_short"),
        ({"text": "  "}, 422, "blank"),
        ({"text": "x" * 513}, 422, "string_too_long"),
        ({"text": "boots", "kind": "click"}, 422, "literal_error"),
        ({"text": "boots", "event_id": "a\0b"}, 422, "bad_id"),
        ({"words": "boots"}, 422, "missing"),
        ([], 422, "model_type"),
        ({"text": "boots"}, 503, "kafka_unavailable"),
    ],
)
async def test_what_cannot_be_taken_is_refused(redis_url: str, prefix: str, body: Any, status: int, code: str) -> None:
    """With what is wrong; without Kafka nothing is called accepted."""
    async with served(of_serving(redis_url, prefix, write_timeout_s=0.3)) as client:
        answer = await client.post("/v1/users/u/say", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_who_may_only_read_may_not_say(redis_url: str, prefix: str) -> None:
    """403, before anything is written."""
    async with served(of_serving(redis_url, prefix, read_keys=[READ], write_keys=[WRITE]), READ) as client:
        answer = await client.post("/v1/users/u/say", json={"text": "boots"})
    assert answer.status_code == 403


@contextmanager
def shop(pipeline: Pipeline) -> Iterator[None]:
    """The small shop, some visitors of it, and vectors of what its items say."""
    put(
        pipeline, *({"item_id": i.item_id, "title": i.title, "categories": i.categories, "text": i.text} for i in ITEMS)
    )
    pipeline.send(
        [json.dumps({"user_id": f"u{n % 7}", "item_id": ITEMS[n % len(ITEMS)].item_id}).encode() for n in range(80)]
    )
    encoding = pipeline.start("env", "MILLSTREAM_CONTENT__ENCODER=light", *CLI, "encode")
    try:
        yield
    finally:
        encoding.kill()


async def first_of(client: httpx.AsyncClient, user: str, k: int = 5) -> list[dict[str, Any]]:
    answer = await client.get(f"/v1/users/{user}/recommendations", params={"k": k})
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def said_until(client: httpx.AsyncClient, user: str, text: str, wanted: set[str]) -> dict[str, Any]:
    """Say it until what is wanted leads the list: at first the vectors may be on their way."""
    for _ in range(60):
        answer = await client.post(f"/v1/users/{user}/say", json={"text": text}, params={"wait": "applied"})
        if wanted <= {item["item_id"] for item in await first_of(client, user)}:
            return {**answer.json(), "status": answer.status_code}
    raise AssertionError(await first_of(client, user))


@needs_encoder
async def test_a_list_turns_to_what_is_said_over_http_on_kafka_and_by_searching(pipeline: Pipeline) -> None:
    """The reason says so. What is said twice under one id counts once; nobody else's list turns."""
    with shop(pipeline), pipeline.worker() as worker, understanding(pipeline, "light") as understands:
        await worker.running()
        await until(lambda: "running: " in understands.said)
        async with served(settings(pipeline)) as client:
            said = await said_until(client, "u1", "less action, more slow science fiction", SLOW)
            assert (said["status"], said["understood"], said["because"]) == (200, True, None)
            assert said["wanted"] == ["more slow science fiction"] or said["wanted"] == ["slow science fiction"]
            assert said["unwanted"] == ["action"]
            first = (await first_of(client, "u1"))[0]
            (asked,) = [reason for reason in first["reasons"] if reason["signal"] == "asked"]
            assert asked["contribution"] > 0

            spoken = json.dumps({"user_id": "u2", "kind": "say", "query": "a romantic comedy"}).encode()
            pipeline.send([spoken])
            romances = {item for item, names in CATEGORIES.items() if {"Comedy", "Romance"} <= set(names)}

            async def turned(user: str, to: set[str]) -> None:
                """Return once the items that gain the most by what was said are of these."""
                gains: list[tuple[float, str]] = []
                for _ in range(300):
                    found = {item["item_id"]: item["reasons"] for item in await first_of(client, user, 20)}
                    gains = sorted(
                        (reason["contribution"], item)
                        for item, reasons in found.items()
                        for reason in reasons
                        if reason["signal"] == "asked"
                    )
                    if gains:
                        break
                    await asyncio.sleep(0.05)
                assert {item for _, item in gains[-2:]} <= to, (user, gains)

            await turned("u2", romances)
            before = await first_of(client, "u4")
            answer = (await client.get("/v1/search", params={"q": "scary horror films", "user": "u3"})).json()
            assert answer["remembered"]
            await turned("u3", {item for item, names in CATEGORIES.items() if {"Horror", "Thriller"} & set(names)})
            answer = (await client.get("/v1/search", params={"q": "horror", "user": "u4", "remember": "false"})).json()
            assert not answer["remembered"]
            answer = (await client.get("/v1/search", params={"q": "horror"})).json()
            assert not answer["remembered"]
            for _ in range(2):
                body = {"text": "kitchen things", "event_id": "the same"}
                assert (await client.post("/v1/users/u5/say", json=body)).status_code == 202
            await until(lambda: (status := pipeline.status()) is not None and status.duplicates >= 1)
            assert [item["item_id"] for item in await first_of(client, "u4")] == [item["item_id"] for item in before]
        understands.process.send_signal(2)
        assert understands.process.wait(10) == 0
        assert "1 words heard" in understands.said


@needs_encoder
async def test_what_is_said_while_nobody_understands_is_heard_later(pipeline: Pipeline) -> None:
    """It is accepted, the answer says that it shifts nothing yet, and once somebody listens the list turns."""
    with shop(pipeline), pipeline.worker() as worker:
        await worker.running()
        async with served(settings(pipeline)) as client:
            answer = await client.post("/v1/users/u1/say", json={"text": "slow science fiction"})
            said = answer.json()
            assert (answer.status_code, said["understood"], said["because"]) == (202, False, "no_answer")
            # the list is made once when it is heard: by then, what all items say is to be known
            await until(lambda: len(list(read_to_end(pipeline.bootstrap, f"{pipeline.topic}.vectors"))) >= len(ITEMS))
            with understanding(pipeline, "light"):
                for _ in range(400):
                    found = {item["item_id"] for item in await first_of(client, "u1", 3)}
                    if found >= SLOW:
                        break
                    await asyncio.sleep(0.05)
            assert found >= SLOW
