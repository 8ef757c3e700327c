"""Availability: what the catalogue has withdrawn is on no list until the catalogue says that it can be had again.

Nothing else changes: what was chosen before goes on counting, so that an item comes back as what it was.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .vocabulary import Vocabulary


class Availability(NamedTuple):
    """Rows by item. Written by the catalogue alone."""

    off: NDArray[np.bool_]
    """Whether the item may not be shown, shape (items,)."""
    dirty: NDArray[np.uint8]


def availability(arena: Arena, items: Vocabulary) -> Availability:
    """Declare what can be had of all items: everything, at first."""
    table = arena.table("availability", items.capacity, lambda: len(items), of=items.name, later=True)
    return Availability(off=table.array("off", np.bool_), dirty=table.dirty)
