"""Is an input keyed by user? Asked of a sample of its newest records, for `doctor`.

A user's events are learned in the order they came in only within one partition. Were they spread over several, an older
one could be learned after a newer one, so an input not keyed by user should not be used as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kafka import KafkaConsumer, TopicPartition  # type: ignore[import-untyped]  # kafka-python ships no types

from millstream.schemas.decode import InteractionDecoder
from millstream.schemas.mapping import InputMapping

from .settings import Input, Settings

SAMPLE_RECORDS = 400
"""Newest records looked at in each partition."""
_READ_WITHIN_MS = 5_000


@dataclass(frozen=True, slots=True)
class SpreadUser:
    """A user whose events lie in more than one partition of an input, which so is not keyed by user."""

    topic: str
    user_id: str
    partitions: tuple[int, ...]


def spread_users(settings: Settings) -> tuple[SpreadUser, ...]:
    """Return, for each input that is not keyed by user, one user who shows it.

    An input whose sample shows none may still not be keyed by user; one that is returned surely is not. Reads under no
    group, so it moves nobody's offsets. The inputs must exist, and a broker must answer.
    """
    consumer = KafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap_servers.split(","),
        client_id="millstream-doctor",
        group_id=None,
        enable_auto_commit=False,
        consumer_timeout_ms=_READ_WITHIN_MS,
    )
    try:
        found = (_spread_user(consumer, each) for each in settings.inputs)
        return tuple(spread for spread in found if spread is not None)
    finally:
        consumer.close()


def _spread_user(consumer: KafkaConsumer, source: Input) -> SpreadUser | None:
    decoder = InteractionDecoder(InputMapping(source.default_kind, source.fields, source.kinds))
    homes: dict[str, int] = {}
    for partition in sorted(consumer.partitions_for_topic(source.topic) or ()):
        for user_id in set(_newest_users(consumer, decoder, TopicPartition(source.topic, partition))):
            home = homes.setdefault(user_id, partition)
            if home != partition:
                return SpreadUser(source.topic, user_id, (home, partition))
    return None


def _newest_users(consumer: KafkaConsumer, decoder: InteractionDecoder, place: TopicPartition) -> Iterator[str]:
    """Yield the users of the newest records of one partition; what cannot be decoded says nothing about keys."""
    end = consumer.end_offsets([place])[place]
    start = max(consumer.beginning_offsets([place])[place], end - SAMPLE_RECORDS)
    if start >= end:
        return
    consumer.assign([place])
    consumer.seek(place, start)
    records = []
    for record in consumer:  # ends by itself when the last offsets are a transaction's markers and not records
        records.append(record)
        if record.offset >= end - 1:
            break
    columns, _ = decoder.decode(
        [record.value for record in records],
        [record.offset for record in records],
        [record.timestamp for record in records],
        input=place.topic,
        partition=place.partition,
    )
    yield from columns.user_ids
