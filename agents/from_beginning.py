"""Reading topics from their beginnings for as long as there is something to follow, through outages and new partitions.

For processes that keep nothing: at each start all of a compacted topic is read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import TopicPartition  # type: ignore[import-untyped]  # it ships no types
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError  # type: ignore[import-untyped]

from millstream.streams.beginnings import open_topics
from millstream.streams.consumer import LOST, end_consumer, make_consumer
from millstream.streams.errors import BrokerUnreachable
from millstream.streams.outage import Outage
from millstream.streams.settings import Settings

_POLL_MS = 200
_RETRY_S = 1.0
"""How long a broker that is gone is left alone."""


class Batch(NamedTuple):
    """What came of the topics since the last one, in order within each partition. Perhaps nothing."""

    records: Sequence[Any]
    """As aiokafka gives them."""
    done: int
    """How many of the offsets that there were when reading began have been passed, …"""
    of: int
    """… and how many there were."""
    anew: bool
    """Whether a topic was made anew: what was read of it before no longer stands."""

    @property
    def caught_up(self) -> bool:
        """Whether all that there was when reading began has been read."""
        return self.done >= self.of


class FromBeginning:
    """Reads topics, creating those that are missing. One event loop owns it.

    Guarantee: each committed record of each partition at least once, in offset order; those of partitions that are
    added, too. An outage is waited out and said once; then reading goes on where it was, or, where a topic is another
    by then, from the beginning of all. A topic that is made anew without an outage is noticed once reading is past its
    end. With `since_ms`, the beginning is the first record that is no older.
    """

    def __init__(self, settings: Settings, topics: Sequence[str], *, at_once: int, since_ms: int | None = None) -> None:
        self._settings = settings
        self._topics = topics
        self._at_once = at_once
        self._since_ms = since_ms
        self._outage = Outage(f"Kafka at {settings.kafka.bootstrap_servers}")
        self._consumer: Any = None
        self._ids: Mapping[str, str] = {}
        self._next: dict[Any, int] = {}
        self._ends: dict[Any, int] = {}
        self._anew = False

    async def batches(self) -> AsyncGenerator[Batch]:
        """Yield batches until cancelled, an empty one when nothing came for a moment.

        Raises `BrokerUnreachable` where there is no Kafka at the first, and `RefusedByBroker`.
        """
        try:
            await self._connect()
            while True:
                try:
                    if self._consumer is None:
                        await self._connect()
                    yield await self._batch()
                except (OffsetOutOfRangeError, NoOffsetForPartitionError):
                    self._ids = {}  # what is next is no longer there
                    await self._disconnect()
                except (*LOST, BrokerUnreachable) as error:
                    self._outage.lost(f"{error!r}; waiting; nothing is lost")
                    await self._disconnect()
                    await asyncio.sleep(_RETRY_S)
        finally:
            await self._disconnect()

    async def _batch(self) -> Batch:
        batches = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=self._at_once)
        records = [record for place in batches for record in batches[place]]
        for place in self._next:
            self._next[place] = await self._consumer.position(place)
        self._outage.back()
        done = sum(min(self._next[place], end) for place, end in self._ends.items())
        batch = Batch(records, done, sum(self._ends.values()), self._anew)
        self._anew = False
        if sum(len(self._consumer.partitions_for_topic(topic) or ()) for topic in self._topics) > len(self._next):
            await self._disconnect()  # partitions were added
        return batch

    async def _connect(self) -> None:
        opened = await open_topics(self._settings, self._topics)
        ids = {topic: opened[topic][0] for topic in self._topics}
        self._consumer = consumer = make_consumer(self._settings.kafka)
        await consumer.start()
        places = [TopicPartition(topic, number) for topic in self._topics for number in range(opened[topic][1])]
        first, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        if self._since_ms is not None:
            found = await consumer.offsets_for_times(dict.fromkeys(places, self._since_ms))
            first = {place: ends[place] if found[place] is None else found[place].offset for place in places}
        goes_on = ids == self._ids
        self._anew = self._anew or bool(self._next and not goes_on)
        self._next = {place: self._next.get(place, first[place]) if goes_on else first[place] for place in places}
        self._ids, self._ends = ids, dict(ends)
        consumer.assign(places)  # no await from here to the last seek
        for place in places:
            consumer.seek(place, self._next[place])

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await end_consumer(consumer)
