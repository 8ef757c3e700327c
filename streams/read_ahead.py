"""What was read and is not handed over yet: it waits here, and is cut into a batch when somebody can take it.

RawChunk      what was waiting in one partition, undecoded
RawBatch      chunks that go to one receiver together
ReadAhead     holds the records that wait, and cuts
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RawChunk:
    """The records that were waiting in one partition, as parallel lists in log order, and the offsets they cover.

    `start` is the `end` of the chunk before, so the chunks of a partition join without gaps: records that compaction
    took and the markers of transactions lie inside [start, end) as holes.
    """

    input: str
    partition: int
    start: int
    end: int
    """Offset of the last record plus one."""
    keys: list[bytes | None]
    values: list[bytes | None]
    offsets: list[int]
    timestamps_ms: list[int]

    def __len__(self) -> int:
        return len(self.offsets)


RawBatch = tuple[RawChunk, ...]
"""What was waiting in the partitions that have one receiver, at most a chunk each."""

Deliver = Callable[[RawBatch], Awaitable[object]]


class ReadAhead:
    """Records by place (a `TopicPartition`), cut by turns: whose turn came longest ago comes first.

    The chunks of a place join without gaps, from what `next_offsets` says at the start.
    """

    def __init__(self, receivers: Mapping[str, Deliver], most: int) -> None:
        self.next_offsets: dict[tuple[str, int], int] = {}
        """Next offset to deliver, by (topic, partition): the end of the last chunk cut."""
        self.came = asyncio.Event()
        """Set while something waits."""
        self._receivers = receivers
        self._most = most
        self._records: dict[Any, list[Any]] = {}

    def __len__(self) -> int:
        """Records that wait."""
        return sum(map(len, self._records.values()))

    def __contains__(self, place: object) -> bool:
        """Whether something waits of the place."""
        return place in self._records

    def add(self, place: Any, records: Sequence[Any]) -> None:
        """Add records that follow those added before."""
        self._records.setdefault(place, []).extend(records)
        self.came.set()

    def go_back(self, place: Any, offset: int) -> None:
        """Drop what waits of a place; what is added next is read from `offset` on."""
        self._records.pop(place, None)
        self.next_offsets[place.topic, place.partition] = offset
        if not self._records:
            self.came.clear()

    def cut(self) -> tuple[Deliver, RawBatch]:
        """Return all that waits for the receiver whose turn it is, at most `most` records. Something must wait."""
        receiver = self._receivers[next(iter(self._records)).topic]
        room = self._most
        batch: list[RawChunk] = []
        for place in [each for each in self._records if self._receivers[each.topic] is receiver]:
            if room == 0:
                break
            records = self._records.pop(place)
            if len(records) > room:
                self._records[place] = records[room:]
                del records[room:]
            room -= len(records)
            batch.append(self._chunk(place, records))
        if not self._records:
            self.came.clear()
        return receiver, tuple(batch)

    def _chunk(self, place: Any, records: Sequence[Any]) -> RawChunk:
        key = (place.topic, place.partition)
        start, offsets = self.next_offsets[key], [record.offset for record in records]
        if offsets[0] < start:
            raise RuntimeError(f"{place.topic}[{place.partition}]: read offset {offsets[0]} again, expected {start} on")
        end = self.next_offsets[key] = offsets[-1] + 1
        return RawChunk(
            input=place.topic,
            partition=place.partition,
            start=start,
            end=end,
            keys=[record.key for record in records],
            values=[record.value for record in records],
            offsets=offsets,
            timestamps_ms=[record.timestamp for record in records],
        )
