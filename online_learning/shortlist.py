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
from .popularity import Popularity
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
LONG_PER_TICK = np.float32(TICK / LONG_HALF_LIFE)
SESSION_PER_TICK = np.float32(TICK / SESSION_HALF_LIFE)


class Scratch(NamedTuple):
    """Working memory of one ranking thread; holds nothing between two rankings."""

    far: NDArray[np.float32]
    """By item row, shape (items, 4)."""
    near: NDArray[np.float32]
    """By item row, shape (items, 8)."""
    via: NDArray[np.int32]
    """History place of the largest LONG term, by item row, shape (items,)."""
    met: NDArray[np.int32]
    """Items met on the walk: those whose queries are not zero, shape (items,)."""
    on_list: NDArray[np.int64]
    """Stamp of the ranking an item was last shortlisted in, shape (items,)."""
    barred: NDArray[np.int64]
    """Stamp of the ranking an item was last barred in, shape (items,)."""
    stamp: NDArray[np.int64]
    """[0]: the ranking in progress; [1]: items met."""
    heap: NDArray[np.int32]
    heap_key: NDArray[np.float32]
    items: NDArray[np.int32]
    """The shortlist, shape (CAP,)."""
    long: NDArray[np.float32]
    session: NDArray[np.float32]


def scratch(items: int) -> Scratch:
    """Reserve working memory for `items` rows."""
    return Scratch(
        far=np.zeros((items, 4), np.float32),
        near=np.zeros((items, 8), np.float32),
        via=np.zeros(items, np.int32),
        met=np.zeros(items, np.int32),
        on_list=np.zeros(items, np.int64),
        barred=np.zeros(items, np.int64),
        stamp=np.zeros(2, np.int64),
        heap=np.zeros(CAP, np.int32),
        heap_key=np.zeros(CAP, np.float32),
        items=np.zeros(CAP, np.int32),
        long=np.zeros(UNIT, np.float32),
        session=np.zeros(UNIT, np.float32),
    )


@kernel
def walk(s: Scratch, c: Covisitation, h: Histories, user: int, now_ms: int, seq: int) -> None:
    """Add up every query over the user's history, newest first, into `s.far`, `s.near` and `s.met`."""
    for at in range(s.stamp[1]):
        s.far[s.met[at], :] = np.float32(0.0)
        s.near[s.met[at], :] = np.float32(0.0)
    s.stamp[0] += 1
    s.stamp[1] = 0
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
    met = s.stamp[1]
    unit = c.start[source]
    while length > 0:
        _fade_unit(c.long[unit], c.touch[unit], tick, LONG_PER_TICK, long_factor, s.long)
        if in_session:
            _fade_unit(c.session[unit], c.touch[unit], tick, SESSION_PER_TICK, session_factor, s.session)
        for at in range(min(length, UNIT)):
            j = c.neighbour[unit, at]
            q = s.far[j]
            term = s.long[at]
            if q[LONG98] == np.float32(0.0):
                s.met[met] = j
                met += 1
            far = w98 * term
            q[LONG98] += far
            q[LONG9] += w9 * term
            if far > q[LONG_MAX]:
                q[LONG_MAX] = far
                s.via[j] = place
            q[SESSION_SUM] += s.session[at]
        length -= UNIT
        unit += 1
    s.stamp[1] = met


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
    first = c.start[source]
    for cell in range(c.length[source]):
        unit, at = first + cell // UNIT, cell % UNIT
        near = c.near[unit, at]
        q = s.near[c.neighbour[unit, at]]
        fade = near_faded(SHORT, tick, c.near_touch[unit, at])
        direct = near[SHORT] * fade
        q[SHORT_SUM] += direct * short_factor
        q[QUICK_SUM] += near[QUICK] * near_faded(QUICK, tick, c.near_touch[unit, at]) * quick_factor
        if place == 0:
            q[NEXT_SHARE] = near[NEXT] * fade / next_total
            q[BACK] = near[REVERSE] * fade / back_total
            q[AFTER_1] = direct / short_total
        elif place == 1:
            q[AFTER_2] = direct / short_total
        else:
            q[AFTER_3] += direct / short_total / np.float32(3.0)


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


@kernel
def _propose(s: Scratch, item: int, n: int, limit: int) -> int:
    if n < limit and s.on_list[item] != s.stamp[0] and s.barred[item] != s.stamp[0]:
        s.on_list[item] = s.stamp[0]
        s.items[n] = item
        return n + 1
    return n


@kernel
def _best_met(s: Scratch, queries: NDArray[np.float32], by: int, most: int, n: int) -> int:
    """Append the `most` best met items by one query that are not yet listed; ties go to the lower row."""
    stamp = s.stamp[0]
    most = min(most, CAP - n)
    if most <= 0:
        return n
    held = 0
    key, heap = s.heap_key, s.heap
    for at in range(s.stamp[1]):
        item = s.met[at]
        value = queries[item, by]
        if value <= np.float32(0.0) or s.on_list[item] == stamp or s.barred[item] == stamp:
            continue
        if held < most:
            _sift_up(heap, key, held, item, value)
            held += 1
        elif value > key[0] or (value == key[0] and item < heap[0]):
            _sift_down(heap, key, held, item, value)
    for at in range(held):
        item = heap[at]
        s.on_list[item] = stamp
        s.items[n] = item
        n += 1
    return n


@kernel
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
