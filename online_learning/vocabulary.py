"""String ids to rows and back: no collisions, rows given in order of first sight, and given again once they are free.

A row is free, or an id's, or in limbo: its id is forgotten, and something may still refer to the row (`eviction`). A
new id gets the lowest free row.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .digest import IdsDigest
from .marks import HASH, Marks

NOT_ADMITTED = -1
"""The row of an id that came when no row was free."""
NO_ID = ""
"""What stands in `Vocabulary.ids` for a row that is no id's; no event has an empty id."""


class Vocabulary:
    """The rows of one kind of id. Written by the step alone; the same log gives the same rows."""

    def __init__(self, name: str, capacity: int, ids: Sequence[str] = ()) -> None:
        self.name = name
        self.capacity = capacity
        self.ids: list[str] = []
        """By row, up to the last one ever given."""
        self.is_held = np.zeros(capacity, np.bool_)
        """Whether the row is an id's, shape (capacity,)."""
        self.limbo = np.zeros(0, np.int64)
        """Rows whose ids are forgotten and that are not free yet."""
        self.given_again: list[int] = []
        """Rows that went from one id to another, since `release` or since whoever follows them cleared this."""
        self._rows: dict[str, int] = {}
        self._free: list[int] = []  # a heap, of rows given before
        self.marks = Marks(capacity)
        """Rows that an id came to or went from."""
        self._digest = IdsDigest(name)
        self.restore(ids)

    def __len__(self) -> int:
        """Return how many rows were ever given: those from there on hold nothing."""
        return len(self.ids)

    @property
    def free(self) -> int:
        """How many new ids would get a row."""
        return self.capacity - len(self.ids) + len(self._free)

    def row(self, id_: str) -> int | None:
        """Return the row of an id that has one, or None; never gives one."""
        return self._rows.get(id_)

    def rows(self, ids: Sequence[str]) -> NDArray[np.int32]:
        """Return the row of each id, giving rows to ids that have none, shape (len(ids),).

        When no row is free, an id that has none gets `NOT_ADMITTED`; so does `NO_ID`.
        """
        found = list(map(self._rows.get, ids))
        if None in found:
            for id_ in dict.fromkeys(id_ for id_, row in zip(ids, found, strict=True) if row is None and id_ != NO_ID):
                if self._free:
                    row = heapq.heappop(self._free)
                    self.ids[row] = id_
                    self.given_again.append(row)
                elif len(self.ids) < self.capacity:
                    row = len(self.ids)
                    self.ids.append(id_)
                else:
                    break
                self._rows[id_] = row
                self.is_held[row] = True
                self.marks.dirty[row] = 1
            found = [self._rows.get(id_, NOT_ADMITTED) for id_ in ids]
        return np.array(found, np.int32)

    def forget(self, rows: NDArray[np.int64]) -> None:
        """Forget the ids of `rows`, which are ids'; the rows are in limbo then."""
        self.is_held[rows] = False
        self.marks.dirty[rows] = 1
        for row in rows.tolist():
            del self._rows[self.ids[row]]
            self.ids[row] = NO_ID
        self.limbo = np.concatenate([self.limbo, rows])

    def release(self) -> None:
        """Make the rows in limbo free. Nothing may refer to them any more."""
        self._free = sorted(self._free + self.limbo.tolist())  # sorted is a heap
        self.limbo = np.zeros(0, np.int64)
        self.given_again.clear()

    def restore(self, ids: Sequence[str], limbo: Sequence[int] = ()) -> None:
        """Take the rows of another vocabulary, as a fresh one: its `ids` by row, and which are in limbo."""
        self.ids = list(ids)
        self._rows = {id_: row for row, id_ in enumerate(ids) if id_ != NO_ID}
        self.limbo = np.array(limbo, np.int64)
        self._free = sorted({row for row, id_ in enumerate(ids) if id_ == NO_ID}.difference(limbo))
        self.is_held[list(self._rows.values())] = True
        self.marks.dirty[: len(ids)] = 1

    def digest(self) -> int:
        """Return the sum mod 2^128 of a hash per (name, row, id); costs a pass over the rows that changed since."""
        touched = self.marks.take(HASH).tolist()
        self._digest.update(touched, [self.ids[row] for row in touched])
        return self._digest.value
