"""Redis that has lost what it acknowledged: it is noticed, and published again, all of it or what came since."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from lists import slate
from redis.exceptions import RedisError
from running import Pipeline, Worker, clicks, until

from millstream.agents.publisher import Publisher
from millstream.agents.slices import SliceDone
from millstream.schemas.item_sets import decode_item_set
from millstream.schemas.records import Version
from millstream.streams.catalogue_hash import catalogue_key, titles
from millstream.streams.kept_off import KeptOff
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.local_redis import LocalRedis
from millstream.streams.outage import Outage
from millstream.streams.redis_connection import connect
from millstream.streams.redis_keys import similar_key, withdrawn_key
from millstream.streams.redis_topic import RedisTopic

THERE_WITHIN_S = 30.0
"""For 3,000 users and 50 items on a machine that does other work as well; alone it takes some 3 s."""


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with connect(redis_url) as client:
        yield client


async def test_the_newer_list_wins_whichever_is_published_last(client: redis.asyncio.Redis, prefix: str) -> None:
    """One made again before an event and that event's own, in one batch and in two, into an empty Redis."""
    for turn, together in enumerate((True, False)):
        topic = RedisTopic(client, prefix=f"{prefix}{turn}:", ttl_s=60, feed_length=100)
        failures: list[BaseException] = []
        publisher = Publisher(topic, None, outage=Outage("Redis"), release=lambda _: None, failed=failures.append)
        publisher.add(SliceDone("interactions", 0, 8, 1, 1, [slate("u", 8)]))
        if not together:
            publisher.start()
            assert await publisher.drain(5)
        again = asyncio.ensure_future(publisher.publish_again([slate("u", 7), slate("v", 7)]))
        await asyncio.sleep(0)
        if together:
            publisher.start()
        await asyncio.wait_for(again, 5)
        await publisher.stop()
        assert await topic.read_version("u") == Version(1, 8, 8)
        assert await topic.read_version("v") == Version(1, 7, 7)
        assert not failures


def spread(n: int, *, seed: int = 1) -> list[bytes]:
    """So many events of 3,000 users."""
    return clicks(n, seed=seed, users=3_000)


def last_positions(events: Sequence[bytes]) -> dict[str, int]:
    """By user, the position after their last event: all are in one partition."""
    return {json.loads(event)["user_id"]: offset + 1 for offset, event in enumerate(events)}


def behind(pipeline: Pipeline, positions: dict[str, int]) -> list[str]:
    """Users whose list is not there, or lacks their last event."""
    try:
        found = pipeline.client.mget([f"{pipeline.prefix}rec:main:{user}" for user in positions])
    except RedisError:  # gone for the moment
        return list(positions)
    return [
        user
        for (user, position), value in zip(positions.items(), found, strict=True)  # type: ignore[arg-type]  # not async
        if value is None or Version.unpack(value[1:25]).position < position
    ]


async def mended(pipeline: Pipeline, losses: int) -> Any:
    """Return the status once so many losses are noticed and nothing is missing."""
    held: list[Any] = []

    def is_mended() -> bool:
        try:
            status = pipeline.status()
        except RedisError:
            return False
        held[:] = [status]
        return status is not None and status.redis_losses == losses and status.stale_after_redis_loss == 0

    await until(is_mended)
    return held[0]


def said_again(worker: Worker) -> list[int]:
    """How many users were to be published again, by loss."""
    return [int(n.replace(",", "")) for n in re.findall(r"those of ([\d,]+) users", worker.said)]


async def test_redis_restarted_empty_has_all_lists_again_within_seconds(
    kafka: LocalKafka, prefix: str, topic_name: str, tmp_path: Path
) -> None:
    """Killed and empty in the middle of the stream: each user's list with their last event, items', popular, titles."""
    with LocalRedis() as server:
        pipeline = Pipeline(kafka.bootstrap, server.url, prefix, topic_name, tmp_path)
        with pipeline.worker() as worker:
            await worker.running()
            pipeline.send([b'{"item_id":"i1","title":"First"}'], topic=f"{topic_name}.items")
            events = spread(8_000)
            pipeline.send(events)
            await pipeline.learned(8_000)
            await until(lambda: pipeline.client.exists(similar_key(prefix, "i1")) == 1)
            for turn in range(10):
                if turn == 3:
                    server.restart(hard=True)
                    began_s = time.monotonic()
                    assert pipeline.client.exists(f"{prefix}rec:main:u1") == 0
                if turn == 4:
                    await until(lambda: (now := pipeline.status()) is not None and now.stale_after_redis_loss > 0)
                more = spread(100, seed=turn + 2)
                await asyncio.to_thread(pipeline.send, more)
                events += more
            positions = last_positions(events)
            await until(lambda: not behind(pipeline, positions))
            assert time.monotonic() - began_s < THERE_WITHIN_S
            status = await mended(pipeline, 1)
            assert status.published_again >= len(positions) - 200
            await until(lambda: pipeline.client.exists(*(similar_key(prefix, f"i{n}") for n in range(50))) == 50)
            assert pipeline.slate("") is not None
            await until(lambda: titles(pipeline.client.hgetall(catalogue_key(prefix))) == {"i1": "First"})  # type: ignore[arg-type]  # not async
            assert "the marker is gone" in worker.said
            assert "what Redis had lost is published again" in worker.said
            assert worker.interrupt()["seq"] == len(events)


async def test_an_older_dump_brings_back_only_what_came_since(
    kafka: LocalKafka, prefix: str, topic_name: str, tmp_path: Path
) -> None:
    """Saved, moved on, restarted from what was saved: those touched since are published again; nothing goes back."""
    (tmp_path / "redis").mkdir()
    with LocalRedis(tmp_path / "redis") as server:
        pipeline = Pipeline(kafka.bootstrap, server.url, prefix, topic_name, tmp_path)
        with pipeline.worker() as worker:
            await worker.running()
            events = spread(3_000)
            pipeline.send(events)
            await pipeline.learned(3_000)
            await until(lambda: pipeline.client.exists(*(similar_key(prefix, f"i{n}") for n in range(50))) == 50)
            pipeline.client.save()
            shutil.copy(tmp_path / "redis" / "dump.rdb", tmp_path / "older.rdb")
            since = [f'{{"user_id":"new{n % 40}","item_id":"i{n % 7}"}}'.encode() for n in range(80)]
            pipeline.send(since)
            await pipeline.learned(3_080)
            server.kill()
            shutil.copy(tmp_path / "older.rdb", tmp_path / "redis" / "dump.rdb")
            server.restart()
            seen: dict[str, Version] = {}
            positions = last_positions([*events, *since])

            def is_there() -> bool:
                for user in ("u1", "u2", "new1", "new2"):
                    if (slate := pipeline.slate(user)) is not None:
                        assert slate.version >= seen.get(user, Version(0, 0, 0))
                        seen[user] = slate.version
                return not behind(pipeline, positions)

            await until(is_there)
            await mended(pipeline, 1)
            assert "the marker is an older one" in worker.said
            assert said_again(worker)[0] == 40 + 1  # and the popular list
            assert worker.interrupt()["seq"] == 3_080


async def test_a_lost_connection_alone_publishes_nothing_again(
    kafka: LocalKafka, prefix: str, topic_name: str, tmp_path: Path
) -> None:
    """Redis restarted with all it had, and connections cut: the marker is where it was."""
    with LocalRedis(append_only=True) as server:
        pipeline = Pipeline(kafka.bootstrap, server.url, prefix, topic_name, tmp_path)
        with pipeline.worker() as worker:
            await worker.running()
            pipeline.send(spread(300))
            await pipeline.learned(300)
            server.restart()
            pipeline.send(spread(300, seed=2))
            await pipeline.learned(600)
            pipeline.client.client_kill_filter(_type="normal", skipme=True)
            pipeline.send(spread(300, seed=3))
            status = await pipeline.learned(900)
            assert (status.redis_losses, status.published_again) == (0, 0)
            worker.interrupt()
            assert "lost lists" not in worker.said


@pytest.mark.parametrize("killed", [True, False])
async def test_a_start_finds_what_redis_lost_meanwhile(pipeline: Pipeline, killed: bool) -> None:
    """A worker that starts on an emptied Redis publishes everybody; on one that kept all, nobody."""
    positions = last_positions(spread(600))
    with pipeline.worker() as worker:
        await worker.running()
        pipeline.send(spread(600))
        await pipeline.learned(600)
        await until(lambda: any((pipeline.directory / "snapshots").glob(f"state-{600:016d}-*.snapshot")))
        worker.kill() if killed else worker.interrupt()
        assert "lost lists" not in worker.said  # the first start had nothing to miss
    with pipeline.worker() as worker:
        await worker.running()
        assert (await pipeline.learned(0)).redis_losses == 0
        worker.kill() if killed else worker.interrupt()
    for key in pipeline.client.scan_iter(f"{pipeline.prefix}*"):
        pipeline.client.delete(key)
    with pipeline.worker() as worker:
        await worker.running()
        await until(lambda: not behind(pipeline, positions))
        assert (await mended(pipeline, 1)).published_again > len(positions)
        assert "the marker is gone" in worker.said


async def test_a_stop_in_the_middle_is_in_time_and_the_next_start_begins_again(
    kafka: LocalKafka, prefix: str, topic_name: str, tmp_path: Path
) -> None:
    """Ctrl-C while lists are published again: what is missing then is not forgotten."""
    with LocalRedis() as server:
        pipeline = Pipeline(kafka.bootstrap, server.url, prefix, topic_name, tmp_path)
        events = clicks(12_000, users=9_000)
        with pipeline.worker() as worker:
            await worker.running()
            pipeline.send(events)
            await pipeline.learned(12_000)
            server.restart(hard=True)
            await until(lambda: "lost lists" in worker.said)
            worker.interrupt()
            assert "is published again" not in worker.said
        assert behind(pipeline, last_positions(events))
        with pipeline.worker() as worker:
            await until(lambda: not behind(pipeline, last_positions(events)))
            assert "partitions taken over" in worker.said


async def test_what_the_catalogue_calls_unavailable_is_withdrawn_again(
    kafka: LocalKafka, prefix: str, topic_name: str, tmp_path: Path
) -> None:
    """After a loss tombstones and `available: false` hold; what is put back later is on lists again."""
    with LocalRedis() as server:
        pipeline = Pipeline(kafka.bootstrap, server.url, prefix, topic_name, tmp_path)

        def withdrawn() -> set[str]:
            value = pipeline.client.get(withdrawn_key(prefix))
            return set() if value is None else set(decode_item_set(bytes(value)).items)  # type: ignore[arg-type]  # not async

        def tell(item: str, **said: object) -> None:
            pipeline.send([json.dumps({"item_id": item, **said}).encode()], topic=f"{topic_name}.items")

        with pipeline.worker() as worker:
            await worker.running()
            tell("i1", available=False)
            tell("i2", title="Second")
            tell("i3", available=False)
            tell("i3", available=True)
            async with connect(server.url) as client:
                await KeptOff(client, prefix=prefix, rule_ttl_s=60).withdraw(["i1"])
            pipeline.send(clicks(100))
            await pipeline.learned(100)
            server.restart(hard=True)
            await until(lambda: withdrawn() == {"i1"})
            await until(lambda: titles(pipeline.client.hgetall(catalogue_key(prefix))) == {"i2": "Second"})  # type: ignore[arg-type]  # not async
            await mended(pipeline, 1)
            tell("i1", available=True)
            await until(lambda: withdrawn() == set())
            tell("i2", available=False)  # written by others, with nothing lost: not the worker's to heed
            tell("i4", title="Fourth")
            await until(lambda: "i4" in titles(pipeline.client.hgetall(catalogue_key(prefix))))  # type: ignore[arg-type]  # not async
            assert withdrawn() == set()
            worker.interrupt()
