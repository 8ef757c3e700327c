"""What integration tests stand on: one real Kafka and one real Valkey a session, and names of a test's own in them."""

from __future__ import annotations

import functools
import re
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Pipeline

from millstream.streams.local_kafka import LocalKafka
from millstream.streams.local_redis import LocalRedis

# a shell starts its background jobs deaf to Ctrl-C, and every process that a test starts would inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)


_AT_SERVERS = re.compile(r"\b(subprocess|LocalKafka|LocalRedis|redis_url|free_ports|from running)\b")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep what needs servers or processes in one group: run in parallel, all of it goes to one process, in turn."""
    if _needs_servers(item.path):
        item.add_marker(pytest.mark.xdist_group("servers"))


@functools.cache
def _needs_servers(module: Path) -> bool:
    return _AT_SERVERS.search(module.read_text()) is not None


@pytest.fixture(scope="session")
def kafka() -> Iterator[LocalKafka]:
    """A running broker, started when the first test asks. Tests that stop or kill a broker start one of their own."""
    with LocalKafka() as broker:
        yield broker


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The address of a running Valkey; a test keeps to keys under its own `prefix`."""
    with LocalRedis() as server:
        yield server.url


@pytest.fixture
def prefix() -> str:
    """A Redis key prefix that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}:"


@pytest.fixture
def topic_name() -> str:
    """A topic name that no other test uses; the topic itself is not created."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def pipeline(kafka: LocalKafka, redis_url: str, prefix: str, topic_name: str, tmp_path: Path) -> Pipeline:
    return Pipeline(kafka.bootstrap, redis_url, prefix, topic_name, tmp_path)
