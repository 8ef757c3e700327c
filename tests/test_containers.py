"""The same in containers, where a Docker daemon answers: topics on a Kafka and a PING to a Redis from Docker images."""

from __future__ import annotations

import subprocess

import pytest

from millstream.streams.settings import load_settings
from millstream.streams.topics import ensure_topics, lag


def _why_no_docker() -> str:
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, text=True, timeout=20)
    except FileNotFoundError:
        return "docker is not installed"
    except subprocess.TimeoutExpired:
        return "the Docker daemon does not answer"
    return "" if done.returncode == 0 else f"no Docker daemon: {done.stderr.strip().splitlines()[-1]}"


WHY_NOT = _why_no_docker()
pytestmark = [pytest.mark.docker, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "Docker answers")]


def test_topics_are_created_on_a_broker_in_a_container(topic_name: str) -> None:
    """Nothing here depends on the broker being the one this project starts itself."""
    from testcontainers.community.kafka import KafkaContainer

    with KafkaContainer().with_kraft() as kafka:
        settings = load_settings(
            kafka={"bootstrap_servers": kafka.get_bootstrap_server()}, inputs=[{"topic": topic_name}]
        )
        states = ensure_topics(settings)
        assert all(state.created and not state.problems for state in states)
        assert [each.lag for each in lag(settings)] == [0, 0, 0, 0]


def test_a_redis_in_a_container_answers() -> None:
    """The serving side's client speaks to Redis proper as it does to Valkey."""
    from testcontainers.community.redis import RedisContainer

    with RedisContainer("redis:7-alpine") as container:
        assert container.get_client().ping()
