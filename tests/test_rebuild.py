"""Another model from the log: made beside the live one, switched to between two events, and switched back from."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from running import Pipeline, clicks, until

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.order import FollowedOrder, OrderPosition, Place
from millstream.online_learning.step import Step
from millstream.schemas.columns import Chunk
from millstream.schemas.decode import InteractionDecoder
from millstream.schemas.mapping import InputMapping
from millstream.schemas.order_records import decode_order
from millstream.schemas.records import Version
from millstream.schemas.slates import decode_slate
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.topic_reading import read_to_end

PARTITIONS = 2
USERS = 60


@pytest.fixture
def live(kafka: LocalKafka, redis_url: str, prefix: str, topic_name: str, tmp_path: Path) -> Pipeline:
    return Pipeline(kafka.bootstrap, redis_url, prefix, topic_name, tmp_path, partitions=PARTITIONS)


async def rebuild(live: Pipeline, *options: str, exit_code: int = 0) -> Any:
    """Run the command; return the object of its last line."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "millstream.agents.cli", "rebuild", *options, "--json"),
        env=live.environment,
        cwd=live.directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == exit_code, err.decode()
    return json.loads(out.decode().splitlines()[-1]) if exit_code == 0 else err.decode()


def folded(live: Pipeline, positions: dict[Place, int], generation: int) -> Step:
    """What one process makes of the log from these positions on, in the recorded order."""
    order = FollowedOrder(OrderPosition(), positions)
    for record in read_to_end(live.bootstrap, f"{live.topic}.order"):
        order.read(record.offset, decode_order(record.value))
    decoder = InteractionDecoder(InputMapping())
    for partition in range(PARTITIONS):
        start = positions.get((live.topic, partition), 0)
        own = [record for record in read_to_end(live.bootstrap, live.topic) if record.partition == partition]
        own = [record for record in own if record.offset >= start]
        columns, _ = decoder.decode(
            [record.value for record in own],
            [record.offset for record in own],
            [record.timestamp for record in own],
            input=live.topic,
            partition=partition,
        )
        order.offer(Chunk(live.topic, partition, start, own[-1].offset + 1, columns), len(own))
    step = Step(LearningConfig(), [live.topic])
    step.positions = dict(positions)
    while parts := [*order.take(), *([None] if order.swapped() else [])]:
        for part in parts:
            if part is not None:
                step.apply(part.chunk, lists=False, train_every=part.train_every)
    assert order.needed is None
    step.generation = generation
    return step


def versions(live: Pipeline, prefix: str = "") -> dict[str, Version]:
    """Return the version of each user's list that is there."""
    users = [f"u{number}" for number in range(USERS)]
    found = live.client.mget([f"{live.prefix}{prefix}rec:main:{user}" for user in users])
    return {user: Version.unpack(value[1:25]) for user, value in zip(users, found, strict=True) if value}  # type: ignore[arg-type]  # not async


async def test_the_live_workers_go_on_with_it_and_back(live: Pipeline) -> None:
    """All workers switch between the same two events; all lists are the new model's, and later the old one's again."""
    with ExitStack() as stack:
        workers = [stack.enter_context(live.worker()) for _ in range(2)]
        for worker in workers:
            await worker.running()
        live.send(clicks(900, users=USERS))
        await live.published(900)
        made = await rebuild(live, "--from-offset", "200")
        start = {(live.topic, partition): 200 for partition in range(PARTITIONS)}
        assert made["state_hash"] == folded(live, start, 1).state_hash()
        assert made["switched"] is None
        beside = versions(live, "rebuild:")
        assert len(beside) > USERS / 2
        assert {version.generation for version in versions(live).values()} == {1}
        assert "there is a rebuilt model already" in await rebuild(live, "--from-offset", "300", exit_code=1)

        switching = asyncio.ensure_future(rebuild(live, "--switch"))
        sent = 900
        while not switching.done():
            live.send(clicks(20, seed=sent, users=USERS))
            sent += 20
            await asyncio.sleep(0.1)
        switched = (await switching)["switched"]
        assert (switched["workers"], switched["generation"]) == (2, 2)
        assert switched["held_s"] <= switched["taken_s"] <= switched["published_s"] < 30
        await live.published(sent)
        await until(lambda: {version.generation for version in versions(live).values()} == {2})
        expected = folded(live, start, 2)
        shown = {slate.user_id: slate for slate in expected.relist([f"u{n}" for n in range(USERS)]).slates(0)}
        assert shown.keys() == versions(live).keys()
        ends = [worker.interrupt() for worker in workers]
        assert {end["state_hash"] for end in ends} == {expected.state_hash()}

        workers = [stack.enter_context(live.worker()) for _ in range(2)]
        for worker in workers:
            await worker.running()
        live.send(clicks(100, seed=5, users=USERS))
        sent += 100
        await live.published(sent)
        back = await rebuild(live, "--back", "--switch")
        assert back["switched"]["generation"] == 3
        live.send(clicks(100, seed=6, users=USERS))
        await live.published(sent + 100)
        await until(lambda: {version.generation for version in versions(live).values()} == {3})
        ends = [worker.interrupt() for worker in workers]
    expected = folded(live, {}, 3)
    assert [(end["seq"], end["state_hash"]) for end in ends] == [(sent + 100, expected.state_hash())] * 2
    value = live.client.get(f"{live.prefix}rec:main:u1")
    assert decode_slate(bytes(value), list_name="main", user_id="u1").version.generation == 3  # type: ignore[arg-type]  # as above


async def test_it_is_thrown_away_without_a_trace(live: Pipeline) -> None:
    """And without a live worker nothing is switched: the model is kept until it is thrown away."""
    with live.worker() as worker:
        await worker.running()
        live.send(clicks(200, users=USERS))
        await live.published(200)
        worker.interrupt()
    said = await rebuild(live, "--from-time", "2001-01-01", "--switch", exit_code=1)
    assert "no live worker answers; the model is kept" in said
    assert any(live.client.scan_iter(match=f"{live.prefix}rebuild:*"))
    gone = await rebuild(live, "--discard")
    assert gone["discarded"] > 0
    assert not any(live.client.scan_iter(match=f"{live.prefix}rebuild:*"))
    assert versions(live)
    assert not list((live.directory / "snapshots" / "rebuild").glob("*.snapshot"))
    assert "no model is kept there to go back to" in await rebuild(live, "--back", exit_code=1)
