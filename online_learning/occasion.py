"""Occasion: an item's popularity given the circumstances of the choice.

Counts of half-life 3,000 events are kept apart by how long the user's history is, how long ago their last event was,
and the three-hour slot of the day; and, over all, for the first three events of each user.

An event adds its weight. Signals: ln(1 + FINE · c(j | circumstance) / Σ c(· | circumstance)).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .compiled import inlined, kernel
from .decay import halved
from .signal import FINE, ONE, POPULAR, Signal
from .vocabulary import Vocabulary

HALF_LIFE_EVENTS = 3000.0
BY_LENGTH, LENGTHS = 0, 12
BY_GAP, GAPS = 12, 6
BY_SLOT, SLOTS = 18, 8
BEGINNING = 26
CELLS = 32
"""27 are used; 32 are two cache lines."""
_SLOT_MS = 3 * 3_600_000
_FIRST_EVENTS = 3
_PER_EVENT = np.float32(1.0 / HALF_LIFE_EVENTS)
SIGNALS = (
    Signal("popular_at_length", POPULAR),
    Signal("popular_at_gap", POPULAR),
    Signal("popular_at_hour", POPULAR),
    Signal("popular_to_begin", POPULAR),
)


class Occasion(NamedTuple):
    """Arrays by item row. Written by `count_occasion` alone."""

    value: NDArray[np.float32]
    """Counts at `touch`, shape (items, CELLS)."""
    touch: NDArray[np.int64]
    """`seq` of the item's last event, shape (items,)."""
    dirty: NDArray[np.uint8]
    total: NDArray[np.float32]
    """Sums over all items at `total_touch`, shape (CELLS,)."""
    total_touch: NDArray[np.int64]
    total_dirty: NDArray[np.uint8]


def occasion(arena: Arena, items: Vocabulary) -> Occasion:
    """Declare the counts of all items."""
    table = arena.table("occasion", items.capacity, lambda: len(items), of=items.name)
    total = arena.table("occasion_total", 1, lambda: 1)
    return Occasion(
        value=table.array("value", np.float32, CELLS),
        touch=table.array("touch", np.int64),
        dirty=table.dirty,
        total=total.array("total", np.float32, CELLS)[0],
        total_touch=total.array("touch", np.int64),
        total_dirty=total.dirty,
    )


@inlined
def length_cell(events: int) -> int:
    """Return the cell for a history of so many events: 0, 1, 2–3, 4–7, …"""
    cell = 0
    while events > 0 and cell < LENGTHS - 1:
        events >>= 1
        cell += 1
    return cell


@inlined
def slot_cell(ts_ms: int) -> int:
    """Return the cell for the time of day, UTC."""
    return BY_SLOT + int(ts_ms // _SLOT_MS) % SLOTS


@kernel
def count_occasion(
    o: Occasion, item: int, events: int, gap_class: int, ts_ms: int, seq: int, weight: np.float32
) -> None:
    """Add `weight` for a choice of `item` by a user of so many `events`, `gap_class` (0 … GAPS - 1) after the last."""
    fade = halved(np.float32(seq - o.touch[item]) * _PER_EVENT)
    fade_total = halved(np.float32(seq - o.total_touch[0]) * _PER_EVENT)
    value = o.value[item]
    for cell in range(CELLS):
        value[cell] *= fade
        o.total[cell] *= fade_total
    _add(o, value, length_cell(events), weight)
    _add(o, value, BY_GAP + gap_class, weight)
    _add(o, value, slot_cell(ts_ms), weight)
    if events < _FIRST_EVENTS:
        _add(o, value, BEGINNING, weight)
    o.touch[item] = seq
    o.total_touch[0] = seq
    o.dirty[item] = 1
    o.total_dirty[0] = 1


@inlined
def _add(o: Occasion, value: NDArray[np.float32], cell: int, weight: np.float32) -> None:
    value[cell] += weight
    o.total[cell] += weight


@kernel
def describe_occasion(
    o: Occasion,
    items: NDArray[np.int32],
    n: int,
    events: int,
    gap_class: int,
    ts_ms: int,
    out: NDArray[np.float32],
    first: int,
) -> None:
    """Write the signals of `items[:n]` into rows `first` … of `out`, shape (…, n)."""
    length, gap, slot = length_cell(events), BY_GAP + gap_class, slot_cell(ts_ms)
    one = np.float32(1.0)
    by_length = one / max(one, o.total[length])
    by_gap = one / max(one, o.total[gap])
    by_slot = one / max(one, o.total[slot])
    by_beginning = one / max(one, o.total[BEGINNING])
    for at in range(n):
        j = items[at]
        value = o.value[j]
        fade = halved(np.float32(o.total_touch[0] - o.touch[j]) * _PER_EVENT)
        out[first, at] = ONE + FINE * value[length] * fade * by_length
        out[first + 1, at] = ONE + FINE * value[gap] * fade * by_gap
        out[first + 2, at] = ONE + FINE * value[slot] * fade * by_slot
        out[first + 3, at] = ONE + FINE * value[BEGINNING] * fade * by_beginning
