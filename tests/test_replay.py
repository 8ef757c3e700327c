"""A log onto real Kafka: every event once, in order, where a Java client would put it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition  # type: ignore[import-untyped]  # it ships no types
from aiokafka.partitioner import DefaultPartitioner  # type: ignore[import-untyped]

from millstream.agents.replay import _pace, replay
from millstream.schemas.columns import InteractionColumns
from millstream.schemas.decode import InteractionDecoder
from millstream.schemas.mapping import InputMapping
from millstream.schemas.records import Kind
from millstream.streams.errors import BrokerUnreachable
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.topics import admin_client

T = time.time_ns() // 1_000_000 - 3_600_000  # a broker deletes what is older than its retention
WITHIN_S = 60


def columns_of(n: int, users: int = 37, step_ms: int = 1) -> InteractionColumns:
    """Return n events, one every `step_ms`, by users in turn."""
    ts_ms = T + step_ms * np.arange(n, dtype=np.int64)
    return InteractionColumns(
        user_ids=[f"u{row % users}" for row in range(n)],
        item_ids=[f"i{row}" for row in range(n)],
        kinds=np.full(n, Kind.purchase, np.int8),
        ts_ms=ts_ms,
        values=np.where(np.arange(n) % 2 == 0, np.nan, np.arange(n) / 7),
        as_of_ms=ts_ms,
        offsets=np.arange(n, dtype=np.int64),
    )


@pytest.fixture
def topic(kafka: LocalKafka, topic_name: str) -> str:
    """A new topic of three partitions."""
    return create(kafka, topic_name, 3)


def create(kafka: LocalKafka, name: str, partitions: int) -> str:
    """Create a topic and return its name."""
    with admin_client(kafka.bootstrap) as client:
        client.create_topics({name: {"num_partitions": partitions, "replication_factor": 1}})
        client.wait_for_topics([name])
    return name


async def records_of(kafka: LocalKafka, topic: str, partitions: int = 3) -> dict[int, list[Any]]:
    """Return every record of a topic, by partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        places = [TopicPartition(topic, partition) for partition in range(partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        found: dict[int, list[Any]] = {partition: [] for partition in range(partitions)}
        async with asyncio.timeout(WITHIN_S):
            while sum(map(len, found.values())) < sum(ends.values()):
                for place, records in (await consumer.getmany(timeout_ms=200)).items():
                    found[place.partition] += records
        return found
    finally:
        await consumer.stop()


def decoded(records: list[Any]) -> InteractionColumns:
    """Return the columns that a worker makes of a partition's records."""
    columns, rejects = InteractionDecoder(InputMapping()).decode(
        [record.value for record in records],
        [record.offset for record in records],
        [record.timestamp for record in records],
        input="interactions",
        partition=0,
    )
    assert rejects == []
    return columns


async def test_replayed_log_decodes_to_the_same_columns(kafka: LocalKafka, topic_name: str) -> None:
    """Through one partition, a log comes back bit for bit: ids, kinds, times, values, record times and offsets."""
    sent = columns_of(3_000)
    report = await replay(sent, bootstrap=kafka.bootstrap, topic=create(kafka, topic_name, 1))
    assert (report.events, report.acknowledged, report.stopped) == (3_000, 3_000, False)
    assert report.partitions == {0: 3_000}
    found = decoded((await records_of(kafka, topic_name, 1))[0])
    assert (found.user_ids, found.item_ids) == (sent.user_ids, sent.item_ids)
    for name in ("kinds", "ts_ms", "values", "as_of_ms", "offsets"):
        assert getattr(found, name).tobytes() == getattr(sent, name).tobytes(), name


async def test_each_user_is_on_the_partition_of_its_key_in_log_order(kafka: LocalKafka, topic: str) -> None:
    """Records are keyed by user, users do not straddle partitions, and each partition keeps the log's order."""
    sent = columns_of(5_000)
    report = await replay(sent, bootstrap=kafka.bootstrap, topic=topic)
    found = await records_of(kafka, topic)
    assert report.partitions == {partition: len(records) for partition, records in found.items()}
    rows = []
    for partition, records in found.items():
        places = [int(json.loads(record.value)["item_id"][1:]) for record in records]
        assert places == sorted(places)
        rows += places
        for record in records:
            assert record.key == json.loads(record.value)["user_id"].encode()
            assert DefaultPartitioner()(record.key, [0, 1, 2], [0, 1, 2]) == partition
    assert sorted(rows) == list(range(5_000))


@pytest.mark.parametrize(
    ("key", "murmur2"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"abc", 479470107),
    ],
)
def test_partitioner_is_the_java_client_s(key: bytes, murmur2: int) -> None:
    """The hashes are those that Kafka's own tests (UtilsTest.testMurmur2) expect."""
    partitions = list(range(1_000))
    assert DefaultPartitioner()(key, partitions, partitions) == (murmur2 & 0x7FFFFFFF) % 1_000


async def test_hooks_tell_the_place_and_time_of_every_event(kafka: LocalKafka, topic: str) -> None:
    """Each event's partition and offset are where the broker has it; send times lie within the replay."""
    sent = columns_of(2_000)
    told: list[tuple[int, int, int, int]] = []
    counts: list[int] = []
    before_ns = time.monotonic_ns()
    await replay(
        sent,
        bootstrap=kafka.bootstrap,
        topic=topic,
        rate=20_000,
        on_sent=counts.append,
        on_event=lambda *place: told.append(place),
    )
    after_ns = time.monotonic_ns()
    found = await records_of(kafka, topic)
    assert sorted(row for row, *_ in told) == list(range(2_000))
    for row, partition, offset, sent_ns in told:
        assert json.loads(found[partition][offset].value)["item_id"] == f"i{row}"
        assert before_ns < sent_ns < after_ns
    for partition in found:
        offsets = [offset for _, where, offset, _ in told if where == partition]
        assert offsets == sorted(offsets)
    assert counts == sorted(counts)
    assert counts[-1] == 2_000


def test_rate_offers_evenly_and_speed_keeps_the_log_s_pace() -> None:
    """How many events are due after so many seconds, by hand."""
    log = columns_of(5, step_ms=1_000)
    by_rate = _pace(log, 10.0, None)
    assert [by_rate(elapsed_s) for elapsed_s in (0.0, 0.05, 0.11, 1.01)] == [1, 1, 2, 11]
    by_speed = _pace(log, None, 2.0)
    assert [by_speed(elapsed_s) for elapsed_s in (0.0, 0.4, 0.5, 1.6, 9.0)] == [1, 1, 2, 4, 5]
    assert _pace(log, None, None)(0.0) == 5


async def test_rate_holds_events_back(kafka: LocalKafka, topic: str) -> None:
    """At 500 a second, 250 events take about half a second, never less."""
    report = await replay(columns_of(250), bootstrap=kafka.bootstrap, topic=topic, rate=500)
    assert report.acknowledged == 250
    assert report.elapsed_s >= 249 / 500


async def test_stop_ends_with_what_is_on_its_way(kafka: LocalKafka, topic: str) -> None:
    """A stopped replay reports exactly the events the broker has, which are the first of the log."""
    stop = asyncio.Event()

    def stop_after(count: int) -> None:
        if count >= 100:
            stop.set()

    report = await replay(
        columns_of(50_000), bootstrap=kafka.bootstrap, topic=topic, rate=2_000, on_sent=stop_after, stop=stop
    )
    found = await records_of(kafka, topic)
    rows = sorted(int(json.loads(record.value)["item_id"][1:]) for records in found.values() for record in records)
    assert report.stopped
    assert 100 <= report.acknowledged < 50_000
    assert report.partitions == {partition: len(records) for partition, records in found.items()}
    assert len(rows) == report.acknowledged


async def test_error_in_a_hook_ends_the_replay(kafka: LocalKafka, topic: str) -> None:
    """A caller's own error reaches the caller."""

    def fail(count: int) -> None:
        raise LookupError(str(count))

    with pytest.raises(LookupError):
        await replay(columns_of(10), bootstrap=kafka.bootstrap, topic=topic, on_sent=fail)


async def test_absent_broker_is_one_clear_error() -> None:
    """No broker: the address is named, and nothing hangs."""
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:9"):
        await replay(columns_of(1), bootstrap="127.0.0.1:9", topic="t")


@pytest.mark.parametrize(("rate", "speed"), [(1.0, 1.0), (0.0, None), (None, -1.0)])
async def test_impossible_pace_is_refused(rate: float | None, speed: float | None) -> None:
    """Two paces at once, or one that never moves, fail before anything is sent."""
    with pytest.raises(ValueError, match="rate="):
        await replay(columns_of(1), bootstrap="127.0.0.1:9", topic="t", rate=rate, speed=speed)


Command = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def command(kafka: LocalKafka, tmp_path: Path) -> Iterator[Command]:
    """Starts `millstream replay` in a process of its own, which does not outlive the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "millstream.agents.cli", "replay", *arguments],
                env=os.environ | {"MILLSTREAM_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap},
                cwd=tmp_path,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
        return started[-1]

    yield start
    for process in started:
        with process:
            process.kill()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of 2,000 events and one broken line."""
    path = tmp_path / "log.jsonl"
    lines = [json.dumps({"user": f"u{row % 9}", "item": row, "ts": T + row, "session": "s"}) for row in range(2_000)]
    path.write_text("\n".join([*lines, "broken"]))
    return path


async def test_command_replays_once_and_asks_before_it_adds(
    kafka: LocalKafka, command: Command, topic: str, log: Path
) -> None:
    """The last line is one JSON object; a second time needs --yes; what rides along arrives under our names."""
    first = command(str(log), "--topic", topic, "--json")
    out, err = first.communicate(timeout=WITHIN_S)
    assert first.returncode == 0, err
    said = json.loads(out.splitlines()[-1])
    assert (said["topic"], said["events"], said["acknowledged"], said["left_out"]) == (topic, 2_000, 2_000, 1)
    assert "log.jsonl:2001: " in err
    again = command(str(log), "--topic", topic)
    _, err = again.communicate(timeout=WITHIN_S)
    assert again.returncode == 1
    assert "2,000 records" in err
    assert "--yes" in err
    more = command(str(log), "--topic", topic, "--yes", "--limit", "5")
    out, err = more.communicate(timeout=WITHIN_S)
    assert more.returncode == 0, err
    assert "5 of 5 events acknowledged" in out
    found = [record for records in (await records_of(kafka, topic)).values() for record in records]
    assert len(found) == 2_005
    assert {json.loads(record.value)["session_id"] for record in found} == {"s"}


async def test_ctrl_c_says_how_many_were_acknowledged(
    kafka: LocalKafka, command: Command, topic: str, log: Path
) -> None:
    """An interrupted replay ends by itself, and its count is what the topic holds."""
    process = command(str(log), "--topic", topic, "--rate", "100", "--json")
    async with asyncio.timeout(WITHIN_S):
        while not any((await records_of(kafka, topic)).values()):
            assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 130, err
    said = json.loads(out.splitlines()[-1])
    assert said["stopped"]
    assert said["acknowledged"] == sum(map(len, (await records_of(kafka, topic)).values()))


def test_missing_topic_is_named_with_the_remedy(command: Command, topic_name: str, log: Path) -> None:
    """Replay creates no topic by accident."""
    process = command(str(log), "--topic", topic_name)
    _, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 1
    assert topic_name in err
    assert "millstream topics" in err


def test_two_paces_are_bad_usage(command: Command, log: Path) -> None:
    """--speed and --rate together are refused with exit status 2."""
    process = command(str(log), "--speed", "2", "--rate", "5")
    process.communicate(timeout=WITHIN_S)
    assert process.returncode == 2
