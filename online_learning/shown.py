"""Which items each user's newest list holds, as far as it is known here: so that a withdrawal finds the lists to mend.

Kept beside the state, not in it: only who makes a user's lists knows, and who takes them over reads them once. A place
holds 16 bits of an item's row, so on a catalogue beyond 65,535 items a list is now and then taken for one that holds
an item; it is made again for nothing then, never missed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from .availability import Availability
from .histories import Histories
from .vocabulary import Vocabulary

SHORT_VALUES = 1 << 16
"""How many values `short` has."""
_AT_ONCE = 8_192
"""Users looked through at a time: some 2 ms."""


class Shown:
    """The lists of all users, 2 bytes a place. The step's thread owns it.

    Guarantee: once `take_holders` has returned no more and `unknown` is empty, no list that was noted here holds an
    item that was withdrawn before, apart from those returned since.
    """

    def __init__(
        self, users: Vocabulary, items: Vocabulary, histories: Histories, availability: Availability, places: int
    ) -> None:
        self._users = users
        self._items = items
        self._histories = histories
        self._availability = availability
        self._places: NDArray[np.uint16] = np.zeros((users.capacity, places), np.uint16)
        self._known = np.zeros(users.capacity, np.bool_)
        self._withdrawn = np.zeros(SHORT_VALUES, np.bool_)
        self._next = users.capacity
        """First row not looked through since the last withdrawal; the capacity: all are."""
        self._partitions: list[int] = []
        self._first_unknown = 0
        """No row before it is of a user whose lists are to be read."""

    def note(self, rows: NDArray[np.int32], *lists: NDArray[np.int32]) -> None:
        """Note lists that were made: item rows, below 0 for none, shape (users, length) each; -1 is nobody's row."""
        own = (rows >= 0) & (rows < len(self._known))
        users, first = rows[own], 0
        for items in lists:
            if len(items):
                self._places[users, first : first + items.shape[1]] = short(items[own])
                first += items.shape[1]
        self._known[users] = True

    def read(self, user_ids: Sequence[str], lists: Sequence[Iterable[str]]) -> list[str]:
        """Note what users' lists hold, all of a user's together; return whose hold what is withdrawn.

        Of a user whose lists were made meanwhile nothing is noted.
        """
        holders = []
        for user_id, item_ids in zip(user_ids, lists, strict=True):
            row = self._users.row(user_id)
            if row is None or self._known[row]:
                continue
            items = [item for id_ in item_ids if (item := self._items.row(id_)) is not None]
            if self._availability.off[items].any():
                holders.append(user_id)
            noted = items[: self._places.shape[1]]
            self._places[row] = 0
            self._places[row, : len(noted)] = short(np.array(noted, np.int32))
            self._known[row] = True
        return holders

    def own(self, partitions: Collection[int]) -> None:
        """From now on the lists of these partitions' users are made here, and those of others by somebody else."""
        self._partitions = list(partitions)
        n = len(self._users)
        self._known[:n] &= self._is_own(slice(0, n))
        self._first_unknown = 0

    def withdraw(self, items: Sequence[int]) -> None:
        """Look for lists that hold these item rows from now on."""
        if items:
            self._withdrawn[short(np.array(items, np.int32))] = True
            self._next = 0

    def take_holders(self) -> list[str]:
        """Return users whose lists are made here and hold what was withdrawn; `is_looking` says if there may be more.

        Looks through a part of the users.
        """
        rows = slice(self._next, min(self._next + _AT_ONCE, len(self._users)))
        holds = self._withdrawn[self._places[rows]].any(axis=1) & self._known[rows] & self._users.is_held[rows]
        holds &= self._is_own(rows)
        self._next = rows.stop
        if rows.stop == len(self._users):
            self._next = self._users.capacity
            self._withdrawn[:] = False
        return [self._users.ids[row] for row in (rows.start + np.flatnonzero(holds)).tolist()]

    @property
    def is_looking(self) -> bool:
        """Whether users are left to be looked through for what was withdrawn."""
        return self._next < self._users.capacity

    def unknown(self, most: int) -> list[str]:
        """Return users whose lists are made here and are to be read next, if anything is withdrawn at all."""
        n = len(self._users)
        if self._first_unknown == n or not self._availability.off.any():
            return []
        found: list[int] = []
        while self._first_unknown < n and not found:
            rows = slice(self._first_unknown, min(self._first_unknown + _AT_ONCE, n))
            wanted = ~self._known[rows] & self._users.is_held[rows]
            wanted &= self._is_own(rows)
            found = (rows.start + np.flatnonzero(wanted)[:most]).tolist()
            self._first_unknown = found[0] if found else rows.stop
        return [self._users.ids[row] for row in found]

    def _is_own(self, rows: slice) -> NDArray[np.bool_]:
        return np.isin(self._histories.partition[rows], self._partitions)


def short(items: NDArray[np.int32]) -> NDArray[np.uint16]:
    """Return 16 bits that stand for item rows, 0 for a row below 0; no item's is 0."""
    return np.where(items < 0, 0, items % (SHORT_VALUES - 1) + 1).astype(np.uint16)
