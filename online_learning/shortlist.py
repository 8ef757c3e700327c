"""The shortlist: the few hundred items worth scoring for a user, and what the user's history says of each.

One walk over the co-visitation rows of the history adds up every query at once, per item met. The shortlist is the
user's own items, the best by four of the queries, the most popular at five half-lives, and what was chosen last by
anyone; then the rest by LONG98, up to the cap. Scoring creates no state: everything here is scratch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compiled import inlined, kernel
from .covisitation import (
    LONG_HALF_LIFE,
    NEAR_HALF_LIVES,
    NEXT,
    QUICK,
    REACH,
    REVERSE,
    SESSION_HALF_LIFE,
    SESSION_MS,
    SHORT,
    TICK,
    Covisitation,
    faded,
    near_faded,
)
from .decay import halved
from .histories import Histories
from .popularity import COUNTS, Popularity
from .recency import Recency
from .slab import UNIT

LONG98, LONG9, LONG_MAX, SESSION_SUM = range(4)
"""Sums over the whole history, columns of `far`: 16 bytes an item, so that a catalogue's worth stays in the cache."""
NEXT_SHARE, SHORT_SUM, BACK, QUICK_SUM, AFTER_1, AFTER_2, AFTER_3 = range(7)
"""Sums over the newest items, columns of `near`. See `signals` for the formulas."""
CAP = 256
"""Items on a shortlist at most."""
POPULAR = np.array([4, 3, 2, 0, 5], np.int64)
"""The popularity half-lives that propose items: 40, 200, 1,000, ∞, 10 events."""
OWN_MOST, OWN_RECENT = 100, 40
PROPOSED_POPULAR = 30
TINY = np.float32(1e-9)
OPEN, LISTED, BARRED = 0, 1, 2
LONG_PER_TICK = np.float32(TICK / LONG_HALF_LIFE)
SESSION_PER_TICK = np.float32(TICK / SESSION_HALF_LIFE)
SHORT_PER_TICK = np.float32(TICK / NEAR_HALF_LIVES[SHORT])
QUICK_PER_TICK = np.float32(TICK / NEAR_HALF_LIVES[QUICK])


class Scratch(NamedTuple):
    """Working memory of one ranking thread; holds nothing between two rankings.

    Each item that a ranking meets gets a slot, 1, 2, …, and what is added up for it stands at its slot: a few thousand
    rows side by side, where the catalogue's own rows would be strewn over memory.
    """

    slot: NDArray[np.int32]
    """Slot of an item in the present ranking, 0 for none; shape (items,)."""
    met: NDArray[np.int32]
    """Item at a slot, shape (items + 1,)."""
    far: NDArray[np.float32]
    """Shape (items + 1, 4)."""
    near: NDArray[np.float32]
    """Shape (items + 1, 8)."""
    via: NDArray[np.int32]
    """History place of the largest LONG term, or -1; shape (items + 1,)."""
    standing: NDArray[np.uint8]
    """OPEN, LISTED or BARRED, shape (items + 1,)."""
    slots: NDArray[np.int64]
    """[0]: slots given out; [1]: of these, by the walk."""
    heap: NDArray[np.int32]
    heap_key: NDArray[np.float32]
    items: NDArray[np.int32]
    """The shortlist, shape (CAP,)."""
    per_event: NDArray[np.float32]
    """By popularity count, 1 over the sum of all items' counts, shape (COUNTS,)."""
    long: NDArray[np.float32]
    session: NDArray[np.float32]
    """Working rows of one unit of cells, shape (UNIT,) each."""


def scratch(items: int) -> Scratch:
    """Reserve working memory for `items` rows."""
    return Scratch(
        slot=np.zeros(items, np.int32),
        met=np.zeros(items + 1, np.int32),
        far=np.zeros((items + 1, 4), np.float32),
        near=np.zeros((items + 1, 8), np.float32),
        via=np.zeros(items + 1, np.int32),
        standing=np.zeros(items + 1, np.uint8),
        slots=np.zeros(2, np.int64),
        heap=np.zeros(CAP, np.int32),
        heap_key=np.zeros(CAP, np.float32),
        items=np.zeros(CAP, np.int32),
        per_event=np.zeros(COUNTS, np.float32),
        long=np.zeros(UNIT, np.float32),
        session=np.zeros(UNIT, np.float32),
    )


@inlined
def slot_of(s: Scratch, item: int) -> int:
    """Return the item's slot; one met for the first time gets a new one, with nothing added up yet."""
    slot = s.slot[item]
    if slot == 0:
        s.slots[0] += 1
        slot = np.int32(s.slots[0])
        s.slot[item] = slot
        s.met[slot] = item
        s.far[slot, :] = np.float32(0.0)
        s.near[slot, :] = np.float32(0.0)
        s.via[slot] = -1
        s.standing[slot] = OPEN
    return int(slot)


@kernel
def bar(s: Scratch, item: int) -> None:
    """Keep `item` off this ranking's shortlist."""
    s.standing[slot_of(s, item)] = BARRED


@kernel
def is_barred(s: Scratch, item: int) -> bool:
    """Tell whether `item` is barred from this ranking."""
    return bool(s.slot[item] > 0 and s.standing[s.slot[item]] == BARRED)


@kernel
def walk(s: Scratch, c: Covisitation, h: Histories, user: int, now_ms: int, seq: int) -> None:
    """Begin a ranking: add up every query over the user's history, newest first, into `s.far` and `s.near`."""
    for slot in range(1, s.slots[0] + 1):
        s.slot[s.met[slot]] = 0
    s.slots[0] = 0
    tick = seq // TICK
    w98, w9, w7 = np.float32(1.0), np.float32(1.0), np.float32(1.0)
    for place in range(h.held[user]):
        source = h.item[user, place]
        session = np.float32(np.exp(-max(0.0, float(now_ms - h.ts_ms[user, place])) / SESSION_MS))
        _walk_far(s, c, source, place, tick, session, w98, w9)
        if place < REACH:
            _walk_near(s, c, source, place, tick, w7)
        w98 *= np.float32(0.98)
        w9 *= np.float32(0.9)
        w7 *= np.float32(0.7)
    s.slots[1] = s.slots[0]


@kernel
def _walk_far(
    s: Scratch,
    c: Covisitation,
    source: int,
    place: int,
    tick: int,
    session: np.float32,
    w98: np.float32,
    w9: np.float32,
) -> None:
    """Add the row's LONG and SESSION terms. Most of a long history's time is spent here."""
    length = c.length[source]
    touch = c.mass_touch[source]
    long_factor = np.float32(1.0) / np.sqrt(c.mass[source, 0] * faded(LONG_HALF_LIFE, tick, touch) + TINY)
    session_factor = session / (c.mass[source, 1] * faded(SESSION_HALF_LIFE, tick, touch) + TINY)
    in_session = session > np.float32(1e-3)
    if not in_session:
        s.session[:] = np.float32(0.0)
    unit = c.start[source]
    while length > 0:
        _fade_unit(c.long[unit], c.touch[unit], tick, LONG_PER_TICK, long_factor, s.long)
        if in_session:
            _fade_unit(c.session[unit], c.touch[unit], tick, SESSION_PER_TICK, session_factor, s.session)
        for at in range(min(length, UNIT)):
            slot = slot_of(s, c.neighbour[unit, at])
            q = s.far[slot]
            term = s.long[at]
            far = w98 * term
            q[LONG98] += far
            q[LONG9] += w9 * term
            if far > q[LONG_MAX]:
                q[LONG_MAX] = far
                s.via[slot] = place
            q[SESSION_SUM] += s.session[at]
        length -= UNIT
        unit += 1


@inlined
def _fade_unit(
    strength: NDArray[np.float32],
    touch: NDArray[np.int32],
    tick: int,
    per_tick: np.float32,
    factor: np.float32,
    out: NDArray[np.float32],
) -> None:
    """Write a unit's strengths as of `tick`, times `factor`."""
    for at in range(UNIT):
        out[at] = factor * strength[at] * halved(np.float32(tick - touch[at]) * per_tick)


@kernel
def _walk_near(s: Scratch, c: Covisitation, source: int, place: int, tick: int, w7: np.float32) -> None:
    """Add the row's near terms, of one of the newest items."""
    touch = c.near_mass_touch[source]
    short_total = c.near_mass[source, SHORT] * near_faded(SHORT, tick, touch) + TINY
    short_factor = w7 / np.sqrt(short_total)
    quick_factor = w7 / (c.near_mass[source, QUICK] * near_faded(QUICK, tick, touch) + TINY)
    next_total = c.near_mass[source, NEXT] * near_faded(NEXT, tick, touch) + TINY
    back_total = c.near_mass[source, REVERSE] * near_faded(REVERSE, tick, touch) + TINY
    unit = c.start[source]
    length = c.length[source]
    while length > 0:
        for at in range(UNIT):
            age = np.float32(tick - c.near_touch[unit, at])
            s.long[at] = halved(age * SHORT_PER_TICK)
            s.session[at] = halved(age * QUICK_PER_TICK)
        for at in range(min(length, UNIT)):
            slot = s.slot[c.neighbour[unit, at]]
            fade = s.long[at]
            direct = c.near[unit, at, SHORT] * fade
            s.near[slot, SHORT_SUM] += direct * short_factor
            s.near[slot, QUICK_SUM] += c.near[unit, at, QUICK] * s.session[at] * quick_factor
            if place == 0:
                s.near[slot, NEXT_SHARE] = c.near[unit, at, NEXT] * fade / next_total
                s.near[slot, BACK] = c.near[unit, at, REVERSE] * fade / back_total
                s.near[slot, AFTER_1] = direct / short_total
            elif place == 1:
                s.near[slot, AFTER_2] = direct / short_total
            else:
                s.near[slot, AFTER_3] += direct / short_total / np.float32(3.0)
        length -= UNIT
        unit += 1


@kernel
def shortlist(s: Scratch, h: Histories, p: Popularity, r: Recency, user: int, own: bool) -> int:
    """Fill `s.items` after `walk`; return how many. Barred items stay out.

    With `own`, the user's own items come first, in the order of the history.
    """
    n = 0
    if own:
        for place in range(h.held[user]):
            n = _propose(s, h.item[user, place], n, CAP)
    n = _best_met(s, s.near, SHORT_SUM, 50, n)
    n = _best_met(s, s.far, LONG9, 60, n)
    n = _best_met(s, s.near, NEXT_SHARE, 30, n)
    for which in POPULAR:
        limit = min(CAP, n + PROPOSED_POPULAR)
        for at in range(p.best_held[which]):
            n = _propose(s, p.best[which, at], n, limit)
    for at in range(r.held[0]):
        n = _propose(s, r.item[at], n, CAP)
    if n < CAP:
        n = _best_met(s, s.far, LONG98, CAP - n, n)
    return n


@inlined
def _propose(s: Scratch, item: int, n: int, limit: int) -> int:
    if n < limit:
        slot = slot_of(s, item)
        if s.standing[slot] == OPEN:
            s.standing[slot] = LISTED
            s.items[n] = item
            return n + 1
    return n


@kernel
def _best_met(s: Scratch, queries: NDArray[np.float32], by: int, most: int, n: int) -> int:
    """Append the `most` best items of the walk by one query that are still open; ties go to the lower row."""
    most = min(most, CAP - n)
    if most <= 0:
        return n
    held = 0
    key, heap = s.heap_key, s.heap
    for slot in range(1, s.slots[1] + 1):
        value = queries[slot, by]
        if value <= np.float32(0.0) or s.standing[slot] != OPEN:
            continue
        item = s.met[slot]
        if held < most:
            _sift_up(heap, key, held, item, value)
            held += 1
        elif value > key[0] or (value == key[0] and item < heap[0]):
            _sift_down(heap, key, held, item, value)
    for at in range(held):
        n = _propose(s, heap[at], n, CAP)
    return n


@inlined
def _worse(value: np.float32, item: int, other_value: np.float32, other_item: int) -> bool:
    """Tell whether the first has the lower value, or the same and the higher row: what a heap's root is."""
    return bool(value < other_value or (value == other_value and item > other_item))


@kernel
def _sift_up(heap: NDArray[np.int32], key: NDArray[np.float32], at: int, item: int, value: np.float32) -> None:
    """Put `item` into the heap of `at` items, the worst at its root."""
    while at > 0:
        parent = (at - 1) // 2
        if _worse(key[parent], heap[parent], value, item):
            break
        key[at] = key[parent]
        heap[at] = heap[parent]
        at = parent
    key[at] = value
    heap[at] = item


@kernel
def _sift_down(heap: NDArray[np.int32], key: NDArray[np.float32], held: int, item: int, value: np.float32) -> None:
    """Replace the root of the heap of `held` items by `item`."""
    at = 0
    while 2 * at + 1 < held:
        child = 2 * at + 1
        if child + 1 < held and _worse(key[child + 1], heap[child + 1], key[child], heap[child]):
            child += 1
        if _worse(value, item, key[child], heap[child]):
            break
        key[at] = key[child]
        heap[at] = heap[child]
        at = child
    key[at] = value
    heap[at] = item
