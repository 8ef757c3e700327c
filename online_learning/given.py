"""Lists of given items: what a user would be shown if these were the candidates, or one of them.

By the same signals and blend as every list, so an item has the score and the reasons that it would have there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .blend import gap_context, history_context
from .compiled import entry
from .content import like
from .histories import present_ms
from .interest import pool
from .kernel import SERVING_GAP_MS, Lists, write_buy_place, write_list, write_place
from .places import place_of, rank_of
from .ranking import Bench, Model, appraise, rank, score_to_buy
from .said import wish
from .scratch import CAP, begin
from .shortlist import FULL, MOST_OWN


@entry
def list_given(
    m: Model,
    b: Bench,
    user: int,
    given: NDArray[np.int32],
    alone: bool,
    ts_ms: int,
    seq: int,
    exclude: bool,
    buying: bool,
    lists: Lists,
    row: int,
    found: NDArray[np.float64],
) -> None:
    """Write a list for `user` into row `row` of `lists`, as if they looked at `ts_ms`.

    Where the items `given` are `alone`, CAP at most, it is the best of them. Otherwise it is the one item given, scored
    beside the user's candidates, whatever keeps it off; `buying`: as something to buy. `found` becomes how many items
    were scored, the place of the first one given among them, and whether it was a candidate by itself.
    """
    h, s = m.histories, b.scratch
    now_ms = present_ms(h, user, ts_ms) + SERVING_GAP_MS
    events = h.events[user]
    history, gap = history_context(events), gap_context(events, now_ms - h.last_ms[user])
    n, own, at = 0, 0, -1
    if alone:
        begin(s)
        pool(m.interest, h, user, now_ms, s.pooled)
        like(m.content, h, user, s.liking)
        wish(m.said, m.content, h, user, now_ms, s.liking)
        n = min(len(given), CAP)
        for k in range(n):
            s.items[k] = given[k]
    else:
        n = rank(m, b, user, now_ms, seq, history, gap, exclude, int(FULL))
        own = 0 if exclude else min(h.held[user], MOST_OWN[FULL])
        at = place_of(given[0], s.items, n)
    found[2] = 1.0 if at >= 0 else 0.0
    if at < 0:
        if not alone:
            n = min(n + 1, CAP)
            s.items[n - 1] = given[0]
            at = n - 1
        appraise(m, b, user, n, own, history, gap, now_ms, seq)
    lists.seq[row] = seq
    if alone:
        write_list(m, b, user, n, now_ms, seq, lists, row)
    elif buying:
        score_to_buy(m, b, user, n, history, gap, now_ms)
        write_buy_place(m, b, user, at, now_ms, lists, row, 0)
    else:
        write_place(m, b, m.blend, user, at, now_ms, lists, row, 0)
    found[0] = n
    found[1] = rank_of(b.scores, n, max(at, 0))


@entry
def score_given(
    m: Model,
    b: Bench,
    user: int,
    given: NDArray[np.int32],
    ts_ms: int,
    seq: int,
    exclude: bool,
    buying: bool,
    out: NDArray[np.float32],
) -> None:
    """Write into `out` how the items `given` score for `user`, as if they looked at `ts_ms`, whatever keeps them off.

    By the signals that a list made now has, after the same walks. Where the user's own items of the shortlist keep
    their places before them, there must be room for both in a shortlist.
    """
    h, s = m.histories, b.scratch
    now_ms = present_ms(h, user, ts_ms) + SERVING_GAP_MS
    events = h.events[user]
    history, gap = history_context(events), gap_context(events, now_ms - h.last_ms[user])
    n = rank(m, b, user, now_ms, seq, history, gap, exclude, int(FULL))
    own = 0 if exclude else min(n, min(h.held[user], MOST_OWN[FULL]))
    n = own
    for k in range(len(given)):
        if place_of(given[k], s.items, own) < 0:
            s.items[n] = given[k]
            n += 1
    appraise(m, b, user, n, own, history, gap, now_ms, seq)
    if buying:
        score_to_buy(m, b, user, n, history, gap, now_ms)
    for k in range(len(given)):
        out[k] = b.scores[place_of(given[k], s.items, n)]
