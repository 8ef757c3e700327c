"""What is known of the catalogue's items here: titles, categories, content vectors, by row. One owner.

A row is an item's for as long as it has an entry or a vector, and another's later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from millstream.schemas.item_vectors import CONTENT, ItemVector
from millstream.schemas.records import Item

from .words import words

_FIRST_ROOM = 1_024


class Entry(NamedTuple):
    """What the catalogue says of an item, as far as a search shows it."""

    title: str | None
    categories: tuple[str, ...]
    available: bool


class Known:
    """Items by row. Nothing is an answer that has no entry, or whose entry says that it is not available."""

    def __init__(self) -> None:
        self.entries: list[Entry | None] = []
        """By row; None: the catalogue has none."""
        self.ids: list[str] = []
        self.categories: Counter[str] = Counter()
        """Names of categories as the catalogue spells them, with the items that say so."""
        self._rows: dict[str, int] = {}
        self._members: dict[str, set[int]] = {}
        self._named: dict[tuple[str, ...], Counter[str]] = {}
        self._free: list[int] = []
        self._coded = np.zeros((_FIRST_ROOM, CONTENT), np.int8)
        self._scale = np.zeros(_FIRST_ROOM, np.float32)

    def row(self, item_id: str) -> int | None:
        """Return an item's row, if it has one."""
        return self._rows.get(item_id)

    def new_row(self, item_id: str) -> int:
        """Return an item's row; it has one from now on."""
        row = self._rows.get(item_id)
        if row is not None:
            return row
        if self._free:
            row = self._free.pop()
            self.ids[row], self.entries[row] = item_id, None
        else:
            row = len(self.ids)
            self.ids.append(item_id)
            self.entries.append(None)
            if row == len(self._scale):
                self._coded = np.concatenate([self._coded, np.zeros_like(self._coded)])
                self._scale = np.concatenate([self._scale, np.zeros_like(self._scale)])
        self._rows[item_id] = row
        return row

    def is_shown(self, row: int) -> bool:
        """Whether the item of a row may be an answer."""
        entry = self.entries[row]
        return entry is not None and entry.available

    def note(self, row: int, item: Item | None) -> None:
        """Take in what the catalogue says of the item of a row; None: nothing any more."""
        old = self.entries[row]
        for name in old.categories if old is not None else ():
            self._count(name, row, -1)
        entry = None if item is None else Entry(item.title, tuple(dict.fromkeys(item.categories)), item.available)
        for name in entry.categories if entry is not None else ():
            self._count(name, row, 1)
        self.entries[row] = entry
        self._free_if_empty(row)

    def note_vector(self, row: int, vector: ItemVector | None) -> None:
        """Take in the content vector of the item of a row; None: it has none any more."""
        if vector is None or vector.scale <= 0:
            self._scale[row] = 0.0
            self._free_if_empty(row)
            return
        self._coded[row] = np.frombuffer(vector.coded, np.int8)
        self._scale[row] = vector.scale

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the content vectors of rows, shape (len(rows), CONTENT); zeros for one without."""
        at = np.asarray(rows, np.int64)
        return self._coded[at].astype(np.float32) * self._scale[at, None]

    def has_vector(self, row: int) -> bool:
        """Whether the item of a row has a content vector."""
        return bool(self._scale[row] > 0)

    def members(self, category: str) -> Collection[int]:
        """Return the rows of a category's items, as the catalogue spells it."""
        return self._members.get(category, ())

    def category(self, said: Sequence[str]) -> str | None:
        """Return the category that these words name, in singular or plural; of several spellings the commonest."""
        spellings = self._named.get(_stems(said))
        return None if not spellings else min(spellings, key=lambda name: (-spellings[name], name))

    def _count(self, name: str, row: int, by: int) -> None:
        self.categories[name] += by
        spellings = self._named.setdefault(_stems(words(name)), Counter())
        spellings[name] += by
        members = self._members.setdefault(name, set())
        if by > 0:
            members.add(row)
            return
        members.discard(row)
        if not members:
            del self._members[name], self.categories[name], spellings[name]
            if not spellings:
                del self._named[_stems(words(name))]

    def _free_if_empty(self, row: int) -> None:
        if self.entries[row] is None and self._scale[row] <= 0 and self._rows.get(self.ids[row]) == row:
            del self._rows[self.ids[row]]
            self._free.append(row)


def stem(word: str) -> str:
    """Return a word without the ending of its plural, as far as that can be told by looking: English, mostly.

    >>> [stem(word) for word in ("comedies", "thrillers", "boxes", "news", "drama", "komodien")]
    ['comedy', 'thriller', 'box', 'new', 'drama', 'komodie']
    """
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 4 and word.endswith(("xes", "ches", "shes", "sses")):
        return word[:-2]
    if len(word) > 5 and word.endswith("ien"):
        return word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _stems(said: Sequence[str]) -> tuple[str, ...]:
    return tuple(stem(word) for word in said)
