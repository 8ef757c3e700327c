"""The worker as a process, on a real Kafka and a real Valkey: lists come out, and nothing is lost or learned twice."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from kafka import KafkaConsumer
from running import CTRL_C_WITHIN_S, Pipeline, clicks, until

from millstream.streams.catalogue_hash import catalogue_key, titles
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.local_process import free_ports
from millstream.streams.local_redis import LocalRedis


async def test_a_click_becomes_a_list_in_redis_and_on_kafka(pipeline: Pipeline) -> None:
    """From JSON on a topic to the user's list, the popular list, the recommendations topic, titles and dead letters."""
    with pipeline.worker() as worker:
        await worker.running()
        pipeline.send([b'{"item_id":"i1","title":"First"}', b"not json"], topic=f"{pipeline.topic}.items")
        pipeline.send([*clicks(50, users=5), b"not json", b'{"user_id":"ann","item_id":"i1"}'])
        status = await pipeline.learned(52)
        slate = pipeline.slate("ann")
        assert slate is not None
        assert slate.version.position == 52
        await until(lambda: pipeline.slate("") is not None)
        await until(lambda: titles(pipeline.client.hgetall(catalogue_key(pipeline.prefix))) == {"i1": "First"})  # type: ignore[arg-type]  # not async
        assert (status.events, status.dead_letters) == (51, 2)
        await until(lambda: (now := pipeline.status()) is not None and now.state == "running")
        assert status.freshness_ms.p50 is not None
        said = worker.interrupt()
    assert said["events"] == 51
    assert said["dead_letters"] == 2
    assert said["positions"] == {pipeline.topic: {"0": 52}}
    consumer = KafkaConsumer(
        f"{pipeline.topic}.recs",
        bootstrap_servers=pipeline.bootstrap,
        auto_offset_reset="earliest",
        consumer_timeout_ms=3_000,
    )
    assert b"main:ann" in {record.key for record in consumer}
    consumer.close()


async def test_a_worker_that_finds_nothing_new_says_how_far_its_lists_are(pipeline: Pipeline) -> None:
    """Those of all events before its start, from its first status as a running worker on."""
    with pipeline.worker() as worker:
        await worker.running()
        pipeline.send(clicks(50, users=5))
        await pipeline.learned(50)
        worker.interrupt()
    with pipeline.worker() as worker:

        def says_so() -> bool:
            now = pipeline.status()
            ours = now is not None and now.pid == worker.process.pid and now.state == "running"
            return ours and now is not None and now.positions == {pipeline.topic: {"0": 50}} and now.events == 0

        await until(says_so)


async def test_a_killed_worker_goes_on_to_the_same_state(pipeline: Pipeline, tmp_path: Path) -> None:
    """Kill -9 twice on the way: the state hash is that of a worker that read the log undisturbed."""
    parts = [clicks(1_500, seed=seed) for seed in range(3)]
    for part in parts[:2]:
        with pipeline.worker() as worker:
            await worker.running()
            pipeline.send(part)
            await until(lambda: any((pipeline.directory / "snapshots").glob("state-*.snapshot")))
            await until(lambda: pipeline.slate("u1") is not None)
            worker.kill()
    with pipeline.worker() as worker:
        await worker.running()
        assert "resumed from" in worker.said
        pipeline.send(parts[2])
        await pipeline.learned(4_500)
        resumed = worker.interrupt()
    (tmp_path / "undisturbed").mkdir()
    other = Pipeline(
        pipeline.bootstrap, pipeline.redis_url, f"{pipeline.prefix}2:", pipeline.topic, tmp_path / "undisturbed"
    )
    with other.worker() as worker:
        await other.learned(4_500)
        undisturbed = worker.interrupt()
    assert resumed["state_hash"] == undisturbed["state_hash"]
    assert resumed["seq"] == undisturbed["seq"] == 4_500


async def test_lists_made_but_not_published_at_a_crash_are_published_after_it(
    kafka: LocalKafka, prefix: str, topic_name: str, tmp_path: Path
) -> None:
    """A snapshot may contain events whose lists Redis never got: the next start publishes those lists."""
    with LocalRedis() as server:
        pipeline = Pipeline(kafka.bootstrap, server.url, prefix, topic_name, tmp_path)
        with pipeline.worker() as worker:
            await worker.running()
            server.pause()
            pipeline.send([b'{"user_id":"ann","item_id":"i1"}'])
            snapshots = tmp_path / "snapshots"
            await until(lambda: any(snapshots.glob("state-0000000000000001-*.snapshot")))
            worker.kill()
            server.resume()
        # what the killed worker had written into its socket may have got through
        await until(lambda: pipeline.client.ping() is True)
        pipeline.client.delete(f"{prefix}rec:main:ann")
        with pipeline.worker():
            await until(lambda: pipeline.slate("ann") is not None)


async def test_kafka_gone_for_a_while_is_said_and_loses_nothing(
    redis_url: str, prefix: str, topic_name: str, tmp_path: Path
) -> None:
    """The worker waits for a killed broker, says so once and says when it is back, and every event counts once."""
    with LocalKafka() as broker:
        pipeline = Pipeline(broker.bootstrap, redis_url, prefix, topic_name, tmp_path)
        with pipeline.worker() as worker:
            await worker.running()
            pipeline.send(clicks(300))
            await pipeline.learned(300)
            broker.kill()
            gone = f"Kafka at {broker.bootstrap} does not answer: waiting; nothing is lost"
            await until(lambda: gone in worker.said)
            broker.restart()
            await until(lambda: f"Kafka at {broker.bootstrap} is back" in worker.said)
            pipeline.send(clicks(300, seed=2))
            await pipeline.learned(600)
            said = worker.interrupt()
        assert said["events"] == 600
        assert worker.said.count(gone) == 1


async def test_redis_gone_for_a_while_is_said_and_loses_nothing(
    kafka: LocalKafka, prefix: str, topic_name: str, tmp_path: Path
) -> None:
    """Lists wait for a killed Redis, the source stops reading, and afterwards every list is there."""
    with LocalRedis(append_only=True) as server:
        pipeline = Pipeline(kafka.bootstrap, server.url, prefix, topic_name, tmp_path)
        with pipeline.worker() as worker:
            await worker.running()
            pipeline.send(clicks(300))
            await pipeline.learned(300)
            server.kill()
            pipeline.send([*clicks(300, seed=2), b'{"user_id":"ann","item_id":"i1"}'])
            await until(lambda: "does not answer" in worker.said)
            server.restart()
            await pipeline.learned(601)
            said = worker.interrupt()
            assert pipeline.slate("ann") is not None
        assert said["events"] == 601
        assert worker.said.count("Redis at") == 2  # gone, and back
        assert "waiting; nothing is lost" in worker.said


async def test_ctrl_c_in_the_middle_of_a_backlog_ends_in_time(pipeline: Pipeline) -> None:
    """What is not learned within the time stays in the log, and the next worker goes on there."""
    with pipeline.worker() as worker:
        await worker.running()
        pipeline.send(clicks(30_000, users=5_000))
        await pipeline.learned(100)
        first = worker.interrupt()
    assert 0 < first["positions"][pipeline.topic]["0"] == first["seq"] < 30_000
    with pipeline.worker() as worker:
        await worker.running()
        said = worker.said
        second = worker.interrupt()
    assert f"@{first['seq']}" in said
    assert second["seq"] >= first["seq"]


async def test_ctrl_c_while_redis_is_gone_ends_in_time(
    kafka: LocalKafka, prefix: str, topic_name: str, tmp_path: Path
) -> None:
    """Stopping does not wait for what does not answer."""
    with LocalRedis() as server:
        pipeline = Pipeline(kafka.bootstrap, server.url, prefix, topic_name, tmp_path)
        with pipeline.worker() as worker:
            await worker.running()
            server.pause()
            pipeline.send(clicks(10))
            await until(lambda: any((tmp_path / "snapshots").glob("state-*10-*.snapshot")))
            assert worker.interrupt()["seq"] == 10
            server.resume()


@pytest.mark.parametrize("absent", ["kafka", "redis"])
def test_what_is_absent_at_the_start_is_named_in_one_line(pipeline: Pipeline, absent: str) -> None:
    """Exit status 1 within ten seconds, with the address and the remedy and no traceback."""
    port = free_ports(1)[0]
    if absent == "kafka":
        pipeline.bootstrap = f"127.0.0.1:{port}"
    else:
        pipeline.redis_url = f"redis://127.0.0.1:{port}/0"
    worker = pipeline.start()
    assert worker.process.wait(20) == 1
    assert f"127.0.0.1:{port}" in worker.said
    assert "millstream up" in worker.said
    assert "Traceback" not in worker.said
    assert len(worker.said.strip().splitlines()) == 1


async def test_a_start_that_fails_leaves_the_snapshot_as_it_was(pipeline: Pipeline) -> None:
    """What a snapshot says of the order and of topics survives a start without Kafka."""
    with pipeline.worker() as worker:
        await worker.running()
        pipeline.send(clicks(10))
        await pipeline.learned(10)
        worker.interrupt()
    before = {path.name: path.read_bytes() for path in (pipeline.directory / "snapshots").iterdir()}
    pipeline.bootstrap = f"127.0.0.1:{free_ports(1)[0]}"
    failing = pipeline.start()
    assert failing.process.wait(20) == 1
    assert {path.name: path.read_bytes() for path in (pipeline.directory / "snapshots").iterdir()} == before


async def test_faust_runs_the_same_app(pipeline: Pipeline) -> None:
    """`faust -A millstream.agents.app worker` is the worker too."""
    faust = str(Path(sys.executable).with_name("faust"))
    worker = pipeline.start(faust, "-A", "millstream.agents.app", "worker", "-l", "info")
    try:
        pipeline.send([b'{"user_id":"ann","item_id":"i1"}'])
        await until(lambda: pipeline.slate("ann") is not None or worker.process.poll() is not None)
        worker.process.send_signal(signal.SIGINT)
        assert worker.process.wait(CTRL_C_WITHIN_S) == 0, worker.said
    finally:
        worker.kill()
    assert any((pipeline.directory / "snapshots").glob("state-*1-*.snapshot"))
