"""A search as its users meet it: over HTTP, with a real Redis, who understands, and somebody who scores for a user."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest
import redis.asyncio
from numpy.typing import NDArray
from serving import publish, served, settings, slate
from shop import CATEGORIES, ITEMS, TITLES

pytest.importorskip("faiss", reason="the extra `search` is not installed")
pytest.importorskip("tantivy", reason="the extra `search` is not installed")

from millstream.agents.fusing import fused, ranked, spread
from millstream.agents.understanding.answering import Understanding
from millstream.agents.understanding.index import CatalogueIndex
from millstream.agents.understanding.texts import Texts
from millstream.schemas.item_vectors import CONTENT, ItemVector, quantise
from millstream.schemas.questions import ScoresAnswer, ScoresQuestion, read_question, written_reply
from millstream.schemas.records import Version
from millstream.schemas.slates import encode_slate
from millstream.streams.asking import Asking
from millstream.streams.catalogue_hash import catalogue_key, encode_item
from millstream.streams.channel import listen
from millstream.streams.errors import NoAnswer
from millstream.streams.kept_off import KeptOff
from millstream.streams.redis_connection import connect
from millstream.streams.redis_keys import category_key, question_channel, words_channel


def test_ranks_are_fused_as_by_hand() -> None:
    """Of weight / (60 + rank); equal scores share a rank; what is not ranked adds nothing."""
    assert fused([(1.0, 1), (0.5, 2), (1.0, None)]) == pytest.approx(1 / 61 + 0.5 / 62)
    assert ranked([0.5, None, 2.0, 0.5, -1.0]) == [2, None, 1, 2, 4]


def test_what_repeats_comes_later() -> None:
    """Of a, its twin b, and c, which is like neither: a, c, b. By nothing: as they were."""
    alike = bytes([255, 250, 0, 250, 255, 0, 0, 0, 255])
    scores = [1.0, 0.9, 0.7]
    assert spread(scores, [0, 1, 2], alike, 0.5, 3) == [0, 2, 1]
    assert spread(scores, [0, 1, 2], alike, 0.0, 2) == [0, 1]
    assert spread(scores, [0, 2, 1], alike, 0.5, 3) == [0, 1, 2]  # the matrix has them in another order
    assert spread([], [], b"", 0.5, 3) == []
    # by hand: 0.5 · 0.9 - 0.5 · 250/255 = -0.040 for b, 0.5 · 0.7 = 0.35 for c
    assert spread([1.0, 0.9, 0.2], [0, 1, 2], bytes([255, 0, 255, 0, 255, 0, 255, 0, 255]), 0.5, 2) == [0, 1]


class ByCategory:
    """An encoder to search with: a direction for each word of a category, and nothing else."""

    name = "by-category"

    def __init__(self) -> None:
        self.texts: list[str] = []
        names = sorted({word for found in CATEGORIES.values() for name in found for word in name.lower().split("-")})
        self._words = {name: at for at, name in enumerate(names)}

    def encode(self, texts: list[str]) -> NDArray[np.float32]:
        self.texts += texts
        found = np.zeros((len(texts), CONTENT), np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().replace("-", " ").replace(",", " ").split():
                if word in self._words:
                    found[row, self._words[word]] = 1.0
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


@asynccontextmanager
async def understood(url: str, prefix: str, *, encoder: ByCategory | None = None) -> AsyncIterator[CatalogueIndex]:
    """Somebody who understands, over the small catalogue, in this process."""
    index = CatalogueIndex("by-category")
    for item in ITEMS:
        index.put(item)
        if encoder is not None:
            coded, scale = quantise(encoder.encode([" ".join(item.categories)])[0])
            index.put_vector(ItemVector(item.item_id, encoder.name, "d", scale, coded.tobytes()))
    index.settle()
    texts = None if encoder is None else Texts(encoder)
    async with running(Understanding(url, prefix, index, texts).run(), url, words_channel(prefix)):
        yield index
    if texts is not None:
        texts.close()


@asynccontextmanager
async def running(work: Any, url: str, channel: str) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    async with connect(url) as client:
        async with asyncio.timeout(10):
            while not dict(await client.pubsub_numsub(channel)).get(channel.encode()):
                await asyncio.sleep(0.01)
        yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def scoring(url: str, prefix: str, score: Callable[[str, str], float | None]) -> AsyncIterator[None]:
    """Somebody in a worker's place, who knows the user u alone."""

    async def answer(client: redis.asyncio.Redis, value: bytes) -> None:
        question = read_question(value)
        assert isinstance(question, ScoresQuestion)
        user = question.user_id
        said = ScoresAnswer(
            user_known=user == "u",
            scores=[score(user, item) for item in question.item_ids],
            version=Version(1, 1, 1),
            as_of_ms=1,
        )
        await client.publish(question.reply_to, written_reply(question.number, said))

    channel = question_channel(prefix)
    async with running(listen(url, channel, answer), url, channel):
        yield


async def found(client: httpx.AsyncClient, q: str, **more: object) -> dict[str, Any]:
    answer = await client.get("/v1/search", params={"q": q, **more})
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


async def test_without_an_encoder_or_a_user_words_are_all(redis_url: str, prefix: str) -> None:
    """And the answer says so: the encoder is null, and nothing is personal, because nobody was named."""
    async with understood(redis_url, prefix), served(settings(redis_url, prefix)) as client:
        answer = await found(client, "princes bride", k=3)
        assert (answer["intent"], answer["encoder"]) == ("find", None)
        assert (answer["personal"], answer["because"], answer["user_id"]) == (False, "no_user", None)
        first = answer["items"][0]
        assert (first["item_id"], first["title"]) == ("m16", "The Princess Bride")
        assert (first["lexical_rank"], first["vector_rank"], first["personal_rank"]) == (1, None, None)
        assert first["score"] == pytest.approx(1 / 61)
        assert answer["took_ms"]["total"] > 0
        named = await found(client, "princes bride", user="u")
        assert (named["personal"], named["because"]) == (False, "no_answer")


async def test_a_users_scores_reorder_what_was_found(redis_url: str, prefix: str) -> None:
    """Within a category and looking around; the item that is looked for by its title stays first."""
    liked = {"m11": 9.0, "m28": 8.0, "m9": -5.0}
    encoder = ByCategory()
    async with (
        understood(redis_url, prefix, encoder=encoder),
        scoring(redis_url, prefix, lambda user, item: liked.get(item, 0.0)),
        served(settings(redis_url, prefix)) as client,
    ):
        answer = await found(client, "comedies", user="u", k=20)
        assert (answer["intent"], answer["category"], answer["personal"]) == ("category", "Comedy", True)
        assert ids(answer)[0] in {"m11", "m28"}
        places = {item: at for at, item in enumerate(ids(answer))}
        assert places["m11"] < places["m9"]
        inside = [item["in_category"] for item in answer["items"]]
        assert inside == sorted(inside, reverse=True)
        by_title = await found(client, "sleepless in seattle", user="u")
        assert ids(by_title)[0] == "m9"
        stranger = await found(client, "comedies", user="who")
        assert (stranger["personal"], stranger["because"]) == (False, "unknown_user")


async def test_looking_around_is_spread_over_what_is_there(redis_url: str, prefix: str) -> None:
    """Of two equal items the second comes behind one that is like neither."""
    async with understood(redis_url, prefix, encoder=ByCategory()), served(settings(redis_url, prefix)) as client:
        answer = await found(client, "less war, more drama crime western", k=6)
        assert answer["intent"] == "explore"
        first = [tuple(CATEGORIES[item]) for item in ids(answer)[:3]]
        assert len(set(first)) == 3
        assert "m13" not in ids(answer)[:5]


async def test_what_may_not_be_shown_is_not_found(redis_url: str, prefix: str) -> None:
    """Withdrawn for everybody, or hidden by the user, from the next search on."""
    async with (
        understood(redis_url, prefix),
        connect(redis_url) as other,
        served(settings(redis_url, prefix)) as client,
    ):
        kept_off = KeptOff(other, prefix=prefix, rule_ttl_s=60)
        assert ids(await found(client, "jaws"))[0] == "m24"
        await kept_off.hide("u", ["m24"])
        assert "m24" not in ids(await found(client, "jaws", user="u"))
        assert ids(await found(client, "jaws", user="v"))[0] == "m24"
        await kept_off.withdraw(["m24"])
        assert "m24" not in ids(await found(client, "jaws"))


async def test_what_is_popular_in_a_category_is_found_with_its_titles(redis_url: str, prefix: str) -> None:
    """In the order of its list, also where the words found others."""
    async with (
        understood(redis_url, prefix),
        connect(redis_url) as other,
        served(settings(redis_url, prefix)) as client,
    ):
        await other.hset(catalogue_key(prefix), mapping={item.item_id: encode_item(item) for item in ITEMS})  # type: ignore[misc]  # it is a coroutine
        popular = encode_slate(slate("Thriller", ["m27", "m7"], list_name="category"))
        await other.set(category_key(prefix, "Thriller"), popular.stored)
        answer = await found(client, "thrillers")
        assert ids(answer)[:2] == ["m27", "m7"]
        assert answer["items"][0]["popular_rank"] == 1
        assert answer["items"][0]["title"] == TITLES["m27"]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "query.q"),
        ({"q": ""}, "query.q"),
        ({"q": " \t "}, "query.q"),
        ({"q": "x" * 513}, "query.q"),
        ({"q": "x", "k": 0}, "query.k"),
        ({"q": "x", "k": 101}, "query.k"),
        ({"q": "x", "user": "u" * 257}, "query.user"),
        ({"q": "x", "list": "nothing"}, "query.list"),
    ],
)
async def test_what_cannot_be_searched_is_refused(
    redis_url: str, prefix: str, params: dict[str, Any], field: str
) -> None:
    """With the place of the mistake and the remedy."""
    async with served(settings(redis_url, prefix)) as client:
        answer = await client.get("/v1/search", params=params)
        assert answer.status_code == 422
        assert answer.json()["error"]["field"] == field
        assert answer.json()["error"]["remedy"]


async def test_where_nobody_understands_the_remedy_is_said(redis_url: str, prefix: str) -> None:
    """503, at once, over HTTP; an error of the same words in Python."""
    async with served(settings(redis_url, prefix)) as client:
        answer = await client.get("/v1/search", params={"q": "jaws"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "start `millstream understand`" in answer.json()["error"]["message"]
    asking = Asking(redis_url, prefix)
    with pytest.raises(NoAnswer, match="start `millstream understand`"):
        await asking.text("jaws")
    await asking.close()


async def test_what_a_text_means_is_answered(redis_url: str, prefix: str) -> None:
    """Its clauses, its intent, the category that it names, and its vector: all that it wants less what it does not."""
    encoder = ByCategory()
    async with understood(redis_url, prefix, encoder=encoder):
        asking = Asking(redis_url, prefix)
        answer = await asking.text("less war, more Comedy")
        assert (answer.intent, answer.category, answer.wanted, answer.unwanted) == (
            "explore",
            "Comedy",
            ["Comedy"],
            ["war"],
        )
        vector = np.frombuffer(answer.coded, np.int8) * answer.scale
        comedy, war = encoder.encode(["Comedy", "war"])
        assert vector @ comedy == pytest.approx(1 / 1.49**0.5, abs=0.01)
        assert vector @ war == pytest.approx(-0.7 / 1.49**0.5, abs=0.01)
        known = len(encoder.texts)
        assert (await asking.text("LESS war,  more comedy", encode=True)).coded == answer.coded
        assert len(encoder.texts) == known  # remembered, whatever the capitals
        assert (await asking.text("drama", encode=False)).coded == b""
        assert len(encoder.texts) == known
        await asking.close()


async def test_many_ask_at_once_and_each_text_is_encoded_once(redis_url: str, prefix: str) -> None:
    """And a question that cannot be read costs nobody else an answer."""
    encoder = ByCategory()
    async with understood(redis_url, prefix, encoder=encoder), connect(redis_url) as client:
        asking = Asking(redis_url, prefix)
        await client.publish(words_channel(prefix), b"{")
        before = len(encoder.texts)
        answers = await asyncio.gather(*(asking.search(f"some text {n % 10}", 5) for n in range(100)))
        assert len(answers) == 100
        assert sorted(encoder.texts[before:]) == [f"some text {n}" for n in range(10)]
        await asking.close()


async def test_the_items_that_say_the_same_stand_in_for_a_list(redis_url: str, prefix: str) -> None:
    """Where nobody chose an item yet; they may be left out and withdrawn, and a list of its own comes first."""
    await publish(redis_url, prefix, slate("", ["popular"]))
    async with served(settings(redis_url, prefix)) as client:
        alone = (await client.get("/v1/items/m10/similar")).json()
        assert alone["fallback"] == "popular"
        async with understood(redis_url, prefix, encoder=ByCategory()):
            answer = (await client.get("/v1/items/m10/similar", params={"k": 2, "exclude": "m9"})).json()
            assert (answer["fallback"], answer["because"], answer["user_id"]) == ("content", "no_list", "m10")
            assert answer["items"][0]["item_id"] in {"m11", "m22"}
            assert {"m9", "m10"} & {item["item_id"] for item in answer["items"]} == set()
            assert answer["items"][0]["reasons"][0]["signal"] == "content"
            unknown = (await client.get("/v1/items/nowhere/similar")).json()
            assert unknown["fallback"] == "popular"
