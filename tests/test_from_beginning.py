"""Following topics from their beginnings: all of it, what comes, partitions that are added, through an outage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from millstream.agents.from_beginning import Batch, FromBeginning
from millstream.streams.acked_producer import AckedProducer, Record
from millstream.streams.beginnings import open_topics
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.settings import Settings
from millstream.streams.topics import admin_client, ensure_topics

_WITHIN_S = 60.0


def settings_of(kafka: LocalKafka, topic: str) -> Settings:
    return Settings.model_validate(
        {
            "kafka": {"bootstrap_servers": kafka.bootstrap},
            "inputs": [{"topic": topic}],
            "topics": {"items": f"{topic}.items", "item_vectors": f"{topic}.vectors", "partitions": 2},
        }
    )


async def until(batches: AsyncGenerator[Batch], wanted: set[bytes], *, caught_up: bool = False) -> list[Batch]:
    """Return the batches that it took until these values were there."""
    found: list[Batch] = []
    async with asyncio.timeout(_WITHIN_S):
        async for batch in batches:
            found.append(batch)
            wanted = wanted - {record.value for record in batch.records}
            if not wanted and (batch.caught_up or not caught_up):
                return found
    raise AssertionError("the batches ended")


async def test_all_is_read_and_then_what_comes_also_in_new_partitions(kafka: LocalKafka, topic_name: str) -> None:
    """Of both topics, each record once; where a partition is added nothing is read twice."""
    settings = settings_of(kafka, topic_name)
    ensure_topics(settings)
    items = AckedProducer(kafka.bootstrap, settings.topics.items)
    vectors = AckedProducer(kafka.bootstrap, settings.topics.item_vectors)
    try:
        await items.send([Record(b"%d" % n, b"item %d" % n) for n in range(100)])
        await vectors.send([Record(b"1", b"vector")])
        reading = FromBeginning(settings, [settings.topics.items, settings.topics.item_vectors], at_once=7)
        async with aclosing(reading.batches()) as batches:
            first = await until(batches, {b"vector", *(b"item %d" % n for n in range(100))}, caught_up=True)
            assert max(len(batch.records) for batch in first) <= 7
            assert (first[-1].done, first[-1].of) == (101, 101)
            assert not any(batch.anew for batch in first)
            with admin_client(settings.kafka.bootstrap_servers) as admin:
                admin.create_partitions({settings.topics.items: 3})
            new = {b"new %d" % n for n in range(30)}
            grown = AckedProducer(kafka.bootstrap, settings.topics.items)
            await grown.send([Record(value, value) for value in sorted(new)])
            await grown.close()
            later = await until(batches, new)
            values = [record.value for batch in (*first, *later) for record in batch.records]
            assert len(values) == len(set(values)) == 131
    finally:
        await items.close()
        await vectors.close()


async def test_an_outage_is_waited_out_and_a_topic_made_anew_is_said(topic_name: str) -> None:
    """It goes on where it was; what a deleted topic had said no longer stands."""
    with LocalKafka() as kafka:
        settings = settings_of(kafka, topic_name)
        ensure_topics(settings)
        await put(kafka, settings, b"before")
        async with aclosing(FromBeginning(settings, [settings.topics.items], at_once=64).batches()) as batches:
            await until(batches, {b"before"})
            kafka.kill()
            waiting = asyncio.create_task(until(batches, {b"after"}))
            await asyncio.sleep(1.0)
            await asyncio.to_thread(kafka.restart)
            await put(kafka, settings, b"after")
            assert all(record.value == b"after" for batch in await waiting for record in batch.records)
            before = await _id_of(settings)
            with admin_client(settings.kafka.bootstrap_servers) as admin:
                admin.delete_topics([settings.topics.items])
            async with asyncio.timeout(_WITHIN_S):
                while await _id_of(settings) == before:  # whoever asks for it makes it again
                    await asyncio.sleep(0.1)
            await put(kafka, settings, b"anew")
            last = await until(batches, {b"anew"})
            assert [batch.anew for batch in last if batch.records] == [True]


async def _id_of(settings: Settings) -> str:
    return (await open_topics(settings, [settings.topics.items]))[settings.topics.items][0]


async def put(kafka: LocalKafka, settings: Settings, value: bytes) -> None:
    producer = AckedProducer(kafka.bootstrap, settings.topics.items)
    await producer.send([Record(b"k", value)])
    await producer.close()
