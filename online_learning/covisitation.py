"""Directed, decayed co-visitation: which items were chosen after which.

When a user with history a_0 (newest), a_1, … chooses i, an edge a_d → i is strengthened for each d, and some edges
i → a_d too. An edge has a strength per relation, all in one cell, so that one search updates all of them:

| relation | a_d → i | i → a_d | half-life, events |
|---|---|---|--:|
| LONG | .97^d | .97^d | 50,000 |
| SESSION | e^(-Δt / 30 min) | the same | 30,000 |
| NEXT | 1 if d = 0 | – | 30,000 |
| SHORT | .7^d for d < 5 | half of it | 30,000 |
| QUICK | as SHORT | as SHORT | 1,500 |
| REVERSE | – | 1 if d = 0 | 30,000 |

A row is a block of 16, 32, … cells from one slab; a full block moves into one of twice the size, up to the cap; in a
full row at the cap a new edge replaces the weakest of a few probed. So memory follows use, and a row is bounded.

Cells are laid out for the walk that ranking makes: what far history needs (neighbour, touch, LONG, SESSION) stands in
vectors of a unit's 16 cells; what only the newest five items need (`near`) stands apart, under a touch of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .compiled import kernel
from .decay import decay
from .histories import Histories
from .slab import UNIT, give, size_classes, take, units_of
from .vocabulary import Vocabulary

NEXT, SHORT, QUICK, REVERSE = range(4)
"""Relations of the newest items, columns of `near`."""
NEAR_RELATIONS = 4
NEAR_HALF_LIVES = (30_000.0, 30_000.0, 1_500.0, 30_000.0)
LONG_HALF_LIFE = 50_000.0
SESSION_HALF_LIFE = 30_000.0
TICK = 16
"""Events a tick: a touch is a 32-bit count of ticks, enough for 3·10^10 events."""
REACH = 5
"""How many of the newest items the near relations join."""
SESSION_MS = 30 * 60_000.0
FORGOTTEN = np.float32(1e-3)
"""A SESSION strength below this counts as none."""
PROBES = 8


class Covisitation(NamedTuple):
    """Rows by item, cells in blocks. Written by `covisit` alone."""

    start: NDArray[np.int32]
    """First unit of the row's block, shape (items,)."""
    size_class: NDArray[np.int8]
    length: NDArray[np.int32]
    """Edges held, shape (items,)."""
    mass: NDArray[np.float32]
    """Sums of the row's LONG and SESSION strengths at `mass_touch`, shape (items, 2)."""
    mass_touch: NDArray[np.int32]
    near_mass: NDArray[np.float32]
    """Sums of the row's near strengths at `near_mass_touch`, shape (items, NEAR_RELATIONS)."""
    near_mass_touch: NDArray[np.int32]
    row_dirty: NDArray[np.uint8]
    neighbour: NDArray[np.int32]
    """Item row at the edge's end, shape (units, UNIT)."""
    touch: NDArray[np.int32]
    """Tick at which `long` and `session` were last strengthened, shape (units, UNIT)."""
    long: NDArray[np.float32]
    session: NDArray[np.float32]
    near_touch: NDArray[np.int32]
    """Tick at which `near` was last strengthened, shape (units, UNIT)."""
    near: NDArray[np.float32]
    """Shape (units, UNIT, NEAR_RELATIONS)."""
    unit_dirty: NDArray[np.uint8]
    slab: NDArray[np.int64]
    slab_dirty: NDArray[np.uint8]


def covisitation(arena: Arena, items: Vocabulary, *, row_cells: int, cells_per_item: int) -> Covisitation:
    """Declare the edges of all items: at most `row_cells` a row, `cells_per_item` on average."""
    units = items.capacity * cells_per_item // UNIT
    rows = arena.table("covisitation_rows", items.capacity, lambda: len(items))
    slab_table = arena.table("covisitation_slab", 1, lambda: 1)
    slab = slab_table.array("slab", np.int64, 1 + size_classes(row_cells))
    cells = arena.table("covisitation_cells", units, lambda: int(slab[0, 0]))
    return Covisitation(
        start=rows.array("start", np.int32),
        size_class=rows.array("size_class", np.int8),
        length=rows.array("length", np.int32),
        mass=rows.array("mass", np.float32, 2),
        mass_touch=rows.array("mass_touch", np.int32),
        near_mass=rows.array("near_mass", np.float32, NEAR_RELATIONS),
        near_mass_touch=rows.array("near_mass_touch", np.int32),
        row_dirty=rows.dirty,
        neighbour=cells.array("neighbour", np.int32, UNIT),
        touch=cells.array("touch", np.int32, UNIT),
        long=cells.array("long", np.float32, UNIT),
        session=cells.array("session", np.float32, UNIT),
        near_touch=cells.array("near_touch", np.int32, UNIT),
        near=cells.array("near", np.float32, UNIT, NEAR_RELATIONS),
        unit_dirty=cells.dirty,
        slab=slab[0],
        slab_dirty=slab_table.dirty,
    )


@kernel
def faded(half_life: float, tick: int, touch: int) -> np.float32:
    """Return what remains at `tick` of a strength last touched at `touch`, as a share."""
    return decay(float((tick - touch) * TICK), half_life)


@kernel
def near_faded(relation: int, tick: int, touch: int) -> np.float32:
    """Return the same for a near relation."""
    return decay(float((tick - touch) * TICK), NEAR_HALF_LIVES[relation])


@kernel
def covisit(c: Covisitation, h: Histories, user: int, item: int, ts_ms: int, seq: int) -> None:
    """Strengthen the edges between `item` and the user's history as it was before this event."""
    tick = seq // TICK
    short = np.float32(1.0)
    long = np.float32(1.0)
    distance = 0
    for place in range(h.held[user]):
        other = h.item[user, place]
        if other == item:
            continue
        session = np.float32(np.exp(-max(0.0, float(ts_ms - h.ts_ms[user, place])) / SESSION_MS))
        if session < FORGOTTEN:
            session = np.float32(0.0)
        forth = _strengthen(c, other, item, tick, seq, long, session)
        back = _strengthen(c, item, other, tick, seq, long, session)
        if distance < REACH:
            last = np.float32(1.0 if distance == 0 else 0.0)
            _strengthen_near(c, other, forth, tick, last, short, short, np.float32(0.0))
            half = short * np.float32(0.5)
            _strengthen_near(c, item, back, tick, np.float32(0.0), half, half, last)
        short *= np.float32(0.7)
        long *= np.float32(0.97)
        distance += 1


@kernel
def _strengthen(
    c: Covisitation, source: int, target: int, tick: int, seq: int, long: np.float32, session: np.float32
) -> int:
    """Add to LONG and SESSION of edge source → target; return its cell, or -1 where there is no room for it."""
    touch = c.mass_touch[source]
    c.mass[source, 0] = c.mass[source, 0] * faded(LONG_HALF_LIFE, tick, touch) + long
    c.mass[source, 1] = c.mass[source, 1] * faded(SESSION_HALF_LIFE, tick, touch) + session
    c.mass_touch[source] = tick
    c.row_dirty[source] = 1
    cell = _find(c, source, target)
    if cell >= 0:
        unit, at = divmod(cell, UNIT)
        touch = c.touch[unit, at]
        c.long[unit, at] = c.long[unit, at] * faded(LONG_HALF_LIFE, tick, touch) + long
        c.session[unit, at] = c.session[unit, at] * faded(SESSION_HALF_LIFE, tick, touch) + session
    else:
        cell = _place(c, source, target, tick, seq)
        if cell < 0:
            return cell
        unit, at = divmod(cell, UNIT)
        c.neighbour[unit, at] = target
        c.long[unit, at] = long
        c.session[unit, at] = session
        c.near_touch[unit, at] = tick
        c.near[unit, at, :] = np.float32(0.0)
    c.touch[unit, at] = tick
    c.unit_dirty[unit] = 1
    return cell


@kernel
def _strengthen_near(
    c: Covisitation,
    source: int,
    cell: int,
    tick: int,
    next_: np.float32,
    short: np.float32,
    quick: np.float32,
    reverse: np.float32,
) -> None:
    """Add to the near relations of the edge at `cell` of row `source`."""
    added = (next_, short, quick, reverse)
    touch = c.near_mass_touch[source]
    for relation in range(NEAR_RELATIONS):
        c.near_mass[source, relation] = (
            c.near_mass[source, relation] * near_faded(relation, tick, touch) + added[relation]
        )
    c.near_mass_touch[source] = tick
    if cell < 0:
        return
    unit, at = divmod(cell, UNIT)
    touch = c.near_touch[unit, at]
    for relation in range(NEAR_RELATIONS):
        c.near[unit, at, relation] = c.near[unit, at, relation] * near_faded(relation, tick, touch) + added[relation]
    c.near_touch[unit, at] = tick


@kernel
def _find(c: Covisitation, source: int, target: int) -> int:
    """Return the cell of edge source → target, or -1. Compares a unit at a time, so that it runs in vectors."""
    length = c.length[source]
    first = c.start[source]
    for unit in range(first, first + (length + UNIT - 1) // UNIT):
        row = c.neighbour[unit]
        hit = 0
        for at in range(UNIT):
            hit |= row[at] == target
        if hit:
            for at in range(UNIT):
                if row[at] == target and (unit - first) * UNIT + at < length:
                    return unit * UNIT + at
    return -1


@kernel
def _place(c: Covisitation, source: int, target: int, tick: int, seq: int) -> int:
    """Return a cell for a new edge: the next one, in a larger block if need be, or the weakest of a few.

    -1 means that the slab has no block left for an empty row.
    """
    size_class = c.size_class[source]
    length = c.length[source]
    if length == units_of(size_class) * UNIT and not _grow(c, source):
        if length == 0:
            return -1
        return _weakest(c, source, target, tick, seq)
    c.length[source] = length + 1
    return int(c.start[source] * UNIT + length)


@kernel
def _grow(c: Covisitation, source: int) -> bool:
    """Move the row into a block of twice the size; False at the cap, or when the slab is used up."""
    size_class = c.size_class[source]
    block = take(c.slab, c.neighbour, size_class + 1)
    if block < 0:
        return False
    c.slab_dirty[0] = 1
    old = c.start[source]
    for unit in range(units_of(size_class)):
        for at in range(UNIT):
            c.neighbour[block + unit, at] = c.neighbour[old + unit, at]
            c.touch[block + unit, at] = c.touch[old + unit, at]
            c.long[block + unit, at] = c.long[old + unit, at]
            c.session[block + unit, at] = c.session[old + unit, at]
            c.near_touch[block + unit, at] = c.near_touch[old + unit, at]
            for relation in range(NEAR_RELATIONS):
                c.near[block + unit, at, relation] = c.near[old + unit, at, relation]
        c.unit_dirty[block + unit] = 1
    for unit in range(units_of(size_class), units_of(size_class + 1)):  # a block that is used again starts empty
        c.neighbour[block + unit] = 0
        c.touch[block + unit] = 0
        c.long[block + unit] = 0.0
        c.session[block + unit] = 0.0
        c.near_touch[block + unit] = 0
        c.near[block + unit] = 0.0
        c.unit_dirty[block + unit] = 1
    if size_class > 0:
        give(c.slab, c.neighbour, size_class, old)
        c.unit_dirty[old] = 1
    c.start[source] = block
    c.size_class[source] = size_class + 1
    return True


@kernel
def _weakest(c: Covisitation, source: int, target: int, tick: int, seq: int) -> int:
    """Return the weakest by LONG of a few cells of the row, chosen by a hash of the event and the edge."""
    length = c.length[source]
    first = c.start[source] * UNIT
    draw = np.uint64(seq) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(target) * np.uint64(0xC2B2AE3D27D4EB4F)
    best = -1
    best_strength = np.float32(np.inf)
    for _ in range(PROBES):
        draw ^= draw >> np.uint64(29)
        draw *= np.uint64(0xBF58476D1CE4E5B9)
        cell = first + int((draw >> np.uint64(33)) % np.uint64(length))
        unit, at = divmod(cell, UNIT)
        strength = c.long[unit, at] * faded(LONG_HALF_LIFE, tick, c.touch[unit, at])
        if strength < best_strength:
            best_strength = strength
            best = cell
    return best
