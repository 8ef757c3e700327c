"""The catalogue and what is served of it, with a real worker: withdrawals, categories, changes, and reasons."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from running import Pipeline, clicks, until
from serving import served

from millstream.agents.cli import main
from millstream.agents.serving.models import ItemChangeOut, ItemRecordOut, ListOut, WhyOut
from millstream.streams.reader import Reader
from millstream.streams.redis_keys import category_key, list_key, similar_key
from millstream.streams.settings import Settings

ITEMS = 50
USERS = 40
EVENTS = 600
CLEAN_WITHIN_S = 10.0


def settings_of(pipeline: Pipeline) -> Settings:
    return Settings.model_validate(
        {
            "kafka": {"bootstrap_servers": pipeline.bootstrap},
            "redis": {"url": pipeline.redis_url, "prefix": pipeline.prefix},
            "inputs": [{"topic": pipeline.topic}],
            "topics": {"items": f"{pipeline.topic}.items", "partitions": pipeline.partitions},
        }
    )


@asynccontextmanager
async def running(pipeline: Pipeline) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server beside a worker that has learned some clicks and a catalogue."""
    with pipeline.worker() as worker:
        await worker.running()
        items = [{"item_id": f"i{n}", "title": f"Item {n}", "categories": [f"c{n % 3}"]} for n in range(ITEMS)]
        pipeline.send([json.dumps(item).encode() for item in items], topic=f"{pipeline.topic}.items")
        await until(lambda: pipeline.client.hlen(f"{pipeline.prefix}items") == ITEMS)
        pipeline.send(clicks(EVENTS, users=USERS))
        await pipeline.learned(EVENTS)
        async with served(settings_of(pipeline)) as web:
            yield web
        worker.interrupt()


def holding(pipeline: Pipeline, item: str) -> list[str]:
    """The keys of all lists in Redis that hold an item, as a plain GET has them."""
    prefix, found = pipeline.prefix, []
    for pattern in ("rec:*", "rec-item:*", "rec-category:*"):
        keys: Any = list(pipeline.client.scan_iter(prefix + pattern))
        for key, value in zip(keys, pipeline.client.mget(keys) if keys else [], strict=True):  # type: ignore[arg-type]  # not async
            if any(each[0] == item for each in json.loads(value[25:])["items"]):
                found.append(key.decode().removeprefix(prefix))
    return found


def popular_items(pipeline: Pipeline, n: int) -> list[str]:
    value: Any = pipeline.client.get(list_key(pipeline.prefix, "main", ""))
    return [] if value is None else [each[0] for each in json.loads(value[25:])["items"]][:n]


async def beside(pipeline: Pipeline) -> None:
    """Return once the lists beside the users' are there."""
    keys = [category_key(pipeline.prefix, f"c{n}") for n in range(3)]
    keys += [similar_key(pipeline.prefix, f"i{n}") for n in range(ITEMS)]
    await until(lambda: pipeline.client.exists(*keys) == len(keys))


async def test_lists_are_clean_soon_after_a_withdrawal(pipeline: Pipeline) -> None:
    """Users', similar items', categories', the popular one: without an event, and after a start as well."""
    async with running(pipeline) as web:
        await beside(pipeline)
        first, second, third = popular_items(pipeline, 3)
        assert len(holding(pipeline, first)) > 3
        assert (await web.delete(f"/v1/items/{first}")).status_code == 200
        began_s = time.monotonic()
        await until(lambda: not holding(pipeline, first))
        assert time.monotonic() - began_s < CLEAN_WITHIN_S
        # by the topic alone, as others who fill the catalogue do
        pipeline.send([json.dumps({"item_id": second, "available": False}).encode()], topic=f"{pipeline.topic}.items")
        await until(lambda: not holding(pipeline, second))
    assert len(holding(pipeline, third)) > 3
    # while no worker runs; whoever starts next has made none of the lists that are there
    pipeline.send([json.dumps({"item_id": third, "available": False}).encode()], topic=f"{pipeline.topic}.items")
    with pipeline.worker() as worker:
        await worker.running()
        await until(lambda: not holding(pipeline, third))
        # it is back where it says so, with the next list
        pipeline.send([json.dumps({"item_id": third}).encode()], topic=f"{pipeline.topic}.items")
        await until(lambda: third in popular_items(pipeline, 20))
        assert not holding(pipeline, first) + holding(pipeline, second)
        worker.interrupt()


async def test_two_workers_mend_the_lists_of_their_own(pipeline: Pipeline) -> None:
    """Also those of a worker that is gone."""
    pipeline.partitions = 4
    with pipeline.worker() as one, pipeline.worker() as other:
        await one.running()
        await other.running()
        pipeline.send(clicks(EVENTS, users=USERS))
        await pipeline.published(EVENTS)
        await until(lambda: bool(popular_items(pipeline, 2)))
        first, second = popular_items(pipeline, 2)
        pipeline.send([json.dumps({"item_id": first, "available": False}).encode()], topic=f"{pipeline.topic}.items")
        await until(lambda: not holding(pipeline, first))
        other.kill()
        pipeline.send([json.dumps({"item_id": second, "available": False}).encode()], topic=f"{pipeline.topic}.items")
        await until(lambda: not holding(pipeline, second))
        one.interrupt()


async def test_a_part_of_an_item_is_changed(pipeline: Pipeline) -> None:
    """At once after it was put, in the order of the requests, and what is left out stays; null takes a field away."""
    async with running(pipeline) as web:
        first = {"title": "T", "price": 3.5, "categories": ["c0"], "attributes": {"a": "1", "b": "2"}}
        assert (await web.put("/v1/items/new", json=first)).status_code == 200
        changes: list[dict[str, Any]] = [
            {"price": 4.0},
            {"title": None, "attributes": {"a": None, "c": "3"}},
            {"available": False},
        ]
        answers = await asyncio.gather(*(web.patch("/v1/items/new", json=change) for change in changes))
        assert [answer.status_code for answer in answers] == [200] * 3
        assert ItemChangeOut.model_validate_json(answers[2].text, strict=True).withdrawn
        record = ItemRecordOut.model_validate_json((await web.get("/v1/items/new")).text, strict=True)
        assert (record.price, record.title, record.available) == (4.0, None, False)
        assert (record.categories, record.attributes) == (["c0"], {"b": "2", "c": "3"})

        def is_known() -> bool:
            value: Any = pipeline.client.hget(f"{pipeline.prefix}items", "new")
            return value is not None and json.loads(value) == record.model_dump()

        await until(is_known)
        # one that another process has put
        pipeline.send([json.dumps({"item_id": "i1", "title": "Else"}).encode()], topic=f"{pipeline.topic}.items")
        await until(lambda: b"Else" in bytes(pipeline.client.hget(f"{pipeline.prefix}items", "i1") or b""))  # type: ignore[arg-type]  # not async
        await web.patch("/v1/items/i1", json={"price": 1})
        assert (await web.get("/v1/items/i1")).json()["title"] == "Else"
        for wrong, status in (({"price": -1}, 422), ({"item_id": "other"}, 422), ([], 422)):
            assert (await web.patch("/v1/items/i1", json=wrong)).status_code == status
        await web.delete("/v1/items/i1")
        for answer in (await web.patch("/v1/items/i1", json={}), await web.get("/v1/items/nowhere")):
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_item")


def ids(items: Sequence[Any]) -> list[str]:
    return [item.item_id for item in items]


async def test_a_category_is_filled_up_from_what_is_popular_in_it(pipeline: Pipeline) -> None:
    """First the user's own, in their order; by both readers and over HTTP alike; nothing of another category."""
    async with running(pipeline) as web:
        await beside(pipeline)
        of = {f"i{n}" for n in range(ITEMS) if n % 3 == 1}
        own = pipeline.slate("u1")
        assert own is not None
        with Reader(pipeline.redis_url, pipeline.prefix, timeout_s=5.0) as reader:
            answer = reader.top_in("c1", "u1", k=10)
            popular = reader.top_in("c1", k=10)
            withheld = ids(answer.items)[0]
            without = reader.top_in("c1", "u1", 10, exclude={withheld})
            nobody = reader.top_in("c1", "nobody", k=10)
            nowhere = reader.top_in("nowhere", "u1")
            assert ids(reader.top("u1", 10, context={"category": "c1"}).items) == ids(answer.items)
            with pytest.raises(ValueError, match="context 'place': a list can be asked for in a 'category' alone"):
                reader.top("u1", context={"place": "home"})
        mine = [item for item in ids(own.items) if item in of]
        assert mine
        assert ids(answer.items)[: len(mine)] == mine[:10]
        behind = [item for item in ids(popular.items) if item not in mine]
        assert ids(answer.items)[len(mine) :] == behind[: 10 - len(mine)]
        assert set(ids(answer.items)) <= of
        assert (answer.fallback, answer.slate_id) == (None, own.slate_id)
        assert ids(popular.items)
        assert (popular.fallback, popular.because) == ("category", "no_list")
        assert withheld not in ids(without.items)
        assert without.withheld
        assert (nobody.fallback, nobody.because, nobody.items) == ("category", "no_list", popular.items)
        assert (nowhere.fallback, nowhere.because, nowhere.items) == ("empty", "out_of_category", ())
        got = await web.get("/v1/users/u1/recommendations", params={"category": "c1"})
        assert ids(ListOut.model_validate_json(got.text, strict=True).items) == ids(answer.items)
        got = await web.get("/v1/popular", params={"category": "c1"})
        assert ids(ListOut.model_validate_json(got.text, strict=True).items) == ids(popular.items)


async def test_why_an_item_is_on_a_list_or_off_it(pipeline: Pipeline) -> None:
    """As the worker knows it: the same score and reasons as on the list, and what keeps others off."""
    async with running(pipeline) as web:
        slate = pipeline.slate("u1")
        assert slate is not None
        why = WhyOut.model_validate_json((await web.get("/v1/users/u1/why/i1")).text, strict=True)
        assert (why.user_known, why.item_id, why.list) == (True, "i1", "main")
        assert why.place is not None
        assert why.score is not None
        assert sum(reason.contribution for reason in why.reasons) == pytest.approx(why.score, rel=1e-4)
        assert why.words == ""
        worded = await web.get("/v1/users/u1/why/i1", params={"words": "auto"}, headers={"Accept-Language": "de"})
        assert worded.headers["content-language"] == "de"
        in_words = WhyOut.model_validate_json(worded.text, strict=True).words
        assert in_words
        shown = await asyncio.to_thread(
            CliRunner(env=pipeline.environment).invoke, main, ["why", "u1", "i1", "--words", "de", "--json"]
        )
        assert json.loads(shown.stdout)["words"] == in_words
        assert (await web.get("/v1/users/u1/why/nowhere")).json()["kept_off"] == ["unknown_item"]
        await web.delete("/v1/items/i2")
        await until(lambda: not holding(pipeline, "i2"))
        assert (await web.get("/v1/users/u1/why/i2")).json()["kept_off"] == ["unavailable"]
        assert (await web.get("/v1/users/nobody/why/i1")).json()["user_known"] is False
        refused = await web.get("/v1/users/u1/why/i1", params={"list": "other"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "no_such_list")
        for arguments, said in (
            (("u1", "i1"), "item 'i1' is at place "),
            (("u1", "i2"), "item 'i2' is no candidate for user 'u1': the catalogue has withdrawn it"),
            (("nobody", "nowhere"), "for user 'nobody', of whom nothing is known: neither an event nor the catalogue"),
        ):
            shown = await asyncio.to_thread(CliRunner(env=pipeline.environment).invoke, main, ["why", *arguments])
            assert shown.exit_code == 0, shown.output
            assert said in " ".join(shown.output.split())
        asked = ["why", "u1", "i1", "--json"]
        shown = await asyncio.to_thread(CliRunner(env=pipeline.environment).invoke, main, asked)
        assert json.loads(shown.stdout)["reasons"] == [reason.model_dump() for reason in why.reasons]
    async with served(settings_of(pipeline)) as web:
        answer = await web.get("/v1/users/u1/why/i1")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "no worker is running" in answer.json()["error"]["message"]
