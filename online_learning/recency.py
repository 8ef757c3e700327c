"""Recency: the last distinct items that anyone chose, newest first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .compiled import entry, kernel

LENGTH = 40


class Recency(NamedTuple):
    """One short list. Written by `chosen` and `drop_chosen`."""

    item: NDArray[np.int32]
    """Item rows, newest first, shape (LENGTH,)."""
    held: NDArray[np.int64]
    dirty: NDArray[np.uint8]


def recency(arena: Arena) -> Recency:
    """Declare the list."""
    table = arena.table("recency", 1, lambda: 1)
    return Recency(item=table.array("item", np.int32, LENGTH)[0], held=table.array("held", np.int64), dirty=table.dirty)


@kernel
def chosen(r: Recency, item: int) -> None:
    """Move `item` to the front; the oldest leaves when the list is full."""
    place = 0
    while place < r.held[0] and r.item[place] != item:
        place += 1
    if place == r.held[0]:
        if place < LENGTH:
            r.held[0] = place + 1
        else:
            place = LENGTH - 1
    for at in range(place, 0, -1):
        r.item[at] = r.item[at - 1]
    r.item[0] = item
    r.dirty[0] = 1


@entry
def drop_chosen(r: Recency, gone: NDArray[np.bool_]) -> None:
    """Take the items that are `gone`, shape (items,), out of the list; the others move up."""
    kept = 0
    for place in range(r.held[0]):
        if not gone[r.item[place]]:
            r.item[kept] = r.item[place]
            kept += 1
    r.item[kept:] = 0
    r.held[0] = kept
    r.dirty[0] = 1
