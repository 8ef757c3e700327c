"""The `recommendations` topic on a real Kafka: what a consumer finds there, and what an outage does to it."""

from __future__ import annotations

import asyncio
import json
import logging
from itertools import islice
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError
from kafka import KafkaConsumer
from kafka.admin import KafkaAdminClient, NewTopic

from millstream.schemas.avro_schemas import our_schema
from millstream.schemas.records import Reason, ScoredItem, Slate, Version
from millstream.schemas.slates import EncodedSlate, encode_slate
from millstream.schemas.wire import MessageOpener, Opened
from millstream.streams.acked_producer import AckedProducer, Record, RefusedByBroker
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.local_process import free_ports
from millstream.streams.recommendations import RecommendationsTopic, slate_as_avro
from millstream.streams.topic_reading import read_to_end

FIELDS = {
    "slate_id": "s1",
    "list": "main",
    "user_id": "42",
    "items": [
        {
            "item_id": "a",
            "score": 2.5,
            "reasons": [{"signal": "covisitation", "contribution": 2.5, "evidence": "b"}],
            "propensity": 0.25,
        },
        {"item_id": "c", "score": 1.0, "reasons": [], "propensity": None},
    ],
    "version": {"generation": 1, "position": 10, "revision": 7},
    "as_of_ms": 1_700_000_000_000,
    "generated_ts_ms": 1_700_000_000_010,
}


def slate(user: str = "42", position: int = 10) -> EncodedSlate:
    return encode_slate(
        Slate(
            slate_id="s1",
            list="main",
            user_id=user,
            items=(ScoredItem("a", 2.5, (Reason("covisitation", 2.5, "b"),), 0.25), ScoredItem("c", 1.0)),
            version=Version(1, position, 7),
            as_of_ms=1_700_000_000_000,
            generated_ts_ms=1_700_000_000_010,
        )
    )


def create(bootstrap: str, topic: str, partitions: int = 4, **config: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=config)])
    admin.close()


def consume(bootstrap: str, topic: str, count: int) -> list[Any]:
    """Return the first `count` records of a topic, as any consumer sees them."""
    consumer = KafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=20_000, group_id=None
    )
    records = list(islice(consumer, count))
    consumer.close()
    return records


async def publish_all(bootstrap: str, topic: str, slates: list[EncodedSlate], **how: Any) -> None:
    sink = RecommendationsTopic(bootstrap, topic, **how)
    try:
        await sink.publish(slates)
    finally:
        await sink.close()


def test_a_consumer_reads_json_under_list_and_user(kafka: LocalKafka, topic_name: str) -> None:
    """Key LIST:USER, value one JSON object; items, reasons and version are arrays in the order of their fields."""
    create(kafka.bootstrap, topic_name)
    asyncio.run(publish_all(kafka.bootstrap, topic_name, [slate()]))
    (record,) = consume(kafka.bootstrap, topic_name, 1)
    assert record.key == b"main:42"
    assert json.loads(record.value) == {
        **FIELDS,
        "items": [["a", 2.5, [["covisitation", 2.5, "b"]], 0.25], ["c", 1.0, [], None]],
        "version": [1, 10, 7],
    }


def test_avro_is_read_by_its_schema_alone(kafka: LocalKafka, topic_name: str) -> None:
    """Single-object encoding: the fingerprint names `slate.avsc`, and the same fields come out."""
    create(kafka.bootstrap, topic_name)
    asyncio.run(publish_all(kafka.bootstrap, topic_name, [slate()], format="avro"))
    (record,) = consume(kafka.bootstrap, topic_name, 1)
    assert MessageOpener(our_schema("slate")).open(record.value) == Opened(FIELDS, True)
    assert len(slate_as_avro(slate())) < len(slate().json)


def test_every_slate_arrives_in_order_on_its_users_partition(kafka: LocalKafka, topic_name: str) -> None:
    """More than a batch holds, in several calls at once: all there, each user's in order, on Java's partition."""
    create(kafka.bootstrap, topic_name)
    rounds = [[slate(str(user), position) for user in range(1_500)] for position in (1, 2, 3)]

    async def publish() -> None:
        sink = RecommendationsTopic(kafka.bootstrap, topic_name)
        await asyncio.gather(*(sink.publish(slates) for slates in rounds))
        await sink.close()

    asyncio.run(publish())
    seen: dict[bytes, list[int]] = {}
    partitions: dict[bytes, set[int]] = {}
    for record in consume(kafka.bootstrap, topic_name, 4_500):
        seen.setdefault(record.key, []).append(json.loads(record.value)["version"][1])
        partitions.setdefault(record.key, set()).add(record.partition)
    assert seen == {f"main:{user}".encode(): [1, 2, 3] for user in range(1_500)}
    assert partitions == {key: {java_partition(key, 4)} for key in seen}


def java_partition(key: bytes, partitions: int) -> int:
    """Return the partition kafka-python, an implementation of its own, chooses for a key."""
    from kafka.partitioner.default import murmur2

    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


def test_nothing_to_publish_asks_no_broker() -> None:
    """An empty slice returns at once, whether Kafka is there or not."""
    (port,) = free_ports(1)
    asyncio.run(publish_all(f"127.0.0.1:{port}", "t", []))


def test_a_topic_that_takes_small_batches_gets_small_batches(kafka: LocalKafka, topic_name: str) -> None:
    """The limit is on batches too: what would fit one by one is cut until it fits."""
    create(kafka.bootstrap, topic_name, partitions=1, **{"max.message.bytes": "20000"})
    asyncio.run(publish_all(kafka.bootstrap, topic_name, [slate(str(user)) for user in range(300)]))
    assert len(consume(kafka.bootstrap, topic_name, 300)) == 300


def test_a_record_the_topic_never_takes_is_refused_with_the_remedy(kafka: LocalKafka, topic_name: str) -> None:
    """Waiting would not mend it, so it is an error that names the topic and the limit."""
    create(kafka.bootstrap, topic_name, partitions=1, **{"max.message.bytes": "1000"})

    async def send() -> None:
        producer = AckedProducer(kafka.bootstrap, topic_name)
        try:
            await producer.send([Record(b"k", b"x" * 5_000)])
        finally:
            await producer.close()

    with pytest.raises(RefusedByBroker, match=rf"{topic_name}.*max\.message\.bytes"):
        asyncio.run(send())


async def until_logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """Return once a record with `text` is logged."""
    async with asyncio.timeout(30):
        while not any(text in message for message in caplog.messages):
            await asyncio.sleep(0.01)


def outage_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "millstream.streams.outage"]


def test_an_outage_is_waited_out_and_said_once(caplog: pytest.LogCaptureFixture, topic_name: str) -> None:
    """The broker is killed and comes back: each publish returns, all is there, the log has one line for each end."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with LocalKafka() as broker:
        create(broker.bootstrap, topic_name, partitions=2)

        async def publish() -> None:
            sink = RecommendationsTopic(broker.bootstrap, topic_name)
            await sink.publish([slate(str(user), 1) for user in range(20)])
            await asyncio.to_thread(broker.kill)
            waiting = asyncio.ensure_future(sink.publish([slate(str(user), 2) for user in range(20)]))
            await until_logged(caplog, "does not answer")
            assert not waiting.done()
            await asyncio.to_thread(broker.restart)
            async with asyncio.timeout(60):
                await waiting
                await sink.publish([slate(str(user), 3) for user in range(20)])
            await sink.close()

        asyncio.run(publish())
        # at least once: 60, or more if the kill lost an acknowledgement alone
        newest = {record.key: record.value for record in read_to_end(broker.bootstrap, topic_name)}
    assert {json.loads(value)["version"][1] for value in newest.values()} == {3}
    lost, back = outage_lines(caplog)
    assert "does not answer" in lost
    assert "is back" in back


def test_a_broken_producer_is_replaced(
    kafka: LocalKafka, topic_name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What one attempt could not deliver, and only that, is sent again by a new producer."""
    create(kafka.bootstrap, topic_name, partitions=1)

    async def publish() -> None:
        producer = AckedProducer(kafka.bootstrap, topic_name)
        await producer.send([Record(b"a", b"1")])
        first = producer._producer

        async def fails(*arguments: object, **named: object) -> None:
            raise KafkaTimeoutError

        monkeypatch.setattr(first, "send_batch", fails)
        await producer.send([Record(b"a", b"2")])
        assert producer._producer is not first
        await producer.close()

    asyncio.run(publish())
    assert [record.value for record in consume(kafka.bootstrap, topic_name, 2)] == [b"1", b"2"]
    assert len(outage_lines(caplog)) == 2


def test_closing_during_an_outage_takes_no_longer_than_told(caplog: pytest.LogCaptureFixture, topic_name: str) -> None:
    """Ctrl-C while Kafka is away: the waiting publish is cancelled, close returns, nothing complains afterwards."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with LocalKafka() as broker:
        create(broker.bootstrap, topic_name, partitions=2)

        async def publish() -> None:
            sink = RecommendationsTopic(broker.bootstrap, topic_name)
            await sink.publish([slate()])
            await asyncio.to_thread(broker.kill)
            waiting = asyncio.ensure_future(sink.publish([slate()]))
            await until_logged(caplog, "does not answer")
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            async with asyncio.timeout(3):
                await sink.close(within_s=0.5)

        asyncio.run(publish())
    assert [record for record in caplog.records if record.name == "asyncio"] == []
