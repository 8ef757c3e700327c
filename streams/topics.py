"""The topics of a pipeline: which there are, the settings each needs, how they stand, and how far behind we are.

Everything here is for people and for start-up: it asks the broker through kafka-python's admin client, one question at
a time, and nothing on an event's path uses it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

# kafka-python ships no types; what it returns is put into the dataclasses below at once
from kafka import KafkaAdminClient, TopicPartition  # type: ignore[import-untyped]
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec  # type: ignore[import-untyped]
from kafka.errors import (  # type: ignore[import-untyped]  # as above
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    TopicAlreadyExistsError,
)

from .errors import BrokerUnreachable
from .kafka_probe import answering_broker
from .settings import Settings

_ANSWER_WITHIN_S = 4.0
_COORDINATOR_WITHIN_S = 5.0
_FOREVER_MS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic: what it carries, how we create it, and what must hold of it even if somebody else created it."""

    name: str
    purpose: str
    key: str
    """What its records are keyed by."""
    partitions: int
    replication_factor: int
    config: dict[str, str]
    """Settings it is created with."""
    required: tuple[str, ...]
    """Those of `config` that must hold however it came to be."""
    one_partition: bool = False
    """Whether more than one partition would break it (its order is its meaning)."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """One topic as the broker has it. `problems` is empty when it can be used as it is."""

    spec: TopicSpec
    exists: bool
    created: bool = False
    """Whether this call created it."""
    topic_id: str | None = None
    """The broker's UUID of it: a topic deleted and created again under its name has another."""
    partitions: int = 0
    config: dict[str, str] = field(default_factory=dict)
    """The settings in force that `spec.config` names."""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """How far the group's committed offset is behind one partition's end."""

    topic: str
    partition: int
    start: int
    """Offset of the oldest record kept."""
    end: int
    """Offset the next record will get."""
    committed: int | None
    """Next offset the group would read; None if it never committed."""

    @property
    def lag(self) -> int:
        """Records between the group and the end; all that are kept if it never committed."""
        return max(0, self.end - (self.start if self.committed is None else max(self.committed, self.start)))


def topic_specs(settings: Settings) -> tuple[TopicSpec, ...]:
    """Return every topic of a pipeline: the inputs first, each name once."""
    names, kept = settings.topics, str(settings.topics.retention_ms)
    # A rebuild must see the catalogue as its events saw it, so no version of an item or a vector goes before they do.
    kept_versions_ms = str(_FOREVER_MS if settings.topics.retention_ms < 0 else settings.topics.retention_ms)

    def spec(name: str, purpose: str, key: str, config: dict[str, str], *required: str, one: bool = False) -> TopicSpec:
        partitions = 1 if one else names.partitions
        return TopicSpec(name, purpose, key, partitions, names.replication_factor, config, required, one)

    delete, compact = {"cleanup.policy": "delete"}, {"cleanup.policy": "compact"}
    lags = {"min.compaction.lag.ms": kept_versions_ms, "delete.retention.ms": kept_versions_ms}
    kept_forever = delete | {"retention.ms": "-1"}
    specs = [
        # compaction would keep one event a user, so an input must not be compacted; for how long is its owner's choice
        *(
            spec(each.topic, "events in", "user_id", delete | {"retention.ms": kept}, "cleanup.policy")
            for each in settings.inputs
        ),
        spec(names.items, "the catalogue in", "item_id", compact | lags, "cleanup.policy"),
        spec(names.item_vectors, "what items say, encoded", "item_id", compact | lags, "cleanup.policy"),
        spec(names.recommendations, "refreshed lists out", "LIST:USER", compact, "cleanup.policy"),
        spec(names.dead_letters, "what could not be used", "topic-partition-offset", delete | {"retention.ms": kept}),
        spec(names.model_log, "the order of events", "", kept_forever, "cleanup.policy", "retention.ms", one=True),
        spec(names.control, "what operators ask", "", kept_forever, "cleanup.policy", one=True),
    ]
    once: dict[str, TopicSpec] = {}
    for each in specs:
        once.setdefault(each.name, each)
    return tuple(once.values())


@contextmanager
def admin_client(bootstrap_servers: str) -> Iterator[Any]:
    """Open a kafka-python admin client, or raise `BrokerUnreachable` within a few seconds."""
    # asked first, because a client that cannot bootstrap leaves its network thread behind
    if answering_broker(bootstrap_servers, within_s=_ANSWER_WITHIN_S) is None:
        raise BrokerUnreachable.at(bootstrap_servers)
    client = KafkaAdminClient(bootstrap_servers=bootstrap_servers.split(","), client_id="millstream-admin")
    try:
        yield client
    finally:
        client.close()


def ensure_topics(settings: Settings) -> tuple[TopicState, ...]:
    """Create the topics that are missing, and return how all of them stand. Existing topics are left as they are.

    When this returns, every partition of a topic it created has a leader. Raises `BrokerUnreachable`.
    """
    with admin_client(settings.kafka.bootstrap_servers) as client:
        missing = [state.spec for state in _describe(client, topic_specs(settings)) if not state.exists]
        for spec in missing:
            options = {
                "num_partitions": spec.partitions,
                "replication_factor": spec.replication_factor,
                "configs": spec.config,
            }
            with suppress(TopicAlreadyExistsError):  # another process was first, which is as good
                client.create_topics({spec.name: options})
        client.wait_for_topics([spec.name for spec in missing])
        return _describe(client, topic_specs(settings), created={spec.name for spec in missing})


def describe_topics(settings: Settings) -> tuple[TopicState, ...]:
    """Return how every topic of the pipeline stands, changing nothing. Raises `BrokerUnreachable`."""
    with admin_client(settings.kafka.bootstrap_servers) as client:
        return _describe(client, topic_specs(settings))


def topic_ids(settings: Settings, topics: Sequence[str]) -> dict[str, str]:
    """Return the broker's UUID of each topic that exists. Raises `BrokerUnreachable`.

    A snapshot records it: under another id, the offsets it holds mean nothing.
    """
    with admin_client(settings.kafka.bootstrap_servers) as client:
        return {name: str(found["topic_id"]) for name, found in _metadata(client, topics).items()}


def lag(settings: Settings) -> tuple[PartitionLag, ...]:
    """Return the lag of `kafka.group_id` on every partition of every input that exists. Raises `BrokerUnreachable`."""
    with admin_client(settings.kafka.bootstrap_servers) as client:
        found = _metadata(client, [each.topic for each in settings.inputs])
        places = [TopicPartition(name, p) for name, topic in found.items() for p in range(len(topic["partitions"]))]
        if not places:
            return ()
        starts = client.list_partition_offsets(dict.fromkeys(places, OffsetSpec.EARLIEST))
        ends = client.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST))
        committed = _committed(client, settings.kafka.group_id)
        return tuple(
            PartitionLag(place.topic, place.partition, starts[place].offset, ends[place].offset, committed.get(place))
            for place in places
        )


def _metadata(client: Any, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the metadata of those topics that exist, in the order asked."""
    if not names:
        return {}
    found = {topic["name"]: topic for topic in client.describe_topics(list(names)) if topic["error_code"] == 0}
    return {name: found[name] for name in names if name in found}


def _committed(client: Any, group_id: str) -> dict[Any, int]:
    deadline = time.monotonic() + _COORDINATOR_WITHIN_S
    while True:
        try:
            offsets = client.list_group_offsets(group_id)[group_id]
        except (CoordinatorLoadInProgressError, CoordinatorNotAvailableError):
            # a broker nobody ever committed to creates its offsets topic on this very request
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return {place: found.offset for place, found in offsets.items() if found.offset >= 0}


def _describe(client: Any, specs: Sequence[TopicSpec], *, created: set[str] | None = None) -> tuple[TopicState, ...]:
    found = _metadata(client, [spec.name for spec in specs])
    wanted = [
        ConfigResource(ConfigResourceType.TOPIC, spec.name, dict.fromkeys(spec.config))
        for spec in specs
        if spec.name in found
    ]
    configs = client.describe_configs(wanted, config_filter="all")["topic"] if wanted else {}
    input_partitions = {len(found[spec.name]["partitions"]) for spec in specs if spec.name in found and _is_input(spec)}
    states = []
    for spec in specs:
        topic = found.get(spec.name)
        if topic is None:
            problem = f"{spec.name} does not exist; `millstream topics` creates it"
            states.append(TopicState(spec, exists=False, problems=(problem,)))
            continue
        config = {key: str(configs[spec.name][key]["value"]) for key in spec.config}
        partitions = len(topic["partitions"])
        problems = [
            f"{spec.name}: {key} is {config[key]}, must be {spec.config[key]}; change it with "
            f"kafka-configs --alter --topic {spec.name} --add-config {key}={spec.config[key]}"
            for key in spec.required
            if config[key] != spec.config[key]
        ]
        if spec.one_partition and partitions != 1:
            problems.append(
                f"{spec.name} has {partitions} partitions, must have 1; delete it and run `millstream topics`"
            )
        if _is_input(spec) and len(input_partitions) > 1:
            problems.append(
                f"{spec.name} has {partitions} partitions and another input has not: a user's events must be in the "
                "same partition number of every input; create the inputs with equal counts"
            )
        made = spec.name in (created or ())
        states.append(TopicState(spec, True, made, str(topic["topic_id"]), partitions, config, tuple(problems)))
    return tuple(states)


def _is_input(spec: TopicSpec) -> bool:
    return spec.key == "user_id"
