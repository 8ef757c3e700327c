"""Limbo: rows whose ids are forgotten and that something may still refer to, marked where compiled code can see them.

An item in limbo is on no list and learns nothing more; a user in limbo makes no list. See `eviction`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Limbo(NamedTuple):
    """Written by `eviction` alone. Not state of its own: the vocabularies know which rows are in limbo."""

    user: NDArray[np.bool_]
    """Shape (users + 1,): the last row is nobody's."""
    item: NDArray[np.bool_]
    """Shape (items,)."""
    items: NDArray[np.int64]
    """How many items are in limbo, shape (1,)."""


def limbo(users: int, items: int) -> Limbo:
    """Reserve the marks."""
    return Limbo(np.zeros(users + 1, np.bool_), np.zeros(items, np.bool_), np.zeros(1, np.int64))
