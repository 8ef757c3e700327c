"""Where reading begins: at a snapshot's positions, if the topics still hold them, or where the settings say.

PositionLost    the log no longer holds the position to read from
TopicChanged    the topic is not the one the position was taken in
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

# aiokafka ships no types
from aiokafka import TopicPartition  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]

from .consumer import end_consumer, make_consumer
from .errors import BrokerUnreachable, Unavailable
from .settings import Settings
from .topics import ensure_topics

Positions = Mapping[tuple[str, int], int]
"""(topic, partition) to the next offset to read."""

_CONNECT_WITHIN_S = 5.0
_log = logging.getLogger(__name__)


class PositionLost(Unavailable):
    """The log no longer holds the position to read from; the message says what was asked, what is there, the remedy."""


class TopicChanged(Unavailable):
    """A topic was made anew, so that positions taken before do not describe it."""


def start_over(settings: Settings) -> str:
    """Return what an operator does to begin anew."""
    return (
        f"to start over with what the log holds, delete the topic {settings.topics.model_log}, move "
        f"{settings.snapshots.directory} away and set MILLSTREAM_SNAPSHOTS__START to earliest, latest or a time in ms"
    )


async def open_topics(settings: Settings, names: Collection[str]) -> dict[str, tuple[str, int]]:
    """Create what is missing; return the broker's id and the partition count of each of the topics."""
    states = {state.spec.name: state for state in await asyncio.to_thread(ensure_topics, settings)}
    for name in names:
        for problem in states[name].problems:
            _log.warning("%s", problem)
    return {name: (str(states[name].topic_id), states[name].partitions) for name in names}


def check_ids(settings: Settings, now: Mapping[str, str], known: Mapping[str, str]) -> None:
    """Raise `TopicChanged` for a topic that is not the one that positions are known of."""
    for name, topic_id in now.items():
        if known.get(name, topic_id) != topic_id:
            raise TopicChanged(
                f"topic {name} was deleted and created again since the snapshot (its id was {known[name]}, is "
                f"{topic_id}): the snapshot's positions mean nothing in it; {start_over(settings)}"
            )


class Beginning(NamedTuple):
    """Where a state begins that has no snapshot yet."""

    positions: dict[tuple[str, int], int]
    """Of each partition of the inputs."""
    topic_ids: dict[str, str]
    ordered: int
    """Records that the order of events has."""


async def find_beginning(settings: Settings, *, offset: int | None = None) -> Beginning:
    """Return where a worker without a snapshot would begin, with `offset` at that or what is held nearest to it.

    Missing topics are created. Raises `BrokerUnreachable`.
    """
    inputs = [each.topic for each in settings.inputs]
    order = settings.topics.model_log
    opened = await open_topics(settings, [*inputs, settings.topics.items, settings.topics.item_vectors, order])
    consumer = make_consumer(settings.kafka)
    try:
        await asyncio.wait_for(consumer.start(), _CONNECT_WITHIN_S)
        place = TopicPartition(order, 0)
        ordered = (await consumer.end_offsets([place]))[place]
        places = [TopicPartition(name, number) for name in inputs for number in range(opened[name][1])]
        found = await begin_at(consumer, places, settings, {}, continues=False)
        if offset is not None:
            first, last = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
            found = {(each.topic, each.partition): min(max(first[each], offset), last[each]) for each in places}
    except (KafkaError, TimeoutError) as error:
        raise BrokerUnreachable.at(settings.kafka.bootstrap_servers) from error
    finally:
        await end_consumer(consumer)
    return Beginning(found, {name: topic_id for name, (topic_id, _) in opened.items()}, ordered)


async def begin_at(
    consumer: Any, places: Sequence[Any], settings: Settings, resumed: Positions, *, continues: bool
) -> dict[tuple[str, int], int]:
    """Return where each place is to be read from, given the positions known of some.

    With `continues`, a place without a position is new and read from its beginning; so is what is no input. Raises
    `PositionLost`.
    """
    start, inputs = settings.snapshots.start, {each.topic for each in settings.inputs}
    first, last = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    at_time = {}
    if isinstance(start, int) and not continues:
        at_time = await consumer.offsets_for_times(dict.fromkeys(places, start))
    begin: dict[tuple[str, int], int] = {}
    for place in places:
        key = (place.topic, place.partition)
        if key in resumed:
            begin[key] = _checked(settings, place, resumed[key], first[place], last[place])
        elif continues or place.topic not in inputs or start == "earliest":
            begin[key] = first[place]
        else:
            found = at_time.get(place)
            begin[key] = last[place] if found is None else found.offset
    return begin


def _checked(settings: Settings, place: Any, position: int, first: int, last: int) -> int:
    where = f"{place.topic}[{place.partition}]"
    if position < first:
        raise PositionLost(
            f"{where}: the snapshot goes on at offset {position}, but the log now begins at {first}: "
            f"{first - position:,} records were removed unread (retention); {start_over(settings)}"
        )
    if position > last:
        raise PositionLost(
            f"{where}: the snapshot goes on at offset {position}, but the log ends at {last}: records it contains "
            f"are gone from Kafka; {start_over(settings)}"
        )
    return position
