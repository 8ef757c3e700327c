"""Reading a topic to its end, for commands: what stands in it now, under no group, so that nobody's offsets move."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer, TopicPartition  # type: ignore[import-untyped]  # kafka-python ships no types

from .errors import BrokerUnreachable, Unavailable
from .kafka_probe import answering_broker

_ANSWER_WITHIN_S = 4.0
_POLL_MS = 500
_STILL_WITHIN_S = 20.0


class NoSuchTopic(Unavailable):
    """The topic to read does not exist."""


class ReadingStopped(Unavailable):
    """The broker gave nothing more before the end was reached."""


def read_to_end(
    bootstrap_servers: str,
    topic: str,
    *,
    start: Mapping[int, int] | None = None,
    on_read: Callable[[int, int], None] = lambda read, end: None,
) -> Iterator[Any]:
    """Yield the committed records of a topic up to what is its end now, in order within each partition.

    With `start`, only those partitions, each from this offset on. `on_read` hears how many offsets have been passed of
    how many. Raises `BrokerUnreachable`, `NoSuchTopic`, `ReadingStopped`.
    """
    with consuming(bootstrap_servers) as consumer:
        partitions = consumer.partitions_for_topic(topic)
        if not partitions:
            raise NoSuchTopic(
                f"there is no topic {topic!r} at {bootstrap_servers}; `millstream topics` creates those of the settings"
            )
        places = [TopicPartition(topic, p) for p in sorted(partitions) if start is None or p in start]
        first, last = consumer.beginning_offsets(places), consumer.end_offsets(places)
        consumer.assign(places)
        for place in places:
            first[place] = max(first[place], 0 if start is None else start[place.partition])
            consumer.seek(place, min(first[place], last[place]))
        end = sum(max(0, last[place] - first[place]) for place in places)
        at = dict(first)
        moved_s = time.monotonic()
        # positions, not records, say when it is over: the last offsets may be a transaction's markers
        while any(at[place] < last[place] for place in places):
            for records in consumer.poll(timeout_ms=_POLL_MS).values():
                yield from records
            before, at = at, {place: consumer.position(place) for place in places}
            on_read(sum(min(at[place], last[place]) - first[place] for place in places), end)
            if at != before:
                moved_s = time.monotonic()
            elif time.monotonic() - moved_s > _STILL_WITHIN_S:
                raise ReadingStopped(
                    f"{topic} at {bootstrap_servers}: nothing more came for {_STILL_WITHIN_S:g} s before its end; see "
                    "whether all its brokers are up, and run this again"
                )


@contextmanager
def consuming(bootstrap_servers: str) -> Iterator[Any]:
    """Give a consumer of no group, with nothing assigned. Raises `BrokerUnreachable`."""
    # asked first, because a client that cannot bootstrap leaves its network thread behind
    if answering_broker(bootstrap_servers, within_s=_ANSWER_WITHIN_S) is None:
        raise BrokerUnreachable.at(bootstrap_servers)
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap_servers.split(","),
        client_id="millstream-reading",
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    try:
        yield consumer
    finally:
        consumer.close()
