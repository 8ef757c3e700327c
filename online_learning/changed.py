"""Which rows have changed since their list was made: kept beside the state, not in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Changed:
    """Rows that have changed and whose list has not been made since; they take turns."""

    def __init__(self, capacity: int) -> None:
        self._changed = np.zeros(capacity, np.bool_)
        self._next = 0

    def note(self, rows: NDArray[np.int32] | NDArray[np.int64]) -> None:
        """Mark rows; those below 0 are nobody's."""
        self._changed[rows[rows >= 0]] = True

    def take(self, most: int) -> NDArray[np.int64]:
        """Return the next so many, by row and round, and take their marks off."""
        changed = np.flatnonzero(self._changed)
        taken = np.roll(changed, -int(np.searchsorted(changed, self._next)))[:most]
        if len(taken):
            self._next = int(taken[-1]) + 1
        self._changed[taken] = False
        return taken
