"""Consumed: every item a user ever chose, kept only where lists must leave it out (`exclude_consumed`).

A user's row grows by size classes; at the cap the oldest entry is overwritten.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .compiled import kernel
from .slab import UNIT, give, size_classes, take, units_of
from .vocabulary import Vocabulary


class Consumed(NamedTuple):
    """Rows by user, cells in blocks. Written by the kernels here; the caller sees to it that an item comes once."""

    start: NDArray[np.int32]
    size_class: NDArray[np.int8]
    chosen: NDArray[np.int32]
    """Items consumed in all, less those forgotten, shape (users,); the row holds the last of them."""
    row_dirty: NDArray[np.uint8]
    item: NDArray[np.int32]
    """Item rows, shape (units, UNIT)."""
    unit_dirty: NDArray[np.uint8]
    slab: NDArray[np.int64]
    slab_dirty: NDArray[np.uint8]


def consumed(arena: Arena, users: Vocabulary, *, row_cells: int, cells_per_user: int) -> Consumed:
    """Declare the sets: at most `row_cells` items a user, `cells_per_user` on average (0: keep none)."""
    units = max(1, users.capacity * cells_per_user // UNIT)
    rows = arena.table("consumed_rows", users.capacity + 1, lambda: len(users), of=users.name)
    slab_table = arena.table("consumed_slab", 1, lambda: 1)
    slab = slab_table.array("slab", np.int64, 1 + size_classes(row_cells))
    cells = arena.table("consumed_cells", units, lambda: int(slab[0, 0]))
    return Consumed(
        start=rows.array("start", np.int32),
        size_class=rows.array("size_class", np.int8),
        chosen=rows.array("chosen", np.int32),
        row_dirty=rows.dirty,
        item=cells.array("item", np.int32, UNIT),
        unit_dirty=cells.dirty,
        slab=slab[0],
        slab_dirty=slab_table.dirty,
    )


@kernel
def held(c: Consumed, user: int) -> int:
    """Return how many items the user's row holds."""
    return int(min(c.chosen[user], units_of(c.size_class[user]) * UNIT))


@kernel
def has_consumed(c: Consumed, user: int, item: int) -> bool:
    """Tell whether the user's row holds `item`."""
    first = c.start[user]
    for at in range(held(c, user)):  # noqa: SIM110  # numba compiles no generator expressions
        if c.item[first + at // UNIT, at % UNIT] == item:
            return True
    return False


@kernel
def consume(c: Consumed, user: int, item: int) -> None:
    """Add `item` to the user's row."""
    cells = units_of(c.size_class[user]) * UNIT
    if c.chosen[user] == cells:  # a row that has begun to overwrite its oldest no longer grows
        block = take(c.slab, c.item, c.unit_dirty, c.size_class[user] + 1)
        if block >= 0:
            old, units = c.start[user], units_of(c.size_class[user])
            for unit in range(units):
                for cell in range(UNIT):
                    c.item[block + unit, cell] = c.item[old + unit, cell]
                c.unit_dirty[block + unit] = 1
            for unit in range(units, units_of(c.size_class[user] + 1)):
                c.item[block + unit] = 0
                c.unit_dirty[block + unit] = 1
            if units > 0:
                give(c.slab, c.item, c.unit_dirty, c.size_class[user], old)
            c.slab_dirty[0] = 1
            c.start[user] = block
            c.size_class[user] += 1
            cells = units_of(c.size_class[user]) * UNIT
        elif cells == 0:
            return
    at = c.chosen[user] % cells
    c.item[c.start[user] + at // UNIT, at % UNIT] = item
    c.unit_dirty[c.start[user] + at // UNIT] = 1
    c.chosen[user] += 1
    c.row_dirty[user] = 1


@kernel
def drop_consumed(c: Consumed, gone: NDArray[np.bool_], user: int, spare: NDArray[np.int32]) -> None:
    """Take the items that are `gone`, shape (items,), out of the user's row; the others stay in order of age.

    `spare` is scratch for a whole row.
    """
    n = held(c, user)
    first = c.start[user]
    oldest = c.chosen[user] % n if c.chosen[user] > n else 0
    kept = 0
    for at in range(n):
        cell = (oldest + at) % n
        item = c.item[first + cell // UNIT, cell % UNIT]
        if not gone[item]:
            spare[kept] = item
            kept += 1
    if kept == n:
        return
    for at in range(n):
        c.item[first + at // UNIT, at % UNIT] = spare[at] if at < kept else 0
        c.unit_dirty[first + at // UNIT] = 1
    c.chosen[user] = kept
    c.row_dirty[user] = 1


@kernel
def give_back_consumed(c: Consumed, user: int) -> None:
    """Give the cells of a row that is about to be cleared back to the slab."""
    if c.size_class[user] > 0:
        give(c.slab, c.item, c.unit_dirty, c.size_class[user], c.start[user])
        c.slab_dirty[0] = 1
