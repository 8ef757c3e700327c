"""Words over HTTP: the sentence of each item by templates, in the language asked for, over a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from serving import publish, served, settings

from millstream.agents.serving.models import BatchOut, ErrorOut, ListOut
from millstream.agents.serving.quick import plainly_asked
from millstream.schemas.records import Item, Reason, ScoredItem, Slate, Version
from millstream.schemas.slates import encode_slate
from millstream.streams.catalogue_hash import catalogue_key, encode_item
from millstream.streams.local_process import free_ports
from millstream.streams.redis_connection import connect
from millstream.streams.redis_keys import similar_key
from millstream.streams.redis_topic import BesideTopic

LIST = "/v1/users/u/recommendations"


def listed(user: str, *items: ScoredItem, name: str = "main") -> Slate:
    version = Version(1, 2, 3)
    return Slate(slate_id="s", list=name, user_id=user, items=items, version=version, as_of_ms=1, generated_ts_ms=2)


@pytest.fixture
async def shop(redis_url: str, prefix: str) -> str:
    """A list of a user's own, the popular one, one of an item, and the titles of two items."""
    await publish(
        redis_url,
        prefix,
        listed(
            "u",
            ScoredItem("a", 3.0, (Reason("together", 2.0, "x"), Reason("content", 1.0, "y"))),
            ScoredItem("b", 1.0, (Reason("content", 1.0, "nameless"),), 0.05),
            ScoredItem("c", 0.5, (Reason("popular", 2.0), Reason("ignored", -1.5, "c"))),
        ),
        listed("", ScoredItem("p", 9.0, (Reason("popular", 9.0),))),
    )
    async with connect(redis_url) as client:
        similar = listed("a", ScoredItem("d", 1.0, (Reason("together", 1.0, "a"),)), name="similar")
        await BesideTopic(client, similar_key, prefix=prefix, ttl_s=60).publish([encode_slate(similar)])
        for item_id, title in (("x", "Alien"), ("y", "Der »Fall«"), ("a", "Aliens"), ("nameless", None)):
            value = encode_item(Item(item_id=item_id, title=title))
            await client.hset(catalogue_key(prefix), item_id, value)  # type: ignore[misc]  # typed for both clients
        await client.hset(catalogue_key(prefix), "broken", b"{")  # type: ignore[misc]
    return redis_url


@pytest.fixture
async def web(shop: str, prefix: str) -> AsyncIterator[httpx.AsyncClient]:
    async with served(settings(shop, prefix)) as client:
        yield client


def words(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    ListOut.model_validate_json(answer.text, strict=True)
    return [item["words"] for item in answer.json()["items"]]


async def test_each_item_says_why_in_the_language_asked_for(web: httpx.AsyncClient) -> None:
    """By titles of the catalogue, an id where there is none; what chance put there says so."""
    answer = await web.get(LIST, params={"words": "de"})
    assert words(answer) == [
        "Oft zusammen mit „Alien“ gewählt; laut Beschreibung ähnlich wie „Der »Fall«“",
        "Ein Versuch: laut Beschreibung ähnlich wie „nameless“",
        "Passt für viele",
    ]
    assert answer.headers["content-language"] == "de"
    assert "vary" not in answer.headers


@pytest.mark.parametrize(
    ("asked", "accepted", "language", "first"),
    [
        ("auto", "sv, fr-CA;q=0.9, en;q=0.1", "fr", "Souvent choisi avec «\u00a0Alien\u00a0»"),
        ("auto", None, "en", "Often chosen with “Alien”"),
        ("AUTO", "tlh", "en", "Often chosen with “Alien”"),
        ("pt-BR", "de", "pt", "Muitas vezes escolhido com “Alien”"),
        ("tlh", "de", "en", "Often chosen with “Alien”"),
    ],
)
async def test_the_language_is_the_one_asked_for_or_accepted(
    web: httpx.AsyncClient, asked: str, accepted: str | None, language: str, first: str
) -> None:
    """`words=` wins; `auto` looks at Accept-Language and says that the answer varies by it."""
    headers = {} if accepted is None else {"Accept-Language": accepted}
    answer = await web.get(LIST, params={"words": asked, "k": 1}, headers=headers)
    assert words(answer)[0].startswith(first)
    assert answer.headers["content-language"] == language
    assert answer.headers.get("vary") == ("Accept-Language" if asked.lower() == "auto" else None)


async def test_without_words_nothing_is_as_it_was_not(web: httpx.AsyncClient) -> None:
    """No field, no header, and still the short way; with words all else is the same."""
    plain, worded = await web.get(LIST), await web.get(LIST, params={"words": "en"})
    assert "content-language" not in plain.headers
    without: dict[str, Any] = worded.json()
    for item in without["items"]:
        del item["words"]
    assert {**without, "age_ms": 0} == {**plain.json(), "age_ms": 0}
    assert plainly_asked({"path": LIST, "query_string": b"k=5"}) is not None
    assert plainly_asked({"path": LIST, "query_string": b"k=5&words=en"}) is None


async def test_every_route_with_items_has_words(web: httpx.AsyncClient) -> None:
    """What is popular says so on everybody's list, also where that stands in; what is similar names the item asked."""
    assert words(await web.get("/v1/popular", params={"words": "en"})) == ["Popular right now"]
    assert words(await web.get("/v1/users/v/recommendations", params={"words": "en"})) == ["Popular right now"]
    assert words(await web.get("/v1/items/a/similar", params={"words": "en"})) == ["Often chosen with “Aliens”"]
    assert words(await web.get(LIST, params={"words": "en", "exclude": ["a", "b"]})) == ["Suits many people"]
    answer = await web.post(
        "/v1/recommendations", json={"users": ["u", "v"], "k": 1, "words": "auto"}, headers={"Accept-Language": "es"}
    )
    found = BatchOut.model_validate_json(answer.text, strict=True).answers
    assert [each.items[0].words for each in found] == [
        "Suele elegirse con «Alien»; parecido a «Der »Fall«» según su descripción",
        "Popular en este momento",
    ]
    assert answer.headers["content-language"] == "es"
    plain = await web.post("/v1/recommendations", json={"users": ["u"]})
    assert "words" not in plain.json()["answers"][0]["items"][0]


@pytest.mark.parametrize("asked", ["", "de_DE", "a" * 65, "de ", "*", "<b>"])
async def test_a_language_that_is_no_tag_is_refused(web: httpx.AsyncClient, asked: str) -> None:
    """By name, in the URL and in a body."""
    answer = await web.get(LIST, params={"words": asked})
    assert (answer.status_code, ErrorOut.model_validate_json(answer.text).error.field) == (422, "query.words")
    answer = await web.post("/v1/recommendations", json={"users": ["u"], "words": asked})
    assert (answer.status_code, ErrorOut.model_validate_json(answer.text).error.field) == (422, "body.words")


async def test_without_redis_static_items_have_words_too(prefix: str) -> None:
    """There is nothing to say of them, and that is said in time."""
    (port,) = free_ports(1)
    async with served(settings(f"redis://127.0.0.1:{port}", prefix, static_items=["s"])) as web:
        answer = await web.get(LIST, params={"words": "en"})
        assert (words(answer), answer.json()["fallback"]) == (["Also to choose from"], "static")
        assert 'millstream_words_total{source="template"} 1.0' in (await web.get("/metrics")).text
