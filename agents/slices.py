"""What the step's thread cuts batches into, and hands over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from millstream.online_learning.kinds import last_of_each_user
from millstream.online_learning.order import OrderPosition
from millstream.schemas.columns import Chunk
from millstream.schemas.slates import EncodedSlate


@dataclass(frozen=True, slots=True)
class SliceDone:
    """What a slice has of one chunk: where it ends, the lists it made, how many records of the log it settles."""

    input: str
    partition: int
    end: int
    events: int
    records: int
    """Records read for it, rejected ones included; over a chunk's slices they sum to the chunk's."""
    slates: Sequence[EncodedSlate]
    listed_to: int = 0
    """Last event up to which all lists of the partition's users are made; 0: some are not."""


@dataclass(frozen=True, slots=True)
class Rest:
    """What of a part is still to be applied."""

    chunk: Chunk
    records: int
    train_every: int
    after: OrderPosition
    ordered_ms: int
    lists: NDArray[np.bool_] | None = None
    """After which events a list is made, shape (events,); None: none is."""

    def listed(self, whether: bool) -> Rest:
        """Return the same with a list after each user's last event, or with none."""
        if whether == (self.lists is not None):
            return self
        return replace(self, lists=last_of_each_user(self.chunk.columns) if whether else None)

    def split(self, events: int) -> tuple[Rest, Rest | None]:
        """Return the first so many events, and what is left."""
        n = len(self.chunk)
        if n <= events:
            return self, None
        records = min(events, self.records)
        before, after = self.lists, self.lists
        if self.lists is not None:
            before, after = self.lists[:events], self.lists[events:]
        return (
            replace(self, chunk=self.chunk.cut(0, events), lists=before, records=records),
            replace(self, chunk=self.chunk.cut(events, n), lists=after, records=self.records - records),
        )


@dataclass(slots=True)
class Slice:
    """What is handed over together, in the making."""

    room: int
    """Events that still fit."""
    began_s: float
    done: list[SliceDone] = field(default_factory=list)
