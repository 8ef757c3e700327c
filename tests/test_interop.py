"""Any client can take part: the README's own snippets, run as they stand, against a real worker.

Only names are changed before a snippet is run: the addresses, the topics and the Redis prefix are the test's own.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from confluent_kafka import Consumer
from kafka import KafkaProducer
from running import Pipeline, until

from millstream.streams.kafka_jars import kafka_classpath
from millstream.streams.local_kafka import LocalKafka

_ROOT = Path(__file__).parents[1]
_WITHIN_S = 60.0

needs_kcat = pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed (apt-get install kcat)")
needs_java = pytest.mark.skipif(shutil.which("javac") is None, reason="no JDK on the path")
needs_redis_cli = pytest.mark.skipif(
    shutil.which("redis-cli") is None, reason="redis-cli is not installed (apt-get install redis-tools)"
)


@pytest.fixture(scope="module")
def pipeline(kafka: LocalKafka, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A pipeline whose worker runs for the whole module."""
    folder = tmp_path_factory.mktemp("interop")
    topic = f"test-{folder.name}-{time.monotonic_ns()}"
    own = Pipeline(kafka.bootstrap, redis_url, f"{topic}:", topic, folder)
    with own.worker() as worker:
        asyncio.run(worker.running())
        yield own


def snippet(label: str) -> str:
    """Return the first code block of the README after the bold `label`."""
    readme = (_ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^\*\*{re.escape(label)}\*\*.*?^```\w*\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert found is not None, f"README.md has no code block after **{label}**"
    return found[1]


def adapted(code: str, pipeline: Pipeline, user: str) -> str:
    """Return a snippet with the test's own names in it, about `user` instead of user 42."""
    port = urlsplit(pipeline.redis_url).port
    names = {
        "127.0.0.1:9092": pipeline.bootstrap,
        "redis://127.0.0.1:6379/0": pipeline.redis_url,
        "port=6379": f"port={port}",
        "-p 6379": f"-p {port}",
        "rec:main:": f"{pipeline.prefix}rec:main:",
        "STREAMS recs": f"STREAMS {pipeline.prefix}recs",
        '"interactions"': f'"{pipeline.topic}"',
        "-t interactions": f"-t {pipeline.topic}",
        "-t recommendations": f"-t {pipeline.topic}.recs",
    }
    code = re.sub(r"\b42\b", user, code)  # first: a port may hold the number
    for theirs, ours in names.items():
        code = code.replace(theirs, ours)
    return code


def run(command: list[str], **options: Any) -> str:
    """Run a command to its end and return what it printed; fail with what it complained of."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=_WITHIN_S, cwd=_ROOT, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def listed(pipeline: Pipeline, user: str, item: str) -> None:
    """Return once the user's list has the item."""

    def is_there() -> bool:
        slate = pipeline.slate(user)
        return slate is not None and item in {place.item_id for place in slate.items}

    await until(is_there)


@needs_kcat
async def test_an_event_from_kcat_becomes_a_list(pipeline: Pipeline) -> None:
    """The README's two shell lines."""
    run(["bash", "-c", adapted(snippet("kcat"), pipeline, "kcat-user")])
    await listed(pipeline, "kcat-user", "i7")


async def test_an_event_from_confluent_kafka_becomes_a_list(pipeline: Pipeline) -> None:
    """The README's Python lines for confluent-kafka."""
    run([sys.executable, "-c", adapted(snippet("confluent-kafka"), pipeline, "confluent-user")])
    await listed(pipeline, "confluent-user", "i8")


async def test_an_event_from_kafka_python_becomes_a_list(pipeline: Pipeline) -> None:
    """The README's Python lines for kafka-python."""
    run([sys.executable, "-c", adapted(snippet("kafka-python"), pipeline, "kafka-python-user")])
    await listed(pipeline, "kafka-python-user", "i9")


@needs_java
async def test_an_event_from_java_becomes_a_list(pipeline: Pipeline, tmp_path: Path) -> None:
    """The README's three lines in a class, with the jars that Apache Kafka itself ships."""
    source = tmp_path / "Click.java"
    source.write_text(
        "import java.util.Map;\n"
        "import org.apache.kafka.clients.producer.*;\n"
        "import org.apache.kafka.common.serialization.StringSerializer;\n"
        "class Click { public static void main(String[] none) {\n"
        + adapted(snippet("Java"), pipeline, "java-user")
        + "} }\n"
    )
    run(["java", "-cp", kafka_classpath(), str(source)])
    await listed(pipeline, "java-user", "i10")


async def test_avro_single_object_messages_become_lists(pipeline: Pipeline) -> None:
    """What the README's fastavro lines make is taken from confluent-kafka and from kafka-python alike."""
    made: dict[str, Any] = {}
    exec(adapted(snippet("Avro"), pipeline, "avro-user").replace("schemas/", f"{_ROOT}/schemas/"), made)
    assert made["message"][:2] == b"\xc3\x01"
    producer = KafkaProducer(bootstrap_servers=pipeline.bootstrap)
    producer.send(pipeline.topic, key=b"avro-user", value=made["message"]).get(timeout=_WITHIN_S)
    producer.close()
    await listed(pipeline, "avro-user", "i11")
    confluent = adapted(snippet("confluent-kafka"), pipeline, "avro-user")
    other = made["message"].replace(b"i11", b"i99")
    exec(re.sub(r"value='.*'\)", "value=message)", confluent), {"message": other})
    await listed(pipeline, "avro-user", "i99")


@needs_kcat
async def test_avro_from_a_file_through_kcat_becomes_a_list(pipeline: Pipeline, tmp_path: Path) -> None:
    """The README's kcat line for a file that holds one message."""
    made: dict[str, Any] = {}
    exec(adapted(snippet("Avro"), pipeline, "file-user").replace("schemas/", f"{_ROOT}/schemas/"), made)
    (tmp_path / "event.avro").write_bytes(made["message"])
    line = re.search(r"`(kcat [^`]* event\.avro)`", (_ROOT / "README.md").read_text(encoding="utf-8"))
    assert line is not None
    run(["bash", "-c", adapted(line[1], pipeline, "file-user").replace("event.avro", str(tmp_path / "event.avro"))])
    await listed(pipeline, "file-user", "i11")


async def test_a_list_is_read_with_a_socket_and_a_json_decoder(pipeline: Pipeline) -> None:
    """`GET` by hand and the value by the documented layout: no class of ours, no Redis client."""
    pipeline.send([b'{"user_id": "raw-user", "item_id": "i1"}', b'{"user_id": "raw-user", "item_id": "i2"}'])
    await listed(pipeline, "raw-user", "i2")
    value = raw_get(pipeline.redis_url, f"{pipeline.prefix}rec:main:raw-user".encode())
    assert value[:1] == b"\x02"
    generation, position, revision = (int.from_bytes(value[at : at + 8], "big") for at in (1, 9, 17))
    slate = json.loads(value[25:])
    as_of_ms, generated_ms, items = slate["as_of_ms"], slate["generated_ts_ms"], slate["items"]
    assert slate["slate_id"] == f"raw-user@{generation}.{position}.{revision}"
    assert 0 < as_of_ms <= generated_ms + 1_000
    assert {item[0] for item in items} >= {"i1", "i2"}
    scores = [score for _, score, _, _ in items]
    assert scores == sorted(scores, reverse=True)
    for _, score, reasons, propensity in items:
        assert sum(contribution for _, contribution, _ in reasons) == pytest.approx(score)
        assert propensity is None


async def test_the_readme_reads_a_list_with_a_plain_redis_client(pipeline: Pipeline) -> None:
    """The README's lines, as they stand."""
    pipeline.send([b'{"user_id": "plain-user", "item_id": "i1"}'])
    await listed(pipeline, "plain-user", "i1")
    code = adapted(snippet("With any Redis client"), pipeline, "plain-user")
    assert "i1" in run([sys.executable, "-c", code])


async def test_the_readme_reads_a_list_with_the_reader(pipeline: Pipeline) -> None:
    """The README's four lines, given this test's prefix."""
    pipeline.send([b'{"user_id": "reader-user", "item_id": "i1"}'])
    await listed(pipeline, "reader-user", "i1")
    code = adapted(snippet("In Python"), pipeline, "reader-user")
    code = code.replace(f'"{pipeline.redis_url}"', f'"{pipeline.redis_url}", "{pipeline.prefix}"')
    said = run([sys.executable, "-c", code])
    assert "'i1'" in said
    assert said.split()[-1] == "None"


@needs_redis_cli
async def test_the_feed_is_a_plain_xread(pipeline: Pipeline) -> None:
    """The README's redis-cli line shows the pointer of a list that was refreshed."""
    pipeline.send([b'{"user_id": "feed-user", "item_id": "i1"}'])
    await listed(pipeline, "feed-user", "i1")
    code = adapted(snippet("The feed"), pipeline, "feed-user").replace("COUNT 10", "COUNT 1000")
    assert "main:feed-user" in run(["bash", "-c", code])


async def test_a_waiting_xread_hears_of_a_refreshed_list(pipeline: Pipeline) -> None:
    """A reader that blocks on the feed gets the key of the list and its 24 bytes of version."""
    heard: list[Any] = []
    ready = threading.Event()

    def follow() -> None:
        client = pipeline.client
        last = client.xrevrange(f"{pipeline.prefix}recs", count=1)
        last_id: Any = last[0][0] if last else "0"  # type: ignore[index]  # the client is not async
        ready.set()
        while not any(fields[b"k"] == b"main:waiting-user" for _, fields in heard):
            for _, entries in client.xread({f"{pipeline.prefix}recs": last_id}, block=500):  # type: ignore[union-attr]
                heard.extend(entries)
                last_id = entries[-1][0]

    following = asyncio.create_task(asyncio.to_thread(follow))
    await asyncio.to_thread(ready.wait, _WITHIN_S)
    pipeline.send([b'{"user_id": "waiting-user", "item_id": "i1"}'])
    await asyncio.wait_for(following, _WITHIN_S)
    versions = {fields[b"k"]: fields[b"v"] for _, fields in heard}
    assert len(versions[b"main:waiting-user"]) == 24


async def test_recommendations_are_read_by_a_confluent_consumer(pipeline: Pipeline) -> None:
    """The topic carries JSON keyed `LIST:USER`, with the same items as the list in Redis."""
    pipeline.send([b'{"user_id": "topic-user", "item_id": "i1"}'])
    await listed(pipeline, "topic-user", "i1")
    consumer = Consumer(
        {
            "bootstrap.servers": pipeline.bootstrap,
            "group.id": f"{pipeline.topic}.reader",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([f"{pipeline.topic}.recs"])
    found: dict[str, Any] = {}

    def read() -> None:
        deadline_s = time.monotonic() + _WITHIN_S
        while "topic-user" not in found and time.monotonic() < deadline_s:
            message = consumer.poll(1.0)
            if message is not None and message.error() is None and message.key() == b"main:topic-user":
                found["topic-user"] = json.loads(message.value() or b"")

    await asyncio.to_thread(read)
    consumer.close()
    slate = pipeline.slate("topic-user")
    assert slate is not None
    told = found["topic-user"]
    assert [item[0] for item in told["items"]] == [item.item_id for item in slate.items]
    assert told["version"] == [slate.version.generation, slate.version.position, slate.version.revision]


@needs_kcat
async def test_recommendations_are_read_by_kcat(pipeline: Pipeline) -> None:
    """The README's kcat line prints a key and a JSON object a list."""
    pipeline.send([b'{"user_id": "kcat-reader", "item_id": "i1"}'])
    await listed(pipeline, "kcat-reader", "i1")
    code = adapted(snippet("On Kafka"), pipeline, "kcat-reader")
    lines: list[str] = []

    def is_there() -> bool:  # Kafka has a list a moment after Redis
        lines[:] = run(["bash", "-c", code]).splitlines()
        return any(line.startswith("main:kcat-reader {") for line in lines)

    await until(is_there)
    told = json.loads(next(line for line in lines if line.startswith("main:kcat-reader ")).partition(" ")[2])
    assert told["user_id"] == "kcat-reader"


def raw_get(url: str, key: bytes) -> bytes:
    """Return the value of a key by writing the protocol ourselves."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname or "", where.port or 0), timeout=5) as connection:
        connection.sendall(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(key), key))
        stream = connection.makefile("rb")
        header = stream.readline()
        assert header[:1] == b"$", header
        return stream.read(int(header[1:]))
