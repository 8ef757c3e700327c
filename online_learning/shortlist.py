"""The shortlist: the few hundred items worth scoring for a user.

It is the user's own items, the best by four of the walk's queries, the most popular at five half-lives, and what was
chosen last by anyone; then the rest by LONG98, up to the cap. Scoring creates no state: everything here is scratch.
"""

from __future__ import annotations

import numpy as np

from .compiled import inlined, kernel
from .heap import offer
from .histories import Histories
from .popularity import EVENTS, Popularity
from .recency import Recency
from .scratch import CAP, KNN, LISTED, LONG9, LONG98, NEXT_SHARE, OPEN, SHORT_SUM, Scratch, touch

POPULAR = np.array([3, 2, 1, 8, 4], np.int64)
"""The popularity counts that propose items: half-lives of 40, 200 and 1,000 events, ∞, and 10 events."""
ZERO = np.float32(0.0)
FULL, LEAN = 0, 1
"""How thoroughly a user is ranked. LEAN looks less far and scores fewer: for lists, while the stream is too fast."""
MOST = (CAP, 128)
MOST_OWN = (64, 20)
BEST_SHORT, BEST_LONG, BEST_KNN, BEST_NEXT = (50, 16), (60, 16), (30, 0), (30, 8)
PROPOSED_POPULAR = (30, 20)
MOST_RECENT = (40, 40)
"""By effort: items on the shortlist, and how many of each kind are proposed."""


@kernel
def shortlist(s: Scratch, h: Histories, p: Popularity, r: Recency, user: int, own: bool, effort: int) -> int:
    """Fill `s.items` after `walk`; return how many. Barred items stay out, and items that were forgotten.

    With `own`, the user's own items come first, in the order of the history.
    """
    cap = MOST[effort]
    n = _propose_own(s, p, h, user, MOST_OWN[effort] if own else 0, cap)
    n = _best_by_query(s, p, n, effort)
    for which in POPULAR:
        limit = min(cap, n + PROPOSED_POPULAR[effort])
        for at in range(p.best_held[which]):
            n = _propose(s, p, p.best[which, at], n, limit)
    for at in range(min(MOST_RECENT[effort], r.held[0])):
        n = _propose(s, p, r.item[at], n, cap)
    return _fill(s, p, n, cap)


@inlined
def _propose(s: Scratch, p: Popularity, item: int, n: int, limit: int) -> int:
    if n < limit and s.standing[item] == OPEN and p.facts[item, EVENTS] > 0:
        s.standing[item] = LISTED
        touch(s, item)
        s.items[n] = item
        return n + 1
    return n


@kernel
def _propose_own(s: Scratch, p: Popularity, h: Histories, user: int, most: int, cap: int) -> int:
    n = 0
    for place in range(min(most, h.held[user])):
        n = _propose(s, p, h.item[user, place], n, cap)
    return n


@kernel
def _best_by_query(s: Scratch, p: Popularity, n: int, effort: int) -> int:
    """Append the best open items of the walks by each of four queries, in one pass; ties go to the lower row."""
    heap, key = s.heap, s.heap_key
    short, long, knn, next_ = 0, 0, 0, 0
    for at in range(s.held[1]):
        item = s.touched[at]
        if s.standing[item] != OPEN:
            continue
        q = s.sums[item]
        if q[SHORT_SUM] > ZERO:
            short = offer(heap[0], key[0], short, BEST_SHORT[effort], item, q[SHORT_SUM])
        if q[LONG9] > ZERO:
            long = offer(heap[1], key[1], long, BEST_LONG[effort], item, q[LONG9])
        if q[KNN] > ZERO:
            knn = offer(heap[2], key[2], knn, BEST_KNN[effort], item, q[KNN])
        if q[NEXT_SHARE] > ZERO:
            next_ = offer(heap[3], key[3], next_, BEST_NEXT[effort], item, q[NEXT_SHARE])
    for at in range(short):
        n = _propose(s, p, heap[0, at], n, MOST[effort])
    for at in range(long):
        n = _propose(s, p, heap[1, at], n, MOST[effort])
    for at in range(knn):
        n = _propose(s, p, heap[2, at], n, MOST[effort])
    for at in range(next_):
        n = _propose(s, p, heap[3, at], n, MOST[effort])
    return n


@kernel
def _fill(s: Scratch, p: Popularity, n: int, cap: int) -> int:
    """Append the best items of the walk by LONG98 that are still open, up to the cap; ties go to the lower row."""
    most = cap - n
    if most <= 0:
        return n
    held = 0
    for at in range(s.held[1]):
        item = s.touched[at]
        if s.standing[item] == OPEN and s.sums[item, LONG98] > ZERO:
            held = offer(s.heap[0], s.heap_key[0], held, most, item, s.sums[item, LONG98])
    for at in range(held):
        n = _propose(s, p, s.heap[0, at], n, cap)
    return n
