"""Marks of what was touched, one a row, and who is still to hear of it.

A writer sets `dirty[row] = 1` whenever it changes something at `row`. Several readers follow: the state hash, and the
copy that snapshots are made of. Each hears of a row once, however often it was touched since.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HASH = "hash"
COPY = "copy"


class Marks:
    """The marks of `rows` rows. `take` and `follow` are for whoever owns the rows, between two writes."""

    def __init__(self, rows: int) -> None:
        self._marked = _zeros(rows)
        self.dirty = self._marked[:rows]
        """Touched since somebody last asked, shape (rows,)."""
        self._untold: dict[str, NDArray[np.uint8]] = {HASH: _zeros(rows)}

    def follow(self, reader: str) -> None:
        """Begin to keep for `reader` what is touched from now on."""
        self._hand_on()
        self._untold[reader] = np.zeros_like(self._marked)

    def take(self, reader: str) -> NDArray[np.int64]:
        """Return the rows touched since `reader` last asked, rising; they are told then."""
        self._hand_on()
        untold = self._untold[reader]
        rows = _rows(untold)
        untold[rows] = 0
        return rows

    def _hand_on(self) -> None:
        rows = _rows(self._marked)
        if len(rows):
            for untold in self._untold.values():
                untold[rows] = 1
            self._marked[rows] = 0


def _zeros(rows: int) -> NDArray[np.uint8]:
    """Return zeros for at least so many rows: a multiple of eight, which are looked at as one word."""
    return np.zeros(-(-rows // 8) * 8, np.uint8)


def _rows(marks: NDArray[np.uint8]) -> NDArray[np.int64]:
    words = np.flatnonzero(marks.view(np.uint64))
    word, byte = np.nonzero(marks.reshape(-1, 8)[words])
    return words[word] * 8 + byte
