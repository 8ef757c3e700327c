"""The source on a real Kafka: exact positions, holes, bounds, and errors that name the remedy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]  # it ships no types
from kafka import KafkaAdminClient, TopicPartition  # type: ignore[import-untyped]  # as above

from millstream.streams.beginnings import TopicChanged
from millstream.streams.errors import BrokerUnreachable
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.local_process import free_ports
from millstream.streams.membership import Membership
from millstream.streams.read_ahead import RawBatch, RawChunk
from millstream.streams.settings import Settings
from millstream.streams.source import InteractionSource, PositionLost
from millstream.streams.topics import ensure_topics, lag

Received = list[RawChunk]
_WITHIN_S = 20.0


@pytest.fixture
def settings(kafka: LocalKafka, topic_name: str, tmp_path: Path) -> Settings:
    return settings_of(kafka.bootstrap, topic_name, tmp_path)


def settings_of(bootstrap: str, topic: str, directory: Path, **sections: Mapping[str, Any]) -> Settings:
    topics = {
        "items": f"{topic}.items",
        "recommendations": f"{topic}.recs",
        "dead_letters": f"{topic}.dlq",
        "partitions": 2,
    }
    return Settings(
        kafka={"bootstrap_servers": bootstrap, "group_id": f"{topic}.group"},  # type: ignore[arg-type]  # validated
        inputs=({"topic": topic},),  # type: ignore[arg-type]  # as above
        topics=topics,  # type: ignore[arg-type]  # as above
        snapshots={"directory": str(directory), **sections.get("snapshots", {})},  # type: ignore[arg-type]  # as above
        worker=sections.get("worker", {}),  # type: ignore[arg-type]  # as above
    )


@asynccontextmanager
async def producing(settings: Settings, **options: Any) -> AsyncIterator[Any]:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers, **options)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def send(settings: Settings, values: Sequence[str], *, partition: int = 0) -> None:
    async with producing(settings) as producer:
        for value in values:
            await producer.send_and_wait(settings.inputs[0].topic, value.encode(), partition=partition)


@asynccontextmanager
async def reading(
    settings: Settings,
    *,
    resume: Mapping[tuple[str, int], int] | None = None,
    ids: Mapping[str, str] | None = None,
    **options: Any,
) -> AsyncIterator[tuple[InteractionSource, Received]]:
    received: Received = []

    async def take(batch: RawBatch) -> None:
        received.extend(batch)

    source = InteractionSource(settings, {settings.inputs[0].topic: take}, **options)
    if resume is not None:
        source.resume(resume, ids or {})
    await source.start()
    try:
        yield source, received
    finally:
        await source.stop()


async def until(holds: Callable[[], bool]) -> None:
    """Return once a condition holds; fail after a while."""
    async with asyncio.timeout(_WITHIN_S):
        while not holds():
            await asyncio.sleep(0.01)


def values(received: Received, partition: int = 0) -> list[str]:
    return [value.decode() for chunk in received if chunk.partition == partition for value in chunk.values if value]


async def test_a_topic_is_read_again_from_its_beginning(settings: Settings) -> None:
    """Asked for while records come: each is delivered once more, in order, and then the new ones, once."""
    ends: dict[tuple[str, int], int] = {}
    topic = settings.inputs[0].topic
    async with reading(settings) as (source, received):
        await send(settings, ["a", "b"])
        await until(lambda: values(received) == ["a", "b"])

        def begins(positions: Mapping[tuple[str, int], int]) -> None:
            assert values(received) == ["a", "b"]
            ends.update(positions)

        source.read_again(topic, begins)
        await until(lambda: values(received) == ["a", "b", "a", "b"])
        await send(settings, ["c"])
        await until(lambda: values(received) == ["a", "b", "a", "b", "c"])
    assert ends == {(topic, 0): 2, (topic, 1): 0}


async def test_missing_topics_are_created_and_read_whole(settings: Settings) -> None:
    """A worker started before its topics exist makes them and reads every partition from the first record."""
    async with reading(settings) as (source, received):
        assert source.read_from == {(settings.inputs[0].topic, 0): 0, (settings.inputs[0].topic, 1): 0}
        await send(settings, ["a", "b", "c"])
        await send(settings, ["d"], partition=1)
        await until(lambda: source.in_flight == 4)
    assert values(received) == ["a", "b", "c"]
    assert values(received, 1) == ["d"]


async def test_reading_resumes_exactly_at_the_positions_given(settings: Settings) -> None:
    """The first chunk begins at the snapshot's position: fails if the seek is skipped or a default moves it."""
    topic = settings.inputs[0].topic
    async with reading(settings):
        await send(settings, ["a", "b", "c", "d"])
    async with reading(settings, resume={(topic, 0): 2, (topic, 1): 0}) as (source, received):
        await until(lambda: source.in_flight == 2)
    assert values(received) == ["c", "d"]
    assert (received[0].start, received[-1].end) == (2, 4)


async def test_a_consumer_that_is_broken_is_replaced_where_it_had_read_to(settings: Settings) -> None:
    """Its task for metadata has ended, as after an error it did not expect: reading goes on, nothing twice."""
    async with reading(settings) as (source, received):
        await send(settings, ["a", "b"])
        await until(lambda: values(received) == ["a", "b"])
        broken = source._consumer
        broken._client._sync_task.cancel()
        broken._client._md_update_fut = asyncio.get_running_loop().create_future()
        await until(lambda: source._consumer is not broken)
        await until(lambda: not source.outage.is_lost)
        await send(settings, ["c"])
        await until(lambda: values(received) == ["a", "b", "c"])
    assert [chunk.start for chunk in received if len(chunk)][-1] == 2


async def test_committed_offsets_never_move_the_start(settings: Settings) -> None:
    """Offsets in the group are for people: a worker without a snapshot begins where the setting says."""
    topic = settings.inputs[0].topic
    async with reading(settings) as (source, received):
        await send(settings, ["a", "b", "c"])
        await until(lambda: source.in_flight == 3)
        told = asyncio.Event()
        membership = Membership(settings.kafka, [topic], settings.topics.model_log, told=lambda _: told.set())
        await asyncio.to_thread(ensure_topics, settings)
        await membership.join("worker-1")
        await asyncio.wait_for(told.wait(), _WITHIN_S)
        await membership.commit({(topic, 0): 3})
        await membership.leave()
        seen = await asyncio.to_thread(lag, settings)
        assert {each.partition: each.committed for each in seen} == {0: 3, 1: None}
    async with reading(settings) as (source, received):
        await until(lambda: source.in_flight == 3)
    assert values(received) == ["a", "b", "c"]


@pytest.mark.parametrize("start", ["latest", "time"])
async def test_a_start_without_a_snapshot_follows_the_setting(
    kafka: LocalKafka, topic_name: str, tmp_path: Path, start: str
) -> None:
    """`latest` begins at the end, a time at the first record that is not older."""
    settings = settings_of(kafka.bootstrap, topic_name, tmp_path)
    async with reading(settings), producing(settings) as producer:
        for value, at_ms in (("old", 1_000), ("new", 2_000_000)):
            await producer.send_and_wait(topic_name, value.encode(), partition=0, timestamp_ms=at_ms)
    begin: str | int = 1_500_000 if start == "time" else "latest"
    settings = settings_of(kafka.bootstrap, topic_name, tmp_path, snapshots={"start": begin})
    async with reading(settings) as (_, received):
        await send(settings, ["newest"])
        await until(lambda: "newest" in values(received))
    assert values(received) == (["new", "newest"] if start == "time" else ["newest"])


async def test_chunks_join_across_the_holes_that_transactions_leave(settings: Settings) -> None:
    """Markers and aborted records are offsets without records; each chunk still starts where the one before ended."""
    topic = settings.inputs[0].topic
    async with reading(settings) as (source, received):
        async with producing(settings, transactional_id=f"{topic}.tx") as producer:
            for value in ("a", "aborted", "b"):
                await producer.begin_transaction()
                await producer.send_and_wait(topic, value.encode(), partition=0)
                await (producer.abort_transaction() if value == "aborted" else producer.commit_transaction())
        await send(settings, ["c"])
        await until(lambda: source.in_flight == 3)
        await until(lambda: source.lag == 0)
    assert values(received) == ["a", "b", "c"]
    assert [chunk.start for chunk in received] == [0, *(chunk.end for chunk in received[:-1])]


async def test_it_stops_reading_while_too_much_is_in_flight(kafka: LocalKafka, topic_name: str, tmp_path: Path) -> None:
    """No more than the bound is ever out; releasing lets the rest come, and nothing is skipped."""
    bounds = {"max_in_flight_events": 10, "max_chunk_events": 4}
    settings = settings_of(kafka.bootstrap, topic_name, tmp_path, worker=bounds)
    async with reading(settings) as (source, received):
        await send(settings, [str(n) for n in range(25)])
        await until(lambda: source.in_flight == 10)
        await until(lambda: source.lag == 15)  # a probe later, still no more
        assert source.in_flight == 10
        while sum(map(len, received)) < 25:
            source.release(source.in_flight)
            seen = sum(map(len, received))
            await until(lambda seen=seen: sum(map(len, received)) > seen)  # type: ignore[misc]  # bound early
            assert source.in_flight <= 10
    assert values(received) == [str(n) for n in range(25)]
    assert max(map(len, received)) <= 4


async def test_a_batch_is_all_that_came_until_the_learner_had_room(settings: Settings) -> None:
    """What waits is cut when it can be taken, not when it came: one chunk a partition, whatever the fetches were."""
    room = asyncio.Semaphore(0)
    async with reading(settings, room=room.acquire) as (source, received):
        for value in ("a", "b", "c"):
            await send(settings, [value])
            await send(settings, [value.upper()], partition=1)
        async with asyncio.timeout(_WITHIN_S):
            while len(source._ahead) < 6:
                await asyncio.sleep(0.01)
        assert received == []
        room.release()
        await until(lambda: source.in_flight == 6)
    assert {chunk.partition: len(chunk) for chunk in received} == {0: 3, 1: 3}


async def test_a_position_that_retention_removed_is_refused(settings: Settings) -> None:
    """Never a silent reset: the error names partition, position, what is there, and the remedy."""
    topic = settings.inputs[0].topic
    async with reading(settings):
        await send(settings, ["a", "b", "c"])
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    admin.delete_records({TopicPartition(topic, 0): 2})
    admin.close()
    with pytest.raises(PositionLost, match=rf"{topic}\[0\].*offset 1.*begins at 2.*MILLSTREAM_SNAPSHOTS__START"):
        async with reading(settings, resume={(topic, 0): 1}):
            pass


async def test_a_position_past_the_end_is_refused(settings: Settings) -> None:
    """A log shorter than the snapshot has lost what the snapshot contains."""
    topic = settings.inputs[0].topic
    with pytest.raises(PositionLost, match="ends at 0"):
        async with reading(settings, resume={(topic, 0): 5}):
            pass


async def test_a_recreated_topic_is_refused(settings: Settings) -> None:
    """Under another topic id a snapshot's offsets mean nothing, even where they exist."""
    topic = settings.inputs[0].topic
    async with reading(settings) as (source, _):
        ids = dict(source.topic_ids)
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    admin.delete_topics([topic])
    admin.close()
    with pytest.raises(TopicChanged, match="deleted and created again"):
        async with reading(settings, resume={(topic, 0): 0}, ids=ids):
            pass


async def test_partitions_that_are_added_are_read_on(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """From their first record, without a start; what was read before goes on where it was."""
    monkeypatch.setattr("millstream.streams.consumer.METADATA_EVERY_MS", 300)
    topic = settings.inputs[0].topic
    async with reading(settings) as (source, received):
        await send(settings, ["a"])
        await until(lambda: values(received) == ["a"])
        admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
        admin.create_partitions({topic: 4})
        admin.close()
        await send(settings, ["b", "c"], partition=3)
        await send(settings, ["d"])
        await until(lambda: values(received, 3) == ["b", "c"] and values(received) == ["a", "d"])
        assert source.read_from == {(topic, 0): 0, (topic, 1): 0, (topic, 2): 0, (topic, 3): 0}
        source.release(4)


async def test_an_absent_broker_is_named_with_the_remedy(tmp_path: Path) -> None:
    """One error within some seconds, with the address and what to do."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(BrokerUnreachable, match=rf"{address}.*millstream up"):
        async with asyncio.timeout(10), reading(settings_of(address, "t", tmp_path)):
            pass
