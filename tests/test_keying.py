"""Noticing an input that is not keyed by user, on a real broker."""

from __future__ import annotations

import orjson
import pytest
from kafka import KafkaProducer

from millstream.streams.keying import SpreadUser, spread_users
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.settings import Settings, load_settings
from millstream.streams.topics import ensure_topics


@pytest.fixture
def settings(kafka: LocalKafka, topic_name: str) -> Settings:
    """Two inputs of four partitions that no other test uses."""
    found = load_settings(
        kafka={"bootstrap_servers": kafka.bootstrap},
        inputs=[{"topic": topic_name}, {"topic": f"{topic_name}.orders", "fields": {"user_id": "customer"}}],
    )
    ensure_topics(found)
    return found


def _send(settings: Settings, topic: str, places: list[tuple[str, int]], user_field: str = "user_id") -> None:
    producer = KafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers)
    for number, (user, partition) in enumerate(places):
        event = {user_field: user, "item_id": str(number), "ts_ms": 1_790_000_000_000}
        producer.send(topic, orjson.dumps(event), partition=partition)
    producer.send(topic, b"not an event", partition=0)
    producer.flush()
    producer.close()


def test_a_user_in_two_partitions_shows_an_input_not_keyed_by_user(settings: Settings) -> None:
    """Named with the user and both partitions, by the input's own field names; the sound input is not named."""
    events, orders = (each.topic for each in settings.inputs)
    _send(settings, events, [("ann", 0), ("bob", 1), ("ann", 0), ("cid", 3)])
    _send(settings, orders, [("ann", 2), ("bob", 1), ("bob", 3)], user_field="customer")
    assert spread_users(settings) == (SpreadUser(orders, "bob", (1, 3)),)


def test_empty_inputs_show_nothing(settings: Settings) -> None:
    """A new pipeline has no records to judge by, and the question ends at once."""
    assert spread_users(settings) == ()
