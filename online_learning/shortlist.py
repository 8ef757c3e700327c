"""The shortlist: the few hundred items worth scoring for a user, and what the user's history says of each.

One walk over the co-visitation rows of the history adds up every query at once, per item met. The shortlist is the
user's own items, the best by four of the queries, the most popular at five half-lives, and what was chosen last by
anyone; then the rest by LONG98, up to the cap. Scoring creates no state: everything here is scratch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel
from .covisitation import LONG, NEXT, QUICK, REVERSE, SESSION, SESSION_MS, SHORT, TICK, Covisitation, faded
from .histories import Histories
from .popularity import Popularity
from .recency import Recency
from .slab import UNIT

NEXT_SHARE, SHORT_SUM, LONG9, LONG98, LONG7, LONG_MAX, BACK, QUICK_SUM, SESSION_SUM, AFTER_1, AFTER_2, AFTER_3 = range(12)
QUERIES = 12
"""Sums over the history, an item: see `signals` for the formulas."""
CAP = 256
"""Items on a shortlist at most."""
POPULAR = np.array([4, 3, 2, 0, 5], np.int64)
"""The popularity half-lives that propose items: 40, 200, 1,000, ∞, 10 events."""
NEAR = 5
OWN_MOST, OWN_RECENT = 100, 40
PROPOSED_BY = ((SHORT_SUM, 50), (LONG9, 60), (NEXT_SHARE, 30))
PROPOSED_POPULAR = 30


class Scratch(NamedTuple):
    """Working memory of one ranking thread; holds nothing between two rankings."""

    query: NDArray[np.float32]
    """Queries by item row, shape (items, QUERIES)."""
    via: NDArray[np.int32]
    """History place of the largest LONG term, by item row, shape (items,)."""
    met: NDArray[np.int32]
    """Items met on the walk, shape (items,)."""
    on_list: NDArray[np.int64]
    """Stamp of the ranking an item was last shortlisted in, shape (items,)."""
    walked: NDArray[np.int64]
    """Stamp of the ranking an item was last met in, shape (items,)."""
    barred: NDArray[np.int64]
    """Stamp of the ranking an item was last barred in, shape (items,)."""
    stamp: NDArray[np.int64]
    """[0]: the ranking in progress; [1]: items met."""
    heap: NDArray[np.int32]
    heap_key: NDArray[np.float32]
    items: NDArray[np.int32]
    """The shortlist, shape (CAP,)."""


def scratch(items: int) -> Scratch:
    """Reserve working memory for `items` rows."""
    return Scratch(
        query=np.zeros((items, QUERIES), np.float32),
        via=np.zeros(items, np.int32),
        met=np.zeros(items, np.int32),
        on_list=np.zeros(items, np.int64),
        walked=np.zeros(items, np.int64),
        barred=np.zeros(items, np.int64),
        stamp=np.zeros(2, np.int64),
        heap=np.zeros(CAP, np.int32),
        heap_key=np.zeros(CAP, np.float32),
        items=np.zeros(CAP, np.int32),
    )


@kernel
def walk(s: Scratch, c: Covisitation, h: Histories, user: int, now_ms: int, seq: int) -> None:
    """Add up every query over the user's history, newest first, into `s.query` and `s.met`."""
    tick = seq // TICK
    s.stamp[0] += 1
    stamp = s.stamp[0]
    met = 0
    w9, w98, w7 = np.float32(1.0), np.float32(1.0), np.float32(1.0)
    for place in range(h.held[user]):
        source = h.item[user, place]
        length = c.length[source]
        near = place < NEAR
        session = np.float32(np.exp(-max(0.0, float(now_ms - h.ts_ms[user, place])) / SESSION_MS))
        in_session = session > np.float32(1e-3)
        row_touch = c.mass_touch[source]
        tiny = np.float32(1e-9)
        long_mass = np.float32(1.0) / np.sqrt(c.mass[source, LONG] * faded(LONG, tick, row_touch) + tiny)
        short_total = c.mass[source, SHORT] * faded(SHORT, tick, row_touch) + tiny
        short_mass = w7 / np.sqrt(short_total)
        quick_mass = w7 / (c.mass[source, QUICK] * faded(QUICK, tick, row_touch) + tiny)
        session_mass = session / (c.mass[source, SESSION] * faded(SESSION, tick, row_touch) + tiny)
        next_total = c.mass[source, NEXT] * faded(NEXT, tick, row_touch) + tiny
        back_total = c.mass[source, REVERSE] * faded(REVERSE, tick, row_touch) + tiny
        first = c.start[source]
        for cell in range(length):
            unit = first + cell // UNIT
            at = cell % UNIT
            j = c.neighbour[unit, at]
            q = s.query[j]
            if s.walked[j] != stamp:
                s.walked[j] = stamp
                s.met[met] = j
                met += 1
                q[:] = np.float32(0.0)
                s.via[j] = place
            touch = c.touch[unit, at]
            strength = c.strength[unit, at]
            term = strength[LONG] * faded(LONG, tick, touch) * long_mass
            q[LONG9] += w9 * term
            q[LONG7] += w7 * term
            far = w98 * term
            q[LONG98] += far
            if far > q[LONG_MAX]:
                q[LONG_MAX] = far
                s.via[j] = place
            if in_session:
                q[SESSION_SUM] += strength[SESSION] * faded(SESSION, tick, touch) * session_mass
            if near:
                fade = faded(SHORT, tick, touch)
                direct = strength[SHORT] * fade
                q[SHORT_SUM] += direct * short_mass
                q[QUICK_SUM] += strength[QUICK] * faded(QUICK, tick, touch) * quick_mass
                if place == 0:
                    q[NEXT_SHARE] = strength[NEXT] * fade / next_total
                    q[BACK] = strength[REVERSE] * fade / back_total
                    q[AFTER_1] = direct / short_total
                elif place == 1:
                    q[AFTER_2] = direct / short_total
                else:
                    q[AFTER_3] += direct / short_total / np.float32(3.0)
        w9 *= np.float32(0.9)
        w98 *= np.float32(0.98)
        w7 *= np.float32(0.7)
    s.stamp[1] = met


@kernel
def shortlist(s: Scratch, h: Histories, p: Popularity, r: Recency, user: int, own: bool) -> int:
    """Fill `s.items` after `walk`; return how many. Barred items stay out; with `own`, the user's own come first."""
    stamp = s.stamp[0]
    n = 0
    if own:
        for place in range(h.held[user]):
            n = _propose(s, h.item[user, place], n, CAP)
    for by in range(len(PROPOSED_BY)):
        n = _best_met(s, PROPOSED_BY[by][0], PROPOSED_BY[by][1], n)
    for which in POPULAR:
        limit = min(CAP, n + PROPOSED_POPULAR)
        for at in range(p.best_held[which]):
            n = _propose(s, p.best[which, at], n, limit)
    for at in range(r.held[0]):
        n = _propose(s, r.item[at], n, CAP)
    if n < CAP:
        n = _best_met(s, LONG98, CAP - n, n)
    for at in range(n):  # an item nobody met on the walk has empty queries
        item = s.items[at]
        if s.walked[item] != stamp:
            s.query[item, :] = np.float32(0.0)
            s.via[item] = -1
    return n


@kernel
def _propose(s: Scratch, item: int, n: int, limit: int) -> int:
    if n < limit and s.on_list[item] != s.stamp[0] and s.barred[item] != s.stamp[0]:
        s.on_list[item] = s.stamp[0]
        s.items[n] = item
        return n + 1
    return n


@kernel
def _best_met(s: Scratch, by: int, most: int, n: int) -> int:
    """Append the `most` best met items by one query that are not yet listed; ties go to the lower row."""
    stamp = s.stamp[0]
    most = min(most, CAP - n)
    if most <= 0:
        return n
    held = 0
    key, heap = s.heap_key, s.heap
    for at in range(s.stamp[1]):
        item = s.met[at]
        value = s.query[item, by]
        if value <= np.float32(0.0) or s.on_list[item] == stamp or s.barred[item] == stamp:
            continue
        if held < most:
            at_heap = held
            held += 1
            while at_heap > 0:
                parent = (at_heap - 1) // 2
                if key[parent] < value or (key[parent] == value and heap[parent] > item):
                    break
                key[at_heap] = key[parent]
                heap[at_heap] = heap[parent]
                at_heap = parent
            key[at_heap] = value
            heap[at_heap] = item
        elif value > key[0] or (value == key[0] and item < heap[0]):
            at_heap = 0
            while True:
                child = 2 * at_heap + 1
                if child >= held:
                    break
                right = child + 1
                if right < held and (key[right] < key[child] or (key[right] == key[child] and heap[right] > heap[child])):
                    child = right
                if value < key[child] or (value == key[child] and item > heap[child]):
                    break
                key[at_heap] = key[child]
                heap[at_heap] = heap[child]
                at_heap = child
            key[at_heap] = value
            heap[at_heap] = item
    for at in range(held):
        item = heap[at]
        s.on_list[item] = stamp
        s.items[n] = item
        n += 1
    return n
