"""A worker as its users run it: a process of its own on a real Kafka and a real Valkey, and what a test asks of it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from kafka import KafkaProducer

from millstream.agents.forked import Forked
from millstream.agents.status import WorkerStatus, read_status, read_workers, status_key, workers_key
from millstream.schemas.records import Slate
from millstream.schemas.slates import decode_slate

_WITHIN_S = 90.0  # kernels are compiled once on a new machine
CTRL_C_WITHIN_S = 5.0
_LARGEST_BYTES = 4 * 1024 * 1024


@dataclass
class Pipeline:
    """One test's own topics, keys and snapshots, and the workers it starts on them."""

    bootstrap: str
    redis_url: str
    prefix: str
    topic: str
    directory: Path
    partitions: int = 1
    effort: str = "full"
    """`full`: the state depends on the events alone, not on how fast they came."""

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "KAFKA__BOOTSTRAP_SERVERS": self.bootstrap,
            "KAFKA__GROUP_ID": self.topic,
            "REDIS__URL": self.redis_url,
            "REDIS__PREFIX": self.prefix,
            "INPUTS": json.dumps([{"topic": self.topic}]),
            "TOPICS__ITEMS": f"{self.topic}.items",
            "TOPICS__ITEM_VECTORS": f"{self.topic}.vectors",
            "TOPICS__RECOMMENDATIONS": f"{self.topic}.recs",
            "TOPICS__DEAD_LETTERS": f"{self.topic}.dlq",
            "TOPICS__MODEL_LOG": f"{self.topic}.order",
            "TOPICS__PARTITIONS": str(self.partitions),
            "SNAPSHOTS__DIRECTORY": str(self.directory / "snapshots"),
            "SNAPSHOTS__EVERY_S": "0.3",
            "WORKER__EFFORT": self.effort,
        }
        outside = {key: value for key, value in os.environ.items() if not key.startswith("MILLSTREAM_")}
        return {**outside, **{f"MILLSTREAM_{key}": value for key, value in own.items()}}

    @property
    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis_url, socket_timeout=1.0)

    def start(self, *command: str) -> Worker:
        """Start a worker, or another program as it is."""
        log = self.directory / f"worker-{time.monotonic_ns()}.log"
        out = log.with_suffix(".out")
        process: Forked | subprocess.Popen[bytes]
        if command:
            with log.open("wb") as said, out.open("wb") as file:
                process = subprocess.Popen(command, env=self.environment, cwd=self.directory, stdout=file, stderr=said)
        else:
            arguments = ("millstream.agents.cli", "worker", "--json")
            process = Forked(arguments, environment=self.environment, cwd=self.directory, out=out, log=log)
        return Worker(process, log, out)

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        worker = self.start()
        try:
            yield worker
        finally:
            worker.kill()

    def send(self, events: Sequence[bytes | None], *, topic: str | None = None) -> None:
        """Return once the broker has all of them, in this order: in one partition, or each in its user's."""
        producer = KafkaProducer(bootstrap_servers=self.bootstrap, linger_ms=5, max_request_size=_LARGEST_BYTES)
        for event in events:
            key = json.loads(event)["user_id"].encode() if self.partitions > 1 and event and topic is None else b"k"
            producer.send(topic or self.topic, value=event, key=key)
        producer.flush()
        producer.close()

    def status(self) -> WorkerStatus | None:
        value = self.client.get(status_key(self.prefix))
        return None if value is None else read_status(bytes(value))  # type: ignore[arg-type]  # the client is not async

    def statuses(self) -> list[WorkerStatus]:
        """Return the statuses of all workers that write one."""
        return read_workers(self.client.hvals(workers_key(self.prefix)), time.time_ns() // 1_000_000)  # type: ignore[arg-type]  # not async

    def slate(self, user_id: str) -> Slate | None:
        value = self.client.get(f"{self.prefix}rec:main:{user_id}")
        if value is None:
            return None
        return decode_slate(bytes(value), list_name="main", user_id=user_id)  # type: ignore[arg-type]  # as above

    async def published(self, records: int) -> None:
        """Return once the lists of so many records are published, by whichever workers."""

        def are_there() -> bool:
            ends: dict[str, int] = {}
            for status in self.statuses():
                for partition, end in status.positions.get(self.topic, {}).items():
                    ends[partition] = max(end, ends.get(partition, 0))
            return sum(ends.values()) >= records

        await until(are_there)

    async def learned(self, records: int) -> WorkerStatus:
        """Return the status once so many records are published."""
        held: list[WorkerStatus] = []

        def is_there() -> bool:
            held[:] = [status] if (status := self.status()) is not None else []
            return bool(held) and held[0].positions.get(self.topic, {}).get("0", 0) >= records

        await until(is_there)
        return held[0]


@dataclass
class Worker:
    process: Forked | subprocess.Popen[bytes]
    log: Path
    out: Path

    @property
    def said(self) -> str:
        return self.log.read_text()

    async def running(self) -> None:
        await until(lambda: "running: Ctrl-C stops" in self.said or self.process.poll() is not None)
        assert self.process.poll() is None, self.said

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> dict[str, Any]:
        """Press Ctrl-C; return the JSON object of the last line. Fails if it takes too long or fails."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(CTRL_C_WITHIN_S) == 0, self.said
        last: dict[str, Any] = json.loads(self.out.read_text().splitlines()[-1])
        return last


async def until(holds: Callable[[], bool]) -> None:
    """Return once a condition holds; fail after a while."""
    async with asyncio.timeout(_WITHIN_S):
        while not holds():
            await asyncio.sleep(0.02)


def clicks(n: int, *, seed: int = 1, users: int = 200) -> list[bytes]:
    chance, now_ms = random.Random(seed), time.time_ns() // 1_000_000
    return [
        json.dumps(
            {"user_id": f"u{chance.randrange(users)}", "item_id": f"i{chance.randrange(50)}", "ts_ms": now_ms + i}
        ).encode()
        for i in range(n)
    ]
