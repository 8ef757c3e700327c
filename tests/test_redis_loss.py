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
from redis.exceptions import RedisError
from running import Pipeline, Worker, clicks, until

from millstream.agents.catalogue import catalogue_key, titles
from millstream.agents.publisher import Publisher
from millstream.agents.step_thread import SliceDone
from millstream.schemas.item_sets import decode_item_set
from millstream.schemas.records import ScoredItem, Slate, Version
from millstream.schemas.slates import EncodedSlate, encode_slate
from millstream.streams.kept_off import KeptOff
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.local_redis import LocalRedis
from millstream.streams.marker import Loss, Marker
from millstream.streams.outage import Outage
from millstream.streams.recent import Recent
from millstream.streams.redis_connection import connect
from millstream.streams.redis_keys import marker_key, similar_key, withdrawn_key
from millstream.streams.redis_topic import RedisTopic

THERE_WITHIN_S = 30.0
"""For 3,000 users and 50 items on a machine that does other work as well; alone it takes some 3 s."""


def slate(user: str, position: int) -> EncodedSlate:
    return encode_slate(
        Slate(
            slate_id=f"{user}-{position}",
            list="main",
            user_id=user,
            items=(ScoredItem("i", 1.0),),
            version=Version(1, position, position),
            as_of_ms=1_000,
            generated_ts_ms=2_000,
        )
    )


@pytest.mark.parametrize(
    ("mark", "since"),
    [(0, ["d", "b", "c", "a"]), (1, ["d", "b", "c"]), (2, ["d", "b"]), (3, []), (9, [])],
)
def test_recent_names_each_that_came_after_a_mark_once(mark: int, since: list[str]) -> None:
    """Four calls' ids, one of them twice."""
    recent = Recent(100)
    recent.note(1, ["a", "b"])
    recent.note(2, ["c"])
    recent.note(2, [])
    recent.note(3, ["d", "b"])
    assert set(recent.since(mark) or ()) == set(since)
    assert len(recent.since(mark) or ()) == len(since)


def test_recent_knows_what_it_has_forgotten() -> None:
    """Beyond the bound the oldest calls go, and then nobody knows who came after a mark before them."""
    recent = Recent(3)
    for mark in range(1, 5):
        recent.note(mark, [f"u{mark}"])
    assert recent.since(0) is None
    assert recent.since(1) == ["u4", "u3", "u2"]
    recent.note(5, ["a", "b", "c", "d"])
    assert recent.since(4) is None
    assert recent.since(5) == []


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with connect(redis_url) as client:
        yield client


async def running(client: redis.asyncio.Redis, prefix: str, *, now_ms: int = 1_000) -> tuple[Marker, RedisTopic]:
    """A run that has claimed the marker for a state without events, and its topic."""
    marker = Marker(client, prefix=prefix, now_ms=lambda: now_ms)
    assert await marker.claim(0) is None
    return marker, RedisTopic(client, prefix=prefix, ttl_s=60, feed_length=100, marker=marker)


async def restore(client: redis.asyncio.Redis, key: str, older: Any) -> None:
    await client.delete(key)
    await client.hset(key, mapping=older)


async def test_while_redis_keeps_everything_nothing_is_missing(client: redis.asyncio.Redis, prefix: str) -> None:
    """The marker says the events whose lists are all there, whatever number of calls they took."""
    marker, topic = await running(client, prefix)
    await topic.publish([slate(f"u{n}", 1) for n in range(450)], 450)
    assert await marker.look() is None
    await topic.publish([], 5)
    assert await marker.look() is None
    found = await marker.read()
    assert found is not None
    assert found.seq == 455
    assert await client.ttl(marker_key(prefix)) == -1


async def test_an_older_marker_names_who_came_since(client: redis.asyncio.Redis, prefix: str) -> None:
    """Found by the next list or the next look; until restored, the marker says how far Redis is whole."""
    marker, topic = await running(client, prefix)
    await topic.publish([slate("before", 1)], 1)
    older = await client.hgetall(marker_key(prefix))
    await topic.publish([slate("since", 2)], 1)
    await restore(client, marker_key(prefix), older)
    assert await topic.publish([slate("after", 3)], 1) == [True]
    assert marker.missed
    loss = await marker.look()
    assert loss == Loss(gone=False, since=int(older[b"mark"]))
    assert set(topic.published_since(int(older[b"mark"])) or ()) == {"since", "after"}
    assert await marker.look() is None
    await topic.publish([slate("after", 4)], 1)
    found = await marker.read()
    assert found is not None
    assert found.seq == 1
    marker.restored()
    assert await marker.look() is None
    found = await marker.read()
    assert found is not None
    assert found.seq == 4


@pytest.mark.parametrize("value", [None, "not a hash", {"run": "x", "mark": "1", "seq": "1"}])
async def test_a_marker_that_is_gone_means_that_all_is(client: redis.asyncio.Redis, prefix: str, value: Any) -> None:
    """Removed, overwritten, unreadable: seen at once, and once."""
    marker, topic = await running(client, prefix)
    await topic.publish([slate("u", 1)], 1)
    await client.delete(marker_key(prefix))
    if isinstance(value, dict):
        await client.hset(marker_key(prefix), mapping=value)
    elif value is not None:
        await client.set(marker_key(prefix), value)
    assert await marker.look() == Loss(gone=True, since=None)
    assert await marker.look() is None
    assert not marker.missed


async def test_a_second_loss_while_the_first_is_mended_is_another(client: redis.asyncio.Redis, prefix: str) -> None:
    """What a run writes while it mends is marked, too."""
    marker, topic = await running(client, prefix)
    await topic.publish([slate("u", 1)], 1)
    for _ in range(2):
        await client.delete(marker_key(prefix))
        assert await marker.look() == Loss(gone=True, since=None)
        await topic.publish([slate("u", 1)])


@pytest.mark.parametrize(
    ("published", "state", "loss"),
    [
        (None, 0, None),
        (None, 5, Loss(gone=True, since=None)),
        (5, 5, None),
        (9, 5, None),
        (4, 5, Loss(gone=False, since=None)),
        (4, 0, None),
    ],
)
async def test_a_start_compares_the_marker_with_its_state(
    client: redis.asyncio.Redis, prefix: str, published: int | None, state: int, loss: Loss | None
) -> None:
    """Without a state nothing can be missing; a marker behind the state means that lists are."""
    if published is not None:
        _, topic = await running(client, prefix)
        await topic.publish([slate("u", 1)], published)
    assert await Marker(client, prefix=prefix).claim(state) == loss


async def test_a_run_gives_way_to_a_later_one(client: redis.asyncio.Redis, prefix: str) -> None:
    """Two workers by mistake: the earlier leaves the marker alone, says so once, and neither takes it for a loss."""
    earlier, earlier_lists = await running(client, prefix, now_ms=2_000)
    later, later_lists = await running(client, prefix, now_ms=1_000)  # its clock is behind
    await earlier_lists.publish([slate("u", 1)], 1)
    await later_lists.publish([slate("u", 2)], 1)
    assert await earlier.look() is None
    assert await later.look() is None


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
    """How many users and items were to be published again, by loss."""
    return [int(n.replace(",", "")) for n in re.findall(r"those of ([\d,]+) users and items", worker.said)]


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
            # 40 users, and as the clock would have it the popular list and items'
            assert 40 <= said_again(worker)[0] <= 40 + 1 + 50
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
        await until(lambda: any((pipeline.directory / "snapshots").glob("state-*600.snapshot")))
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
        events = spread(6_000)
        with pipeline.worker() as worker:
            await worker.running()
            pipeline.send(events)
            await pipeline.learned(6_000)
            server.restart(hard=True)
            await until(lambda: "lost lists" in worker.said)
            worker.interrupt()
            assert "is published again" not in worker.said
        assert behind(pipeline, last_positions(events))
        with pipeline.worker() as worker:
            await mended(pipeline, 1)
            assert not behind(pipeline, last_positions(events))
            assert "the marker is an older one" in worker.said


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
