"""Order records: what load and interleaving decided, so that the same inputs give the same state again.

Which partition's events came next, and how much effort each run of events got, follow from timing, not from the log.
They are inputs of their own: one small record a slice, on disk before any list that depends on it is published.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import msgspec
import numpy as np

from millstream.schemas.columns import Chunk


class OrderRecord(msgspec.Struct, frozen=True, array_like=True):
    """One slice as it was applied: the offsets [start, end) of a partition, with one event in `train_every` trained."""

    input: str
    partition: int
    start: int
    end: int
    train_every: int


class RecordedOrder:
    """Gives chunks back in a recorded order, whatever order and sizes they come in now.

    A chunk that is ahead of the record waits. Once the records are used up, what waits follows partition by partition,
    and everything after it passes straight through; `followed` says so.
    """

    def __init__(self, records: Iterable[OrderRecord]) -> None:
        self._records = deque(records)
        self._waiting: dict[tuple[str, int], deque[Chunk]] = {}

    @property
    def followed(self) -> bool:
        """Whether every record has been used and nothing waits."""
        return not self._records

    @property
    def remaining(self) -> list[OrderRecord]:
        """Records whose events have not come yet."""
        return list(self._records)

    def take(self, chunk: Chunk) -> Iterator[tuple[Chunk, int | None]]:
        """Yield the chunks that can be applied now, each with its recorded `train_every`; None: yours to choose."""
        self._waiting.setdefault((chunk.input, chunk.partition), deque()).append(chunk)
        while self._records and (part := self._next_part(self._records[0])) is not None:
            record = self._records[0]
            if part.end < record.end:
                self._records[0] = msgspec.structs.replace(record, start=part.end)
            else:
                self._records.popleft()
            yield part, record.train_every
        if not self._records:
            for chunks in self._waiting.values():
                for waiting in chunks:
                    yield waiting, None
            self._waiting.clear()

    def _next_part(self, record: OrderRecord) -> Chunk | None:
        """Take from what waits all that the record covers; None when it has not come yet.

        A record behind all that waits was of another start; it is met by an empty chunk.
        """
        chunks = self._waiting.get((record.input, record.partition))
        if not chunks:
            return None
        chunk = chunks[0]
        if chunk.start >= record.end:
            return split_at(chunk, chunk.start)[0]
        chunks.popleft()
        if chunk.end > record.end:
            chunk, rest = split_at(chunk, record.end)
            chunks.appendleft(rest)
        return chunk


def split_at(chunk: Chunk, offset: int) -> tuple[Chunk, Chunk]:
    """Cut a chunk at an offset within it; either side may be without events."""
    row = int(np.searchsorted(chunk.columns.offsets, offset))
    before, after = chunk.columns.cut(0, row), chunk.columns.cut(row, len(chunk))
    return (
        Chunk(chunk.input, chunk.partition, chunk.start, offset, before),
        Chunk(chunk.input, chunk.partition, offset, chunk.end, after),
    )
