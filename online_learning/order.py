"""The order: what load and interleaving decided, as records that every worker follows.

Which partition's events come next, and how much effort each run of events gets, follow from timing, not from the log.
They are inputs of their own: small records in a log of one partition, which all workers read and apply alike, the one
that writes them included. Whoever wants to write claims it first, in the same log, so that the log itself says whose
records count: those of the claim that stands last before them.

    OrderPosition    where in the log of records somebody stands
    FollowedOrder    chunks in, parts out, in the recorded order
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np

from millstream.schemas.columns import Chunk
from millstream.schemas.order_records import Claim, Go, Hold, Order, OrderRecord, Run, Swap

Place = tuple[str, int]
"""Topic and partition."""


class OrderPosition(NamedTuple):
    """Where somebody stands in the log of records: the next one to read, and whose claim holds before it."""

    offset: int = 0
    epoch: int = 0
    writer: str = ""


class OrderBroken(ValueError):
    """A record skips offsets: what came before it is missing from the log of records."""


class Part(NamedTuple):
    """Events to apply next, and where its reader stands in the order once they are applied."""

    chunk: Chunk
    records: int
    """Records read for it, rejected ones included."""
    train_every: int
    after: OrderPosition
    ordered_ms: int
    """When its record was written, by Kafka's clock."""


class _Waiting(NamedTuple):
    chunk: Chunk
    records: int


class _Next(NamedTuple):
    run: Run
    within: OrderPosition
    """While part of the run is still to be applied."""
    after: OrderPosition
    ordered_ms: int


@dataclass(slots=True)
class _Held:
    """Where a switch to another model is open, and how it was closed."""

    switch: str
    before: OrderPosition
    after: OrderPosition
    answer: Swap | Go | None = None


class Swapped(NamedTuple):
    """Another model is to be gone on with, and where its reader stands in the order before and after that."""

    swap: Swap
    before: OrderPosition
    after: OrderPosition


class FollowedOrder:
    """Gives chunks back in the recorded order, whatever order and sizes they come in.

    `position` and `positions` are those of the state it begins with. The same records give the same parts, joined, for
    every reader: a record that is void for one is void for all, since only what stands before it in the log decides.
    """

    def __init__(self, position: OrderPosition, positions: Mapping[Place, int]) -> None:
        self.position = position
        """Where reading stands; applying is behind it."""
        self.begun: dict[Place, int] = dict(positions)
        """Where each place begins for this reader."""
        self.topic_ids: dict[str, str] = {}
        """Those of the first claim that was read."""
        self.ordered: dict[Place, int] = dict(positions)
        """Next offset of each place that no record covers yet."""
        self.offered: dict[Place, int] = dict(positions)
        """Next offset of each place that was not offered yet."""
        self._next: deque[_Next | _Held] = deque()
        self._open: _Held | None = None
        self._waiting: dict[Place, deque[_Waiting]] = {}

    def read(self, offset: int, record: OrderRecord, written_ms: int = 0) -> bool:
        """Take in the record at an offset of the log; return whether it counts. Raises `OrderBroken`."""
        before = self.position
        if isinstance(record, Claim):
            counts = record.epoch == before.epoch + 1
            self.position = OrderPosition(offset + 1, *((record.epoch, record.writer) if counts else before[1:]))
            if counts:
                self._begin(record)
            return counts
        self.position = before._replace(offset=offset + 1)
        if not isinstance(record, Order):
            return self._switch(record, before)
        counts = (record.epoch, record.writer) == before[1:]
        if counts:
            # until its last run is applied, the record is to be read again
            within = before._replace(offset=offset)
            last = len(record.runs) - 1
            for number, run in enumerate(record.runs):
                self._follow(_Next(run, within, self.position if number == last else within, written_ms))
        return counts

    def skip(self, offset: int) -> None:
        """Pass over what stands at an offset of the log."""
        self.position = self.position._replace(offset=offset + 1)

    def offer(self, chunk: Chunk, records: int) -> Chunk | None:
        """Let a chunk wait for its records; return what of it was not offered before, None if all was."""
        place = (chunk.input, chunk.partition)
        offered = self.offered.setdefault(place, chunk.start)
        if chunk.end <= offered:
            return None
        if chunk.start < offered:
            chunk = split_at(chunk, offered)[1]
        self.offered[place] = chunk.end
        self._waiting.setdefault(place, deque()).append(_Waiting(chunk, records))
        return chunk

    def take(self) -> Iterator[Part]:
        """Yield what can be applied now, in order."""
        while self._next:
            coming = self._next[0]
            if isinstance(coming, _Held):
                if not isinstance(coming.answer, Go):
                    return
                self._next.popleft()
            elif (part := self._part(coming)) is not None:
                yield part
            else:
                return

    def swapped(self) -> Swapped | None:
        """Return the model to go on with, once, if that is what comes next; else None."""
        coming = self._next[0] if self._next else None
        if not isinstance(coming, _Held) or not isinstance(coming.answer, Swap):
            return None
        self._next.popleft()
        return Swapped(coming.answer, coming.before, coming.after)

    @property
    def held(self) -> str | None:
        """The switch that is waited for before anything else is applied."""
        coming = self._next[0] if self._next else None
        return coming.switch if isinstance(coming, _Held) and coming.answer is None else None

    @property
    def needed(self) -> Place | None:
        """The place whose events come next and have not been offered; None: nothing is ordered that is not here."""
        coming = self._next[0] if self._next else None
        return (coming.run.input, coming.run.partition) if isinstance(coming, _Next) else None

    @property
    def ahead(self) -> int:
        """Offsets that are ordered and not taken yet."""
        return sum(coming.run.end - coming.run.start for coming in self._next if isinstance(coming, _Next))

    @property
    def taken(self) -> int:
        """Offset of the first record of which something was not taken."""
        if not self._next:
            return self.position.offset
        coming = self._next[0]
        return coming.before.offset if isinstance(coming, _Held) else coming.within.offset

    @property
    def waiting(self) -> int:
        """Records of all chunks that wait."""
        return sum(records for waiting in self._waiting.values() for _, records in waiting)

    def _begin(self, claim: Claim) -> None:
        for topic, partition, offset in claim.positions:
            for known in (self.begun, self.ordered, self.offered):
                known.setdefault((topic, partition), offset)
        self.topic_ids = self.topic_ids or dict(claim.topic_ids)

    def _switch(self, record: Hold | Swap | Go, before: OrderPosition) -> bool:
        if isinstance(record, Hold):
            if self._open is not None:
                return False
            self._open = _Held(record.switch, before, self.position)
            self._next.append(self._open)
            return True
        if self._open is None or self._open.switch != record.switch:
            return False
        self._open.answer, self._open = record, None
        return True

    def _follow(self, coming: _Next) -> None:
        run = coming.run
        place = (run.input, run.partition)
        self.begun.setdefault(place, run.start)
        ordered = self.ordered.setdefault(place, run.start)
        if run.start > ordered:
            raise OrderBroken(
                f"{run.input}[{run.partition}]: a record orders offsets from {run.start} on, and none the ones from "
                f"{ordered}"
            )
        if run.end > ordered:
            self._next.append(coming._replace(run=msgspec.structs.replace(run, start=ordered)))
            self.ordered[place] = run.end

    def _part(self, coming: _Next) -> Part | None:
        """Return the run's next events, as many of them as wait in one chunk; None when none do."""
        run = coming.run
        waiting = self._waiting.get((run.input, run.partition))
        if not waiting:
            return None
        chunk, records = waiting.popleft()
        if chunk.end > run.end:
            chunk, rest = split_at(chunk, run.end)
            took = min(records, len(chunk))
            waiting.appendleft(_Waiting(rest, records - took))
            records = took
        if chunk.end < run.end:
            self._next[0] = coming._replace(run=msgspec.structs.replace(run, start=chunk.end))
            return Part(chunk, records, run.train_every, coming.within, coming.ordered_ms)
        self._next.popleft()
        return Part(chunk, records, run.train_every, coming.after, coming.ordered_ms)


def split_at(chunk: Chunk, offset: int) -> tuple[Chunk, Chunk]:
    """Cut a chunk at an offset within it; either side may be without events."""
    row = int(np.searchsorted(chunk.columns.offsets, offset))
    before, after = chunk.columns.cut(0, row), chunk.columns.cut(row, len(chunk))
    return (
        Chunk(chunk.input, chunk.partition, chunk.start, offset, before),
        Chunk(chunk.input, chunk.partition, offset, chunk.end, after),
    )
