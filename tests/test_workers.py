"""Several workers on one pipeline: they share the work, agree on everything, and one goes on where another ended."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from kafka import KafkaAdminClient  # type: ignore[import-untyped]  # it ships no types
from running import Pipeline, Worker, clicks, until

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.order import FollowedOrder, OrderPosition
from millstream.online_learning.step import Step
from millstream.schemas.columns import Chunk
from millstream.schemas.decode import InteractionDecoder
from millstream.schemas.mapping import InputMapping
from millstream.schemas.order_records import decode_order
from millstream.schemas.records import Version
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.topic_reading import read_to_end

PARTITIONS = 4
FRESH_WITHIN_S = 20.0
"""After a worker was killed, on a machine that does other work as well: 6 s of it are Kafka's session time-out."""


@pytest.fixture
def shared(kafka: LocalKafka, redis_url: str, prefix: str, topic_name: str, tmp_path: Path) -> Pipeline:
    """A pipeline of four partitions, whose workers share a folder."""
    return Pipeline(kafka.bootstrap, redis_url, prefix, topic_name, tmp_path, partitions=PARTITIONS)


def read_all(pipeline: Pipeline, topic: str) -> list[tuple[int, int, int, bytes]]:
    """Every record of a topic: partition, offset, timestamp, value."""
    found = read_to_end(pipeline.bootstrap, topic)
    return [(record.partition, record.offset, record.timestamp, record.value) for record in found]


def folded(pipeline: Pipeline) -> tuple[str, int, int]:
    """What one process makes of the inputs in the recorded order, from nothing: state hash, events, void records."""
    order, void = FollowedOrder(OrderPosition(), {}), 0
    for _, offset, _, value in read_all(pipeline, f"{pipeline.topic}.order"):
        void += not order.read(offset, decode_order(value))
    decoder = InteractionDecoder(InputMapping("click", {}, {}))
    events = read_all(pipeline, pipeline.topic)
    for partition in sorted({record[0] for record in events}):
        own = [record for record in events if record[0] == partition]
        offsets = [offset for _, offset, _, _ in own]
        columns, _ = decoder.decode(
            [value for *_, value in own],
            offsets,
            [timestamp for _, _, timestamp, _ in own],
            input=pipeline.topic,
            partition=partition,
        )
        order.offer(Chunk(pipeline.topic, partition, 0, offsets[-1] + 1, columns), len(own))
    step = Step(LearningConfig(), [pipeline.topic])
    for part in order.take():
        step.apply(part.chunk, lists=False, train_every=part.train_every)
    assert order.needed is None
    return step.state_hash(), step.seq, void


def users_of(events: Sequence[bytes]) -> set[str]:
    return {json.loads(event)["user_id"] for event in events}


async def shared_out(pipeline: Pipeline, workers: int, partitions: int = PARTITIONS) -> None:
    """Return once so many workers have all partitions between them, and one of them leads."""

    def is_shared() -> bool:
        live = [status for status in pipeline.statuses() if status.state == "running"]
        held = [number for status in live for number in status.partitions]
        leaders = sum(status.leads for status in live)
        return len(live) == workers and sorted(held) == list(range(partitions)) and leaders == 1

    await until(is_shared)


def leader(pipeline: Pipeline, workers: Sequence[Worker]) -> Worker:
    (pid,) = [status.pid for status in pipeline.statuses() if status.leads and status.state == "running"]
    return next(worker for worker in workers if worker.process.pid == pid)


async def test_three_share_and_agree_and_one_goes_on_when_the_leader_is_killed(shared: Pipeline) -> None:
    """Every worker comes to the state that the recorded order gives; no user is left without the newest list."""
    with ExitStack() as stack:
        workers = [stack.enter_context(shared.worker()) for _ in range(3)]
        await shared_out(shared, 3)
        events = clicks(3_000, users=400)
        await asyncio.to_thread(shared.send, events)
        await shared.published(3_000)
        killed = leader(shared, workers)
        killed.kill()
        workers.remove(killed)
        began_s = time.monotonic()
        more = clicks(1_000, seed=2, users=400)
        await asyncio.to_thread(shared.send, more)
        await until(lambda: not behind(shared))
        assert time.monotonic() - began_s < FRESH_WITHIN_S
        await shared_out(shared, 2)
        workers.append(stack.enter_context(shared.worker()))
        await shared_out(shared, 3)
        await asyncio.to_thread(shared.send, clicks(500, seed=3, users=400))
        await shared.published(4_500)
        await until(lambda: not behind(shared))
        ends = [worker.interrupt() for worker in workers]
    expected, seq, _ = folded(shared)
    assert seq == 4_500
    assert [end["state_hash"] for end in ends] == [expected] * 3


def behind(pipeline: Pipeline) -> list[str]:
    """Users whose list is missing or lacks their last event."""
    last: dict[str, int] = {}
    for _, offset, _, value in read_all(pipeline, pipeline.topic):
        last[json.loads(value)["user_id"]] = offset + 1
    found = pipeline.client.mget([f"{pipeline.prefix}rec:main:{user}" for user in last])
    return [
        user
        for (user, position), value in zip(last.items(), found, strict=True)  # type: ignore[arg-type]  # not async
        if value is None or Version.unpack(value[1:25]).position < position
    ]


async def test_a_leader_that_was_stopped_follows_when_it_goes_on(shared: Pipeline) -> None:
    """Past the session time-out and back: what it writes is void, no list goes back, its state is everybody's."""
    with ExitStack() as stack:
        workers = [stack.enter_context(shared.worker()) for _ in range(2)]
        await shared_out(shared, 2)
        await asyncio.to_thread(shared.send, clicks(1_000, users=200))
        await shared.published(1_000)
        stopped = leader(shared, workers)
        other = next(worker for worker in workers if worker is not stopped)
        await asyncio.to_thread(shared.send, clicks(300, seed=2, users=200))
        stopped.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.to_thread(shared.send, clicks(700, seed=3, users=200))
            await until(lambda: not behind(shared))
        finally:
            stopped.process.send_signal(signal.SIGCONT)
        await until(lambda: "decides the order now (epoch 2)" in other.said)
        await shared_out(shared, 2)
        await asyncio.to_thread(shared.send, clicks(500, seed=4, users=200))
        await shared.published(2_500)
        ends = [worker.interrupt() for worker in workers]
    expected, seq, _ = folded(shared)
    assert seq == 2_500
    assert [end["state_hash"] for end in ends] == [expected] * 2


async def test_partitions_that_are_added_are_read_and_every_user_is_served_through_it(shared: Pipeline) -> None:
    """Users move to other partitions, where offsets begin anew; no worker is started again, and all agree."""
    with ExitStack() as stack:
        workers = [stack.enter_context(shared.worker()) for _ in range(2)]
        await shared_out(shared, 2)
        await asyncio.to_thread(shared.send, clicks(2_000, users=100))
        await shared.published(2_000)
        homes = {user: partition for user, (partition, _) in _last_events(shared).items()}
        admin = KafkaAdminClient(bootstrap_servers=shared.bootstrap)
        admin.create_partitions({shared.topic: 7})
        admin.close()
        await asyncio.to_thread(shared.send, clicks(300, seed=2, users=100))
        last = _last_events(shared)
        moved = {user for user, (partition, _) in last.items() if partition != homes[user]}
        assert len(moved) > 20

        def is_served(user: str) -> bool:
            version, (_, end) = _version(shared, user), last[user]
            return version >= Version(2 if user in moved else 1, end, 0)

        await until(lambda: all(map(is_served, last)))
        await shared_out(shared, 2, partitions=7)
        pids = {status.pid for status in shared.statuses()}
        assert pids == {worker.process.pid for worker in workers}
        await asyncio.to_thread(shared.send, clicks(300, seed=3, users=100))
        last = _last_events(shared)
        await until(lambda: all(map(is_served, last)))
        await shared.published(2_600)
        ends = [worker.interrupt() for worker in workers]
    expected, seq, _ = folded(shared)
    assert seq == 2_600
    assert [end["state_hash"] for end in ends] == [expected] * 2


def _last_events(pipeline: Pipeline) -> dict[str, tuple[int, int]]:
    """By user, the partition of the last event and the offset behind it."""
    events = sorted(read_all(pipeline, pipeline.topic), key=lambda event: (event[2], event[1]))
    return {json.loads(value)["user_id"]: (partition, offset + 1) for partition, offset, _, value in events}


def _version(pipeline: Pipeline, user: str) -> Version:
    value = pipeline.client.get(f"{pipeline.prefix}rec:main:{user}")
    return Version.unpack(value[1:25])  # type: ignore[index]  # the client is not async
