"""Marks of what was touched, one a row, and who is still to hear of it.

A writer sets `dirty[row] = 1` whenever it changes something at `row`. Several readers follow: the state hash, and the
copy that snapshots are made of. Each hears of a row once, however often it was touched since.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiled import entry

_TOGETHER = 64
"""Marks that are looked at together: eight words."""

HASH = "hash"
COPY = "copy"


class Marks:
    """The marks of `rows` rows. `take` and `follow` are for whoever owns the rows, between two writes."""

    def __init__(self, rows: int) -> None:
        self._marked = _zeros(rows)
        self.dirty = self._marked[:rows]
        """Touched since somebody last asked, shape (rows,)."""
        self._untold: dict[str, NDArray[np.uint8]] = {HASH: _zeros(rows)}
        self._behind: set[str] = set()
        """Readers that have rows in `_untold`."""

    def follow(self, reader: str) -> None:
        """Begin to keep for `reader` what is touched from now on."""
        self._hand_on()
        self._untold[reader] = np.zeros_like(self._marked)

    def take(self, reader: str) -> NDArray[np.int64]:
        """Return the rows touched since `reader` last asked, rising; they are told then."""
        rows = self._hand_on(reader)
        if reader in self._behind:
            self._behind.discard(reader)
            untold = self._untold[reader]
            untold[rows] = 1
            rows = _rows(untold)
            untold[rows] = 0
        return rows

    def _hand_on(self, reader: str = "") -> NDArray[np.int64]:
        """Take the marks off and return their rows, kept for all readers but one."""
        rows = _rows(self._marked)
        if len(rows):
            self._marked[rows] = 0
            for other, untold in self._untold.items():
                if other != reader:
                    untold[rows] = 1
                    self._behind.add(other)
        return rows


def _zeros(rows: int) -> NDArray[np.uint8]:
    """Return zeros for at least so many rows: a multiple of `_TOGETHER`."""
    return np.zeros(-(-rows // _TOGETHER) * _TOGETHER, np.uint8)


def _rows(marks: NDArray[np.uint8]) -> NDArray[np.int64]:
    words = marks.view(np.uint64)
    found = np.empty(len(words), np.int64)  # as much of it as is needed is ever touched
    at = found[: words_with_any(words, found)]
    word, byte = np.nonzero(marks.reshape(-1, 8)[at])
    return at[word] * 8 + byte


@entry
def words_with_any(words: NDArray[np.uint64], out: NDArray[np.int64]) -> int:
    """Put the places of the words that are not 0, rising, into `out`, of shape (words,); return how many there are.

    The words are a multiple of eight. All rows of a state are looked at between two events, and few are marked: eight
    words at a time it is a quarter of what `numpy.flatnonzero` takes.
    """
    n = 0
    for first in range(0, len(words), 8):
        any_ = words[first] | words[first + 1] | words[first + 2] | words[first + 3]
        any_ |= words[first + 4] | words[first + 5] | words[first + 6] | words[first + 7]
        if any_ != np.uint64(0):
            for at in range(first, first + 8):
                if words[at] != np.uint64(0):
                    out[n] = at
                    n += 1
    return n
