"""Events and items over HTTP, to a real Kafka and a real Valkey: a verdict for each, and what they change at once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from kafka import KafkaConsumer
from serving import ADMIN, READ, WRITE, publish, served, settings, slate

from millstream.agents.serving import event_writer, interactions
from millstream.agents.serving.event_writer import EventWriter
from millstream.agents.serving.models import ItemChangeOut, VerdictsOut
from millstream.agents.serving.refused import Refused
from millstream.schemas.decode import InteractionDecoder
from millstream.schemas.mapping import InputMapping
from millstream.schemas.records import Kind
from millstream.streams.acked_producer import Record, RefusedByBroker
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.settings import Input, Settings
from millstream.streams.topics import ensure_topics


@pytest.fixture
def found(kafka: LocalKafka, redis_url: str, prefix: str, topic_name: str) -> Settings:
    found = settings(redis_url, prefix, bootstrap=kafka.bootstrap, topic=topic_name, hide_kinds=["hide", "purchase"])
    ensure_topics(found)
    return found


@pytest.fixture
async def web(found: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with served(found) as client:
        yield client


def records(found: Settings, topic: str, n: int) -> list[tuple[str, Any]]:
    """Return the first n records of a topic as key and JSON value."""
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=found.kafka.bootstrap_servers,
        auto_offset_reset="earliest",
        group_id=None,
        consumer_timeout_ms=10_000,
    )
    try:
        got = []
        for record in consumer:
            got.append((record.key.decode(), None if record.value is None else json.loads(record.value)))
            if len(got) == n:
                break
        return got
    finally:
        consumer.close()


async def test_events_are_in_kafka_once_they_are_accepted(web: httpx.AsyncClient, found: Settings) -> None:
    """One, or a list; under our names, keyed by the user, with what rides along; the time is added where missing."""
    answer = await web.post("/v1/interactions", json={"user": "u", "item": 7, "type": "view", "slate_id": "s", "x": 1})
    assert answer.status_code == 202, answer.text
    assert VerdictsOut.model_validate_json(answer.text, strict=True).accepted == 1
    now_ms = time.time_ns() // 1_000_000
    answer = await web.post(
        "/v1/interactions",
        json=[{"user_id": "v", "item_id": "i", "kind": "rating", "value": 4, "ts_ms": now_ms}, {"user_id": "v"}, 3],
    )
    assert answer.status_code == 202
    verdicts = VerdictsOut.model_validate_json(answer.text, strict=True)
    assert (verdicts.accepted, verdicts.rejected) == (1, 2)
    assert [(each.index, each.status, each.code) for each in verdicts.verdicts] == [
        (0, "accepted", None),
        (1, "rejected", "missing_item"),
        (2, "rejected", "wrong_type"),
    ]
    assert verdicts.verdicts[1].remedy
    (key, first), second = await asyncio.to_thread(records, found, found.inputs[0].topic, 2)
    assert abs(first.pop("ts_ms") - now_ms) < 60_000
    assert (key, first) == ("u", {"user_id": "u", "item_id": "7", "kind": "click", "slate_id": "s"})
    assert second == ("v", {"user_id": "v", "item_id": "i", "kind": "rating", "ts_ms": now_ms, "value": 4.0})


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"item_id": "i"}, "missing_user"),
        ({"user_id": "", "item_id": "i"}, "empty_id"),
        ({"user_id": "u", "item_id": "i" * 257}, "id_too_long"),
        ({"user_id": "u\0", "item_id": "i"}, "bad_id"),
        ({"user_id": "u", "item_id": 1.5}, "wrong_type"),
        ({"user_id": "u", "item_id": "i", "kind": "stare"}, "unknown_kind"),
        ({"user_id": "u", "item_id": "i", "kind": "merge"}, "unsupported_kind"),
        ({"user_id": "u", "item_id": "i", "ts_ms": 1_700_000_000}, "timestamp_in_seconds"),
        ({"user_id": "u", "item_id": "i", "ts_ms": 1_700_000_000_000_000}, "timestamp_ahead"),
        ({"user_id": "u", "item_id": "i", "value": -1}, "negative_value"),
        ({"user_id": "u", "item_id": "i", "context": {"x": "y" * 70_000}}, "wrong_type"),
    ],
)
async def test_a_request_of_which_nothing_can_be_used_is_422(
    redis_url: str, prefix: str, event: dict[str, Any], code: str
) -> None:
    """By the same rules as a record on Kafka; it takes no Kafka to say so."""
    async with served(settings(redis_url, prefix)) as web:
        answer = await web.post("/v1/interactions", json=event)
    assert answer.status_code == 422
    (verdict,) = VerdictsOut.model_validate_json(answer.text, strict=True).verdicts
    assert (verdict.status, verdict.code, bool(verdict.message), bool(verdict.remedy)) == ("rejected", code, True, True)


async def test_only_an_admin_says_that_one_user_was_another(
    kafka: LocalKafka, redis_url: str, prefix: str, topic_name: str
) -> None:
    """A page's key could empty anybody's history otherwise. What is refused is not written, nor what came with it."""
    keys = {"read_keys": [READ], "write_keys": [WRITE], "admin_keys": [ADMIN]}
    found = settings(redis_url, prefix, bootstrap=kafka.bootstrap, topic=topic_name, **keys)
    ensure_topics(found)
    alias = {"user_id": "42", "previous_id": "visitor-7", "kind": "alias"}
    click = {"user_id": "42", "item_id": "i"}
    async with served(found) as web:
        for body in (alias, [click, alias]):
            answer = await web.post("/v1/interactions", json=body, headers={"Authorization": f"Bearer {WRITE}"})
            assert answer.status_code == 403
            assert answer.json()["error"]["field"] == "kind"
            assert "admin" in answer.json()["error"]["remedy"]
        answer = await web.post("/v1/interactions", json=alias, headers={"Authorization": f"Bearer {ADMIN}"})
        assert answer.status_code == 202, answer.text
    ((key, value),) = records(found, topic_name, 1)
    assert key == "42"
    assert {name: value[name] for name in alias} == alias
    assert "item_id" not in value


async def test_events_are_written_as_their_input_calls_things(
    kafka: LocalKafka, redis_url: str, prefix: str, topic_name: str
) -> None:
    """The worker decodes them by the mapping of that input."""
    found = settings(redis_url, prefix, bootstrap=kafka.bootstrap, topic=topic_name)
    mine = Input(
        topic=topic_name, default_kind="purchase", fields={"user_id": "customer"}, kinds={"returned": "dismiss"}
    )
    found = found.model_copy(update={"inputs": (mine,)})
    ensure_topics(found)
    async with served(found) as web:
        events = [{"user": "u", "item": "i"}, {"user": "u", "item": "j", "kind": "dismiss"}]
        assert (await web.post("/v1/interactions", json=events)).json()["accepted"] == 2
    written = await asyncio.to_thread(records, found, topic_name, 2)
    assert "customer" in written[0][1]
    decoder = InteractionDecoder(InputMapping("purchase", mine.fields, mine.kinds))
    values = [json.dumps(value).encode() for _, value in written]
    columns, rejects = decoder.decode(values, [0, 1], [-1, -1], input="t", partition=0)
    assert (columns.user_ids, columns.item_ids, rejects) == (["u", "u"], ["i", "j"], [])
    assert [Kind(kind) for kind in columns.kinds] == [Kind.purchase, Kind.dismiss]


async def test_a_hidden_item_is_off_the_list_once_it_is_accepted(
    web: httpx.AsyncClient, redis_url: str, prefix: str
) -> None:
    """Of this user alone, of the kinds in the settings alone, and until they choose it again."""
    await publish(redis_url, prefix, slate("u", "abcd"), slate("v", "abcd"))
    events = [{"user": "u", "item": "a", "kind": "hide"}, {"user": "u", "item": "c", "kind": "purchase"}]
    answer = await web.post("/v1/interactions", json=[*events, {"user": "u", "item": "d"}])
    assert [each["hidden"] for each in answer.json()["verdicts"]] == [True, True, None]
    read = (await web.get("/v1/users/u/recommendations")).json()
    assert [each["item_id"] for each in read["items"]] == ["b", "d"]
    assert len((await web.get("/v1/users/v/recommendations")).json()["items"]) == 4
    await web.post("/v1/interactions", json={"user": "u", "item": "a", "kind": "click"})
    read = (await web.get("/v1/users/u/recommendations")).json()
    assert [each["item_id"] for each in read["items"]] == ["a", "b", "d"]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [(b"[]", 400, "no_event"), (b"{", 400, "broken_json"), (b"[" + b"{}," * 1_000 + b"{}]", 413, "too_many")],
)
async def test_what_holds_no_events_is_refused(web: httpx.AsyncClient, content: bytes, status: int, code: str) -> None:
    """Nothing, no JSON, too much at once."""
    answer = await web.post("/v1/interactions", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_a_withdrawn_item_is_off_all_lists_at_once_until_it_is_put_back(
    web: httpx.AsyncClient, found: Settings, redis_url: str, prefix: str
) -> None:
    """And the items topic hears of it: a tombstone, then the item."""
    await publish(redis_url, prefix, slate("u"), slate("", ["b", "p"]))

    async def shown(user: str) -> list[str]:
        answer = (await web.get(f"/v1/users/{user}/recommendations")).json()
        return [item["item_id"] for item in answer["items"]]

    answer = await web.delete("/v1/items/b")
    assert answer.status_code == 200, answer.text
    withdrawn = ItemChangeOut.model_validate_json(answer.text, strict=True)
    assert withdrawn.withdrawn
    assert (await shown("u"), await shown("v")) == (["a", "c"], ["p"])
    answer = await web.put("/v1/items/b", json={"title": "Bees", "categories": "x", "price": 3})
    back = ItemChangeOut.model_validate_json(answer.text, strict=True)
    assert not back.withdrawn
    assert back.version > withdrawn.version
    assert await shown("u") == ["a", "b", "c"]
    assert (await web.put("/v1/items/c", json={"available": False})).json()["withdrawn"]
    assert await shown("u") == ["a", "b"]
    written = await asyncio.to_thread(records, found, found.topics.items, 3)
    assert [key for key, _ in written] == ["b", "b", "c"]
    assert written[0][1] is None
    assert (written[1][1]["title"], written[1][1]["categories"], written[2][1]["available"]) == ("Bees", ["x"], False)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([], "wrong_type"),
        ({"item_id": "c"}, "wrong_item"),
        ({"price": -1}, "negative_value"),
        ({"title": 1}, "wrong_type"),
    ],
)
async def test_bad_items_are_refused(web: httpx.AsyncClient, body: Any, code: str) -> None:
    """By the same rules as the items topic."""
    answer = await web.put("/v1/items/b", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)


async def test_without_kafka_nothing_is_accepted_and_a_withdrawal_holds(redis_url: str, prefix: str) -> None:
    """503 with when to try again; what had to go off the lists is off them."""
    await publish(redis_url, prefix, slate("u"))
    async with served(settings(redis_url, prefix, write_timeout_s=0.3)) as web:
        answer = await web.post("/v1/interactions", json={"user": "u", "item": "a"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["error"]["code"] == "kafka_unavailable"
        assert (await web.delete("/v1/items/b")).status_code == 503
        read = (await web.get("/v1/users/u/recommendations")).json()
    assert [item["item_id"] for item in read["items"]] == ["a", "c"]


class Broker:
    """A producer that acknowledges when told to."""

    topic = "t"

    def __init__(self) -> None:
        self.sent: list[list[Record]] = []
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def send(self, records: Sequence[Record]) -> None:
        self.sent.append(list(records))
        await self.go.wait()
        if self.error is not None:
            raise self.error

    async def close(self, within_s: float = 3.0) -> None:
        pass


async def test_writes_that_come_together_are_acknowledged_together() -> None:
    """One send for all that waited; nobody is answered before theirs is acknowledged."""
    broker = Broker()
    writer = EventWriter(broker, within_s=5.0)
    waiting = [asyncio.create_task(writer.write([Record(b"k", b"%d" % n)])) for n in range(10)]
    await asyncio.sleep(0.02)
    assert not any(task.done() for task in waiting)
    broker.go.set()
    await asyncio.gather(*waiting)
    assert sorted(len(each) for each in broker.sent) in ([10], [1, 9])


async def test_a_writer_is_bounded_and_forgets_whom_it_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many waiting are refused at once; those that gave up are not written later by us as well."""
    monkeypatch.setattr(event_writer, "MOST_WAITING", 3)
    broker = Broker()
    writer = EventWriter(broker, within_s=0.05)
    first = asyncio.create_task(writer.write([Record(b"k", b"first")]))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(writer.write([Record(b"k", b"second")] * 2))
    await asyncio.sleep(0)
    with pytest.raises(Refused, match="wait for Kafka already"):
        await writer.write([Record(b"k", b"third")])
    assert [type(each) for each in await asyncio.gather(first, second, return_exceptions=True)] == [Refused, Refused]
    broker.go.set()
    await asyncio.sleep(0.01)
    await writer.write([Record(b"k", b"fourth")])
    assert [[record.value for record in each] for each in broker.sent] == [[b"first"], [b"fourth"]]
    broker.error = RefusedByBroker("no right to write")
    with pytest.raises(Refused, match="no right to write"):
        await writer.write([Record(b"k", b"fifth")])


def test_every_event_that_fits_a_request_fits_the_topic() -> None:
    """A record above the broker's limit would take those of other callers down with it."""
    assert 2 * interactions.MAX_EVENT_BYTES < 1_048_576
