"""String ids to rows and back: no collisions, rows given in order of first sight."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .arena import MASK_128

NOT_ADMITTED = -1
"""The row of an id that came when the vocabulary was full."""


class Vocabulary:
    """The rows of one kind of id. Written by the step alone; the same log gives the same rows."""

    def __init__(self, name: str, capacity: int, ids: Sequence[str] = ()) -> None:
        self.name = name
        self.capacity = capacity
        self.ids: list[str] = []
        self._rows: dict[str, int] = {}
        self._hashed = 0
        self._sum = 0
        self.rows(ids)

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, id_: str) -> int | None:
        """Return the row of an id seen before, or None; never creates one."""
        return self._rows.get(id_)

    def rows(self, ids: Sequence[str]) -> NDArray[np.int32]:
        """Return the row of each id, giving new rows to ids not seen before, shape (len(ids),).

        Once the cap is reached, an id that has no row gets `NOT_ADMITTED`.
        """
        found = list(map(self._rows.get, ids))
        if None in found:
            for id_ in dict.fromkeys(id_ for id_, row in zip(ids, found, strict=True) if row is None):
                if len(self.ids) == self.capacity:
                    break
                self._rows[id_] = len(self.ids)
                self.ids.append(id_)
            found = [self._rows.get(id_, NOT_ADMITTED) for id_ in ids]
        return np.array(found, np.int32)

    def digest(self) -> int:
        """Return the sum mod 2^128 of a hash per (name, row, id); costs a pass over the ids added since last time."""
        for row in range(self._hashed, len(self.ids)):
            digest = hashlib.blake2b(f"{self.name}/{row}/{self.ids[row]}".encode(), digest_size=16).digest()
            self._sum = (self._sum + int.from_bytes(digest, "little")) & MASK_128
        self._hashed = len(self.ids)
        return self._sum
