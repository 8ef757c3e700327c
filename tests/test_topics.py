"""Topic administration against a real broker."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from millstream.streams.errors import BrokerUnreachable
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.local_process import free_ports
from millstream.streams.settings import Settings, load_settings
from millstream.streams.topics import PartitionLag, describe_topics, ensure_topics, lag, topic_ids, topic_specs


@pytest.fixture
def settings(kafka: LocalKafka, topic_name: str) -> Settings:
    """A pipeline whose topics no other test uses."""
    names = ("items", "item_vectors", "recommendations", "dead_letters", "model_log", "control")
    return load_settings(
        kafka={"bootstrap_servers": kafka.bootstrap, "group_id": f"{topic_name}.group"},
        inputs=[{"topic": topic_name}],
        topics={name: f"{topic_name}.{name}" for name in names} | {"partitions": 3, "retention_ms": 86_400_000},
    )


def test_missing_topics_are_created_with_the_settings_each_needs(settings: Settings) -> None:
    """The first call creates all seven topics, and the broker then holds the settings asked for."""
    states = {state.spec.name.removeprefix(settings.inputs[0].topic): state for state in ensure_topics(settings)}
    assert all(state.created and not state.problems for state in states.values())
    assert {name: state.partitions for name, state in states.items()} == {
        "": 3,
        ".items": 3,
        ".item_vectors": 3,
        ".recommendations": 3,
        ".dead_letters": 3,
        ".model_log": 1,
        ".control": 1,
    }
    assert states[""].config == {"cleanup.policy": "delete", "retention.ms": "86400000"}
    assert states[".items"].config["cleanup.policy"] == "compact"
    assert states[".items"].config["min.compaction.lag.ms"] == "86400000"
    assert states[".recommendations"].config == {"cleanup.policy": "compact"}
    assert states[".model_log"].config == {"cleanup.policy": "delete", "retention.ms": "-1"}


def test_creating_twice_changes_nothing(settings: Settings) -> None:
    """The second call creates nothing and sees the same topics, by id."""
    first, second = ensure_topics(settings), ensure_topics(settings)
    assert [state.topic_id for state in first] == [state.topic_id for state in second]
    assert not any(state.created for state in second)


def test_describing_creates_nothing_and_names_what_is_missing(settings: Settings) -> None:
    """Before anything is created every topic is a problem whose remedy is a command."""
    for state in (*describe_topics(settings), *describe_topics(settings)):
        assert not state.exists
        assert state.problems == (f"{state.spec.name} does not exist; `millstream topics` creates it",)


def test_topics_made_otherwise_are_judged_by_what_must_hold(settings: Settings) -> None:
    """A compacted input and a model log of two partitions are named, with the value and the remedy."""
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    events, model_log = settings.inputs[0].topic, settings.topics.model_log
    admin.create_topics(
        {
            events: {"num_partitions": 5, "replication_factor": 1, "configs": {"cleanup.policy": "compact"}},
            model_log: {"num_partitions": 2, "replication_factor": 1, "configs": {"retention.ms": "-1"}},
        },
        wait_for_metadata=True,
    )
    admin.close()
    problems = {state.spec.name: state.problems for state in ensure_topics(settings) if state.problems}
    assert set(problems) == {events, model_log}
    assert "cleanup.policy is compact, must be delete" in problems[events][0]
    assert "has 2 partitions, must have 1" in problems[model_log][0]


def test_inputs_of_unequal_partition_counts_are_named(settings: Settings) -> None:
    """A user's events could not be in the same partition number of both inputs."""
    views = settings.inputs[0].topic + ".views"
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    admin.create_topics({views: {"num_partitions": 2, "replication_factor": 1}}, wait_for_metadata=True)
    admin.close()
    both = settings.model_copy(
        update={"inputs": (*settings.inputs, settings.inputs[0].model_copy(update={"topic": views}))}
    )
    problems = [problem for state in ensure_topics(both) for problem in state.problems]
    assert len(problems) == 2
    assert "has 2 partitions and another input has not" in problems[1]


def test_a_topic_created_again_has_another_id(settings: Settings) -> None:
    """The id tells a re-created topic from the one a snapshot's offsets belong to."""
    name = settings.inputs[0].topic
    ensure_topics(settings)
    before = topic_ids(settings, [name, f"{name}.absent"])
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    admin.delete_topics([name])
    while name in admin.list_topics():
        time.sleep(0.05)  # the broker forgets a deleted topic a moment after it answered
    admin.close()
    ensure_topics(settings)
    after = topic_ids(settings, [name])
    assert list(before) == list(after) == [name]
    assert before != after


def test_lag_is_the_end_minus_what_the_group_committed(settings: Settings) -> None:
    """Ten records in partition 1: nothing committed lags by ten, seven committed by three."""
    name = settings.inputs[0].topic
    ensure_topics(settings)
    producer = KafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers)
    for number in range(10):
        producer.send(name, str(number).encode(), partition=1)
    producer.flush()
    producer.close()
    assert [(each.partition, each.end, each.committed, each.lag) for each in lag(settings)] == [
        (0, 0, None, 0),
        (1, 10, None, 10),
        (2, 0, None, 0),
    ]
    consumer = KafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap_servers, group_id=settings.kafka.group_id, enable_auto_commit=False
    )
    consumer.assign([TopicPartition(name, 1)])
    consumer.commit({TopicPartition(name, 1): OffsetAndMetadata(7, "", -1)})
    consumer.close()
    assert [(each.committed, each.lag) for each in lag(settings)] == [(None, 0), (7, 3), (None, 0)]


def test_lag_counts_only_records_that_are_kept() -> None:
    """What retention removed cannot be read any more, so it is not lag."""
    place = PartitionLag("events", 0, start=100, end=150, committed=40)
    assert place.lag == 50
    assert replace(place, committed=None).lag == 50
    assert replace(place, committed=160).lag == 0


def test_a_topic_named_twice_is_listed_once() -> None:
    """An input that is also named elsewhere keeps its first, stricter role."""
    specs = topic_specs(load_settings(inputs=[{"topic": "a"}, {"topic": "b"}, {"topic": "a"}]))
    assert [spec.name for spec in specs][:2] == ["a", "b"]
    assert len({spec.name for spec in specs}) == len(specs)


def test_no_broker_is_one_clear_line_within_seconds() -> None:
    """The line names the address and what to do, and comes within the few seconds a person waits."""
    (port,) = free_ports(1)
    began = time.monotonic()
    with pytest.raises(BrokerUnreachable, match=f"no Kafka broker answers at 127.0.0.1:{port}; start one with"):
        describe_topics(load_settings(kafka={"bootstrap_servers": f"127.0.0.1:{port}"}))
    assert time.monotonic() - began < 5
