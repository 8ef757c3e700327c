"""Similar items where they are served: both readers and HTTP over a real Valkey, and a worker that keeps the keys."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from running import Pipeline, clicks, until
from serving import publish, served, settings, slate

from millstream.schemas.slates import encode_slate
from millstream.streams.kept_off import KeptOff
from millstream.streams.local_process import free_ports
from millstream.streams.reader import AsyncReader, Reader
from millstream.streams.redis_connection import connect
from millstream.streams.redis_keys import feed_key, similar_key
from millstream.streams.redis_topic import BesideTopic


@pytest.fixture
async def shop(redis_url: str, prefix: str) -> str:
    """The address of a Redis with a list for item "i", whose "b" is withdrawn, and the popular list."""
    async with connect(redis_url) as client:
        topic = BesideTopic(client, similar_key, prefix=prefix, ttl_s=60)
        for position, items in ((2, ["i", "a", "b", "c"]), (1, ["old"])):
            await topic.publish([encode_slate(slate("i", items, position=position, list_name="similar"))])
        await KeptOff(client, prefix=prefix, rule_ttl_s=60).withdraw(["b"])
    await publish(redis_url, prefix, slate("", ["p", "j"]))
    return redis_url


@pytest.mark.parametrize(
    ("item", "k", "exclude", "expected", "fallback"),
    [
        ("i", 10, (), ["a", "c"], None),
        ("i", 1, (), ["a"], None),
        ("i", 10, ("a",), ["c"], None),
        ("j", 10, (), ["p"], "popular"),
    ],
)
async def test_both_readers_and_http_answer_alike(
    shop: str, prefix: str, item: str, k: int, exclude: Sequence[str], expected: list[str], fallback: str | None
) -> None:
    """Newest wins; withdrawn and excluded items and the item itself stay off; without a list the popular one."""
    with Reader(shop, prefix, timeout_s=5.0) as reader:
        answer = reader.similar(item, k, exclude)
    assert ([each.item_id for each in answer.items], answer.fallback, answer.list) == (expected, fallback, "similar")
    async with AsyncReader(shop, prefix, timeout_s=5.0) as asked:
        assert (await asked.similar(item, k, exclude)).items == answer.items
    async with served(settings(shop, prefix)) as web:
        got = (await web.get(f"/v1/items/{item}/similar", params={"k": k, "exclude": list(exclude)})).json()
        assert ([each["item_id"] for each in got["items"]], got["fallback"]) == (expected, fallback)
        refused = await web.get(f"/v1/items/{item}/similar", params={"k": 0})
        assert (refused.status_code, refused.json()["error"]["field"]) == (422, "query.k")


async def test_nobody_is_told_of_an_items_list(shop: str, prefix: str) -> None:
    """The feed has a pointer for the popular list and none for the item's."""
    async with connect(shop) as client:
        assert [pointer[b"k"] for _, pointer in await client.xrange(feed_key(prefix))] == [b"main:"]


async def test_a_dead_redis_costs_an_empty_answer(prefix: str) -> None:
    """As everywhere: no exception, and the reason in the answer."""
    with Reader(f"redis://127.0.0.1:{free_ports(1)[0]}/0", prefix) as reader:
        assert reader.similar("i").fallback == "unavailable"


async def test_a_worker_keeps_the_lists_of_the_items_that_are_chosen(pipeline: Pipeline) -> None:
    """From clicks on Kafka to what users of an item chose besides."""
    with pipeline.worker() as worker:
        await worker.running()
        pipeline.send(clicks(300, users=5))
        with Reader(pipeline.redis_url, pipeline.prefix) as reader:
            await until(lambda: reader.similar("i1").fallback is None)
            answer = reader.similar("i1")
        assert answer.items
        assert "i1" not in {item.item_id for item in answer.items}
        worker.interrupt()
