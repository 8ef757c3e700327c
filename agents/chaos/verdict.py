"""What became of a run: the inputs and the order, read by themselves, against what the workers hold and Redis shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson

# kafka-python ships no types
from kafka import KafkaConsumer, TopicPartition  # type: ignore[import-untyped]

from millstream.agents.resume import resume
from millstream.online_learning.order import FollowedOrder, OrderBroken, OrderPosition
from millstream.online_learning.snapshot_remote import open_store
from millstream.online_learning.step import Step
from millstream.schemas.columns import Chunk
from millstream.schemas.decode import InteractionDecoder
from millstream.schemas.mapping import InputMapping
from millstream.schemas.order_records import Claim, decode_order
from millstream.streams.settings import Settings
from millstream.streams.topic_reading import read_to_end

_SHOWN = 5


class Read(NamedTuple):
    """A record of a topic."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """All zero where nothing went wrong."""

    lost: int
    """Events that no worker's state counts, and offsets of the inputs that no record orders."""
    doubled: int
    """Events that count more than once."""
    hash_mismatches: int
    """Workers whose state is not that of a fresh process that folds the inputs in the recorded order."""
    stale_lists: int
    """Users whose list in Redis lacks their last event, or is not there."""
    void: int
    """Records of the order that did not count: what the fence held off. No fault."""
    claims: int
    """Claims that counted. No fault."""
    examples: tuple[str, ...] = ()
    """Of what went wrong, some in words."""


def read_topic(bootstrap: str, topic: str) -> list[Read]:
    """Return all records of a topic, as its partitions have them. Raises as `read_to_end` does."""
    return [
        Read(record.partition, record.offset, record.timestamp, record.key or b"", record.value)
        for record in read_to_end(bootstrap, topic)
    ]


def order_end(bootstrap: str, topic: str) -> int:
    """Return the offset that the order's next record will get."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, group_id=None)
    try:
        place = TopicPartition(topic, 0)
        return int(consumer.end_offsets([place])[place])
    finally:
        consumer.close()


def judge(settings: Settings, summaries: Sequence[Mapping[str, Any]], positions: Mapping[str, int]) -> Verdict:
    """Compare everything; `positions` are those of the users' lists in Redis. Raises as `read_topic` does."""
    bootstrap, topic = settings.kafka.bootstrap_servers, settings.inputs[0].topic
    events = read_topic(bootstrap, topic)
    of_user = _of_user(events)
    order, claims, void, skipped = _followed(read_topic(bootstrap, settings.topics.model_log))
    ends = Counter({place: max(at) + 1 for place, at in _offsets(events).items()})
    uncovered = sum(max(0, end - order.ordered.get((topic, place), 0)) for place, end in ends.items())
    fresh = _folded(settings, order, events)
    expected = fresh.state_hash()
    counted = _counted(resume(settings.learning, open_store(settings.snapshots.directory), [topic]).step)
    stale = {user: last for user, last in _last(events).items() if positions.get(user, 0) < last}
    examples = [
        f"{user}: the list stands at {positions.get(user)}, the last event before {stale[user]}" for user in stale
    ]
    wrong = (of_user - counted) + (counted - of_user)
    examples += [f"{user}: {counted[user]} events count, {of_user[user]} came" for user in wrong]
    return Verdict(
        lost=uncovered + skipped + sum((of_user - counted).values()),
        doubled=sum((counted - of_user).values()),
        hash_mismatches=sum(each["state_hash"] != expected for each in summaries) + (_counted(fresh) != of_user),
        stale_lists=len(stale),
        void=void,
        claims=claims,
        examples=tuple(examples[:_SHOWN]),
    )


def _followed(records: Iterable[Read]) -> tuple[FollowedOrder, int, int, int]:
    """Return the order, and how many claims counted, records did not count, and records left out offsets before."""
    order, claims, void, skipped = FollowedOrder(OrderPosition(), {}), 0, 0, 0
    for read in records:
        record = decode_order(read.value)
        try:
            counts = order.read(read.offset, record)
        except OrderBroken:
            skipped += 1
            continue
        claims += counts and isinstance(record, Claim)
        void += not counts
    return order, claims, void, skipped


def _folded(settings: Settings, order: FollowedOrder, events: Sequence[Read]) -> Step:
    """Return what a process that knows nothing makes of the events in this order."""
    topic = settings.inputs[0].topic
    decoder = InteractionDecoder(InputMapping(settings.inputs[0].default_kind, {}, {}))
    for partition in sorted({read.partition for read in events}):
        own = [read for read in events if read.partition == partition]
        offsets = [read.offset for read in own]
        columns, _ = decoder.decode(
            [read.value for read in own],
            offsets,
            [read.timestamp_ms for read in own],
            input=topic,
            partition=partition,
        )
        order.offer(Chunk(topic, partition, 0, offsets[-1] + 1, columns), len(own))
    step = Step(settings.learning, [topic])
    for part in order.take():
        step.apply(part.chunk, lists=False, train_every=part.train_every)
    return step


def _counted(step: Step) -> Counter[str]:
    """Return how many events of each user a state counts."""
    rows = np.flatnonzero(step.users.is_held[: len(step.users)])
    events = step.model.histories.events
    return Counter({step.users.ids[row]: int(events[row]) for row in rows.tolist()})


def _offsets(events: Iterable[Read]) -> dict[int, list[int]]:
    offsets: dict[int, list[int]] = {}
    for read in events:
        offsets.setdefault(read.partition, []).append(read.offset)
    return offsets


def _counting(events: Iterable[Read]) -> Iterator[Read]:
    """Yield the events that count: of those that carry one id the first, and all that carry none."""
    seen: set[str] = set()
    for read in events:
        event_id = orjson.loads(read.value).get("event_id")
        if event_id not in seen:
            yield read
        if event_id is not None:
            seen.add(event_id)


def _of_user(events: Iterable[Read]) -> Counter[str]:
    """Return by user how many events count."""
    return Counter(read.key.decode() for read in _counting(events))


def _last(events: Iterable[Read]) -> dict[str, int]:
    """Return by user the position behind their last event that counts."""
    return {read.key.decode(): read.offset + 1 for read in _counting(events)}
