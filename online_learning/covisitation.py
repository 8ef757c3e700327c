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

Each times the weight of the event.

A row is a block of 16, 32, … cells from one slab; a full block moves into one of twice the size, up to the cap; in a
full row at the cap a new edge replaces the weakest of a few probed. So memory follows use, and a row is bounded.

Cells are laid out for the walk that ranking makes. What far history needs (neighbour, LONG, SESSION) stands in vectors
of a unit's 16 cells; what only the newest five items need (`near`) stands apart. A unit's cells share one touch: they
fade together when any of them is strengthened, so that reading takes one power of two a unit and not one a cell.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .compiled import inlined, kernel
from .decay import halved
from .histories import Histories, since_ms
from .slab import UNIT, give, size_classes, take, units_of
from .vocabulary import Vocabulary

NEXT, SHORT, REVERSE, QUICK = range(4)
"""Relations of the newest items, first axis of a unit's `near`; QUICK alone fades fast."""
NEAR_RELATIONS = 4
LONG_HALF_LIFE = 50_000.0
HALF_LIFE = 30_000.0
"""Of SESSION, NEXT, SHORT and REVERSE."""
QUICK_HALF_LIFE = 1_500.0
TICK = 16
"""Events a tick: a touch is a 32-bit count of ticks, enough for 3·10^10 events."""
LONG_PER_TICK = np.float32(TICK / LONG_HALF_LIFE)
PER_TICK = np.float32(TICK / HALF_LIFE)
QUICK_PER_TICK = np.float32(TICK / QUICK_HALF_LIFE)
REACH = 5
"""How many of the newest items the near relations join."""
SESSION_MS = 30 * 60_000.0
FORGOTTEN = np.float32(1e-3)
"""A SESSION strength below this counts as none."""
PROBES = 8


class Covisitation(NamedTuple):
    """Rows by item, cells in blocks. Written by `covisit`, and as items are forgotten."""

    start: NDArray[np.int32]
    """First unit of the row's block, shape (items,)."""
    size_class: NDArray[np.int8]
    length: NDArray[np.int32]
    """Edges held, shape (items,)."""
    mass: NDArray[np.float32]
    """Sums of the row's LONG, SESSION and four near strengths at `mass_touch`, shape (items, 6)."""
    mass_touch: NDArray[np.int32]
    row_dirty: NDArray[np.uint8]
    neighbour: NDArray[np.int32]
    """Item row at the edge's end, shape (units, UNIT)."""
    long: NDArray[np.float32]
    session: NDArray[np.float32]
    near: NDArray[np.float32]
    """Shape (units, NEAR_RELATIONS, UNIT)."""
    touch: NDArray[np.int32]
    """Tick as of which the unit's strengths stand, shape (units,)."""
    unit_dirty: NDArray[np.uint8]
    slab: NDArray[np.int64]
    slab_dirty: NDArray[np.uint8]


LONG_MASS, SESSION_MASS, NEAR_MASS = 0, 1, 2
"""Columns of `mass`; a near relation's is NEAR_MASS + its number."""


def covisitation(arena: Arena, items: Vocabulary, *, row_cells: int, cells_per_item: int) -> Covisitation:
    """Declare the edges of all items: at most `row_cells` a row, `cells_per_item` on average."""
    units = items.capacity * cells_per_item // UNIT
    rows = arena.table("covisitation_rows", items.capacity, lambda: len(items), of=items.name)
    slab_table = arena.table("covisitation_slab", 1, lambda: 1)
    slab = slab_table.array("slab", np.int64, 1 + size_classes(row_cells))
    cells = arena.table("covisitation_cells", units, lambda: int(slab[0, 0]))
    return Covisitation(
        start=rows.array("start", np.int32),
        size_class=rows.array("size_class", np.int8),
        length=rows.array("length", np.int32),
        mass=rows.array("mass", np.float32, NEAR_MASS + NEAR_RELATIONS),
        mass_touch=rows.array("mass_touch", np.int32),
        row_dirty=rows.dirty,
        neighbour=cells.array("neighbour", np.int32, UNIT),
        long=cells.array("long", np.float32, UNIT),
        session=cells.array("session", np.float32, UNIT),
        near=cells.array("near", np.float32, NEAR_RELATIONS, UNIT),
        touch=cells.array("touch", np.int32),
        unit_dirty=cells.dirty,
        slab=slab[0],
        slab_dirty=slab_table.dirty,
    )


@inlined
def ticks(tick: int, touch: int) -> np.float32:
    """Return the ticks since `touch`."""
    return np.float32(tick - touch)


@kernel
def covisit(c: Covisitation, h: Histories, user: int, item: int, ts_ms: int, seq: int, weight: np.float32) -> None:
    """Strengthen the edges between `item` and the user's history as it was before this event, by `weight` at most."""
    tick = seq // TICK
    zero = np.float32(0.0)
    short = weight
    long = weight
    distance = 0
    for place in range(h.held[user]):
        other = h.item[user, place]
        if other == item or h.quiet[user, place]:
            continue
        session = np.float32(np.exp(-since_ms(h, user, place, ts_ms) / SESSION_MS))
        if session < FORGOTTEN:
            session = zero
        session *= weight
        last = weight if distance == 0 else zero
        near = distance < REACH
        half = short * np.float32(0.5)
        _strengthen(c, other, item, tick, seq, long, session, near, last, short, zero, short)
        _strengthen(c, item, other, tick, seq, long, session, near, zero, half, last, half)
        short *= np.float32(0.7)
        long *= np.float32(0.97)
        distance += 1


@kernel
def _strengthen(
    c: Covisitation,
    source: int,
    target: int,
    tick: int,
    seq: int,
    long: np.float32,
    session: np.float32,
    is_near: bool,
    next_: np.float32,
    short: np.float32,
    reverse: np.float32,
    quick: np.float32,
) -> None:
    """Add to the relations of edge source → target, the near ones only where it `is_near`; bring its unit up to now.

    An edge for which the slab has no room is counted in the row's mass alone.
    """
    mass = c.mass[source]
    dt = ticks(tick, c.mass_touch[source])
    if dt > np.float32(0.0):
        fade = halved(dt * PER_TICK)
        mass[LONG_MASS] *= halved(dt * LONG_PER_TICK)
        mass[SESSION_MASS] *= fade
        mass[NEAR_MASS + NEXT] *= fade
        mass[NEAR_MASS + SHORT] *= fade
        mass[NEAR_MASS + REVERSE] *= fade
        mass[NEAR_MASS + QUICK] *= halved(dt * QUICK_PER_TICK)
        c.mass_touch[source] = tick
    mass[LONG_MASS] += long
    mass[SESSION_MASS] += session
    c.row_dirty[source] = 1
    cell = _find(c, source, target)
    if cell < 0:
        cell = _place(c, source, target, tick, seq)
    if cell >= 0:
        unit, at = divmod(cell, UNIT)
        _fade_unit(c, unit, tick)
        c.unit_dirty[unit] = 1
        c.long[unit, at] += long
        c.session[unit, at] += session
        if is_near:
            near = c.near[unit]
            near[NEXT, at] += next_
            near[SHORT, at] += short
            near[REVERSE, at] += reverse
            near[QUICK, at] += quick
        _climb(c, source, cell, tick)
    if is_near:
        mass[NEAR_MASS + NEXT] += next_
        mass[NEAR_MASS + SHORT] += short
        mass[NEAR_MASS + REVERSE] += reverse
        mass[NEAR_MASS + QUICK] += quick


@inlined
def _fade_unit(c: Covisitation, unit: int, tick: int) -> None:
    """Bring all strengths of a unit from its touch to `tick`."""
    dt = ticks(tick, c.touch[unit])
    if dt > np.float32(0.0):
        long_fade, fade, quick_fade = halved(dt * LONG_PER_TICK), halved(dt * PER_TICK), halved(dt * QUICK_PER_TICK)
        near = c.near[unit]
        for at in range(UNIT):
            c.long[unit, at] *= long_fade
            c.session[unit, at] *= fade
            near[NEXT, at] *= fade
            near[SHORT, at] *= fade
            near[REVERSE, at] *= fade
            near[QUICK, at] *= quick_fade
        c.touch[unit] = tick


@inlined
def _climb(c: Covisitation, source: int, cell: int, tick: int) -> None:
    """Let the edge at `cell`, just strengthened, change places with the one halfway to the front if that is weaker.

    So a row's strongest edges gather at its front: they are found soonest, and a walk may stop before the tail.
    """
    first = c.start[source] * UNIT
    higher = first + (cell - first) // 2
    unit, at = divmod(cell, UNIT)
    other, there = divmod(higher, UNIT)
    if c.long[other, there] * halved(ticks(tick, c.touch[other]) * LONG_PER_TICK) < c.long[unit, at]:
        _fade_unit(c, other, tick)
        c.unit_dirty[other] = 1
        c.neighbour[unit, at], c.neighbour[other, there] = c.neighbour[other, there], c.neighbour[unit, at]
        c.long[unit, at], c.long[other, there] = c.long[other, there], c.long[unit, at]
        c.session[unit, at], c.session[other, there] = c.session[other, there], c.session[unit, at]
        for relation in range(NEAR_RELATIONS):
            mine = c.near[unit, relation, at]
            c.near[unit, relation, at] = c.near[other, relation, there]
            c.near[other, relation, there] = mine


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
    """Return an empty cell for a new edge: the next one, in a larger block if need be, or the weakest of a few.

    -1 means that the slab has no block left for an empty row.
    """
    length = c.length[source]
    if length == units_of(c.size_class[source]) * UNIT and not _grow(c, source):
        if length == 0:
            return -1
        cell = _weakest(c, source, target, tick, seq)
    else:
        c.length[source] = length + 1
        cell = int(c.start[source] * UNIT + length)
    unit, at = divmod(cell, UNIT)
    c.neighbour[unit, at] = target
    c.long[unit, at] = 0.0
    c.session[unit, at] = 0.0
    for relation in range(NEAR_RELATIONS):
        c.near[unit, relation, at] = 0.0
    return cell


@kernel
def _grow(c: Covisitation, source: int) -> bool:
    """Move the row into a block of twice the size; False at the cap, or when the slab is used up."""
    size_class = c.size_class[source]
    block = take(c.slab, c.neighbour, c.unit_dirty, size_class + 1)
    if block < 0:
        return False
    c.slab_dirty[0] = 1
    old = c.start[source]
    for unit in range(units_of(size_class)):
        for at in range(UNIT):
            c.neighbour[block + unit, at] = c.neighbour[old + unit, at]
            c.long[block + unit, at] = c.long[old + unit, at]
            c.session[block + unit, at] = c.session[old + unit, at]
            for relation in range(NEAR_RELATIONS):
                c.near[block + unit, relation, at] = c.near[old + unit, relation, at]
        c.touch[block + unit] = c.touch[old + unit]
        c.unit_dirty[block + unit] = 1
    for unit in range(units_of(size_class), units_of(size_class + 1)):  # a block that is used again starts empty
        c.neighbour[block + unit] = 0
        c.long[block + unit] = 0.0
        c.session[block + unit] = 0.0
        c.near[block + unit] = 0.0
        c.touch[block + unit] = 0
        c.unit_dirty[block + unit] = 1
    if size_class > 0:
        give(c.slab, c.neighbour, c.unit_dirty, size_class, old)
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
        strength = c.long[unit, at] * halved(ticks(tick, c.touch[unit]) * LONG_PER_TICK)
        if strength < best_strength:
            best_strength = strength
            best = cell
    return best


@kernel
def drop_edges(c: Covisitation, gone: NDArray[np.bool_], item: int, tick: int) -> None:
    """Take the edges to items that are `gone`, shape (items,), out of the row; each place goes to the last edge.

    What they were counted for stays in the row's mass, as with an edge that gave way to another.
    """
    first = c.start[item] * UNIT
    cell = first
    while cell < first + c.length[item]:
        unit, at = divmod(cell, UNIT)
        if not gone[c.neighbour[unit, at]]:
            cell += 1
            continue
        other, there = divmod(first + c.length[item] - 1, UNIT)
        _fade_unit(c, unit, tick)
        _fade_unit(c, other, tick)
        c.neighbour[unit, at], c.neighbour[other, there] = c.neighbour[other, there], 0
        c.long[unit, at], c.long[other, there] = c.long[other, there], 0.0
        c.session[unit, at], c.session[other, there] = c.session[other, there], 0.0
        for relation in range(NEAR_RELATIONS):
            c.near[unit, relation, at] = c.near[other, relation, there]
            c.near[other, relation, there] = 0.0
        c.unit_dirty[unit] = 1
        c.unit_dirty[other] = 1
        c.length[item] -= 1
        c.row_dirty[item] = 1


@kernel
def give_back_edges(c: Covisitation, item: int) -> None:
    """Give the cells of a row that is about to be cleared back to the slab."""
    if c.size_class[item] > 0:
        give(c.slab, c.neighbour, c.unit_dirty, c.size_class[item], c.start[item])
        c.slab_dirty[0] = 1
