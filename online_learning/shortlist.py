"""The shortlist: the few hundred items worth scoring for a user.

It is the user's own items; of those that the walks met, the best by four of the queries, by the user's interest, and
by that and LONG98 together; those most like words of theirs that are in force; of the fresh items those most like what
the user likes, by what they say; the most popular at five half-lives, and what was chosen last by anyone; then the rest
by LONG98, and where room is left more of what is popular, up to the cap. Scoring creates no state: everything here is
scratch.
"""

from __future__ import annotations

import numpy as np

from .availability import Availability
from .compiled import inlined, kernel
from .content import Content, likeness
from .heap import offer
from .histories import Histories
from .interest import Interest, inner
from .logarithm import logarithm
from .popularity import EVENTS, Popularity
from .recency import Recency
from .said import NEAR, Said
from .scratch import CAP, KNN, LISTED, LONG9, LONG98, NEXT_SHARE, OPEN, SHORT_SUM, Scratch, touch
from .signal import FINE, ONE

POPULAR = np.array([3, 2, 1, 8, 4], np.int64)
"""The popularity counts that propose items: half-lives of 40, 200 and 1,000 events, ∞, and 10 events."""
ZERO = np.float32(0.0)
LONG98_BESIDE_INTEREST = np.float32(2.0)
FULL, LEAN = 0, 1
"""How thoroughly a user is ranked. LEAN looks less far and scores fewer: for lists, while the stream is too fast."""
MOST = (CAP, 128)
MOST_OWN = (64, 20)
BEST_SHORT, BEST_LONG, BEST_KNN, BEST_NEXT = (30, 16), (40, 16), (20, 0), (20, 8)
BEST_FRESH = (24, 12)
BEST_INTEREST, BEST_BOTH = (60, 0), (40, 0)
PROPOSED_POPULAR = (20, 20)
MOST_RECENT = (40, 40)
REST_POPULAR = (20, 0)
"""By effort: items on the shortlist, and how many of each kind are proposed; `REST_POPULAR` where room is left."""


@kernel
def shortlist(
    s: Scratch,
    h: Histories,
    p: Popularity,
    r: Recency,
    v: Interest,
    t: Content,
    d: Said,
    a: Availability,
    user: int,
    own: bool,
    effort: int,
) -> int:
    """Fill `s.items` after the walks and `pool`; return how many.

    Items that are barred, withdrawn or forgotten stay out. With `own`, the user's own items come first, in the order of
    the history.
    """
    cap = MOST[effort]
    n = _propose_own(s, p, a, h, user, MOST_OWN[effort] if own else 0, cap)
    n = _best_by_query(s, p, a, n, effort)
    if BEST_INTEREST[effort] > 0:
        n = _best_by_interest(s, p, a, v, n, effort)
    if s.liking.wished[0] > ZERO:
        n = _near_words(s, a, t, d, user, n, cap)
    if t.held[0] > 0 and s.liking.scale[0] > ZERO:
        n = _best_fresh(s, p, a, t, n, effort)
    n = _propose_popular(s, p, a, n, PROPOSED_POPULAR[effort], cap)
    for at in range(min(MOST_RECENT[effort], r.held[0])):
        n = _propose(s, p, a, r.item[at], n, cap)
    n = _fill(s, p, a, n, cap)
    return _propose_popular(s, p, a, n, REST_POPULAR[effort], cap)


@inlined
def _propose(s: Scratch, p: Popularity, a: Availability, item: int, n: int, limit: int) -> int:
    if n < limit and s.standing[item] == OPEN and p.facts[item, EVENTS] > 0 and not a.off[item]:
        _list(s, item, n)
        return n + 1
    return n


@inlined
def _list(s: Scratch, item: int, at: int) -> None:
    s.standing[item] = LISTED
    touch(s, item)
    s.items[at] = item


@kernel
def _propose_own(s: Scratch, p: Popularity, a: Availability, h: Histories, user: int, most: int, cap: int) -> int:
    n = 0
    for place in range(min(most, h.held[user])):
        n = _propose(s, p, a, h.item[user, place], n, cap)
    return n


@kernel
def _propose_popular(s: Scratch, p: Popularity, a: Availability, n: int, each: int, cap: int) -> int:
    """Append the best of each popularity count that are still open, `each` at most."""
    for which in POPULAR:
        limit = min(cap, n + each)
        for at in range(p.best_held[which]):
            n = _propose(s, p, a, p.best[which, at], n, limit)
    return n


@kernel
def _best_by_query(s: Scratch, p: Popularity, a: Availability, n: int, effort: int) -> int:
    """Append the best open items of the walks by each of four queries, in one pass; ties go to the lower row."""
    heap, key = s.heap, s.heap_key
    short, long, knn, next_ = 0, 0, 0, 0
    for at in range(s.held[1]):
        item = s.touched[at]
        if s.standing[item] != OPEN or a.off[item]:
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
        n = _propose(s, p, a, heap[0, at], n, MOST[effort])
    for at in range(long):
        n = _propose(s, p, a, heap[1, at], n, MOST[effort])
    for at in range(knn):
        n = _propose(s, p, a, heap[2, at], n, MOST[effort])
    for at in range(next_):
        n = _propose(s, p, a, heap[3, at], n, MOST[effort])
    return n


@kernel
def _best_by_interest(s: Scratch, p: Popularity, a: Availability, v: Interest, n: int, effort: int) -> int:
    """Append the best open items that the walks met by interest, and by interest + 2 ln(1 + FINE · LONG98).

    What has few edges but is to the user's taste is found by the one, what is popular besides by the other.
    """
    met, wanted = s.held[1], s.pooled.user[1]
    for at in range(met):
        s.value[at] = ONE + FINE * s.sums[s.touched[at], LONG98]
    for at in range(met):  # apart, so that it runs in vectors
        s.value[at] = LONG98_BESIDE_INTEREST * logarithm(s.value[at])
    heap, key = s.heap, s.heap_key
    liked, both = 0, 0
    for at in range(met):
        item = s.touched[at]
        if s.standing[item] == OPEN and not a.off[item]:
            value = inner(wanted, v.vector[item])
            liked = offer(heap[0], key[0], liked, BEST_INTEREST[effort], item, value)
            both = offer(heap[1], key[1], both, BEST_BOTH[effort], item, value + s.value[at])
    for at in range(liked):
        n = _propose(s, p, a, heap[0, at], n, MOST[effort])
    for at in range(both):
        n = _propose(s, p, a, heap[1, at], n, MOST[effort])
    return n


@kernel
def _near_words(s: Scratch, a: Availability, t: Content, d: Said, user: int, n: int, cap: int) -> int:
    """Append the open items that are most like what the user asked for, also such as nobody has chosen."""
    near = d.near[d.place[user] - 1]
    for k in range(NEAR):
        item = near[k] - 1
        if n < cap and item >= 0 and s.standing[item] == OPEN and t.scale[item] > ZERO and not a.off[item]:
            _list(s, item, n)
            n += 1
    return n


@kernel
def _best_fresh(s: Scratch, p: Popularity, a: Availability, t: Content, n: int, effort: int) -> int:
    """Append the fresh items that are still open and most like what the user likes, also such as nobody has chosen."""
    held = 0
    for at in range(t.held[0]):
        item = t.fresh[at]
        if s.standing[item] == OPEN and not a.off[item]:
            value = likeness(t, item, s.liking, 0)
            held = offer(s.heap[0], s.heap_key[0], held, BEST_FRESH[effort], item, value)
    for at in range(min(held, MOST[effort] - n)):
        _list(s, s.heap[0, at], n + at)
    return n + min(held, MOST[effort] - n)


@kernel
def _fill(s: Scratch, p: Popularity, a: Availability, n: int, cap: int) -> int:
    """Append the best items of the walk by LONG98 that are still open, up to the cap; ties go to the lower row."""
    most = cap - n
    if most <= 0:
        return n
    held = 0
    for at in range(s.held[1]):
        item = s.touched[at]
        if s.standing[item] == OPEN and s.sums[item, LONG98] > ZERO and not a.off[item]:
            held = offer(s.heap[0], s.heap_key[0], held, most, item, s.sums[item, LONG98])
    for at in range(held):
        n = _propose(s, p, a, s.heap[0, at], n, cap)
    return n
