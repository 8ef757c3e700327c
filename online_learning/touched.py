"""Who was touched when: the last event of each user, so that any worker can say whose lists are not published."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .histories import Histories
from .vocabulary import Vocabulary


class Touched:
    """The last event of each user that refreshed their list, 8 bytes a user. Its only writer is `note`."""

    def __init__(self, arena: Arena, users: Vocabulary, histories: Histories) -> None:
        table = arena.table("touched", users.capacity, lambda: len(users), of=users.name, later=True)
        self._seq: NDArray[np.int64] = table.array("seq", np.int64)
        self._dirty = table.dirty
        self._users = users
        self._histories = histories

    def note(self, rows: NDArray[np.int32], seq: NDArray[np.int64]) -> None:
        """Note events in log order: rows of users, -1 for nobody's, and the numbers of events, each of shape (n,)."""
        known = rows >= 0
        self._seq[rows[known]] = seq[known]
        self._dirty[rows[known]] = 1

    def moved(self, rows: NDArray[np.int32], partition: int) -> NDArray[np.int64]:
        """Return how many users have moved to the partition with each event, shape (n,); rows as for `note`.

        Who was last touched in another partition has moved with their first event here.
        """
        elsewhere = (rows >= 0) & (self._seq[rows] > 0) & (self._histories.partition[rows] != partition)
        moves = np.zeros(len(rows), np.int64)
        if elsewhere.any():
            at = np.flatnonzero(elsewhere)
            moves[at[np.unique(rows[at], return_index=True)[1]]] = 1
        return np.cumsum(moves)

    def since(self, seqs: Mapping[int, int]) -> list[str]:
        """Return the users touched after an event, given for each partition that counts.

        A state from before this was kept does not know: everybody is.
        """
        n = len(self._users)
        unknown = not self._seq[:n].any()
        due = np.zeros(n, np.bool_)
        for partition, seq in seqs.items():
            due |= (self._histories.partition[:n] == partition) & ((self._seq[:n] > seq) | unknown)
        return [self._users.ids[row] for row in np.flatnonzero(due & self._users.is_held[:n]).tolist()]
