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


_GROUPS = {
    "processes": re.compile(r"\b(subprocess|from running|run_once)\b"),
    "servers": re.compile(r"\b(LocalKafka|LocalRedis|redis_url|free_ports)\b"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the long tests be asked for."""
    parser.addoption("--long", action="store_true", help="Also what takes a minute and shows little that is new.")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave the long tests out unless they are asked for."""
    if item.get_closest_marker("long") and not item.config.getoption("--long"):
        pytest.skip('long: `make test ARGS="--long"` runs it')


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep in one group what starts processes, and in one what needs servers: each runs in one process, in turn."""
    group = _group(item.path)
    if group is not None:
        item.add_marker(pytest.mark.xdist_group(group))


@functools.cache
def _group(module: Path) -> str | None:
    text = module.read_text()
    return next((name for name, words in _GROUPS.items() if words.search(text)), None)


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
