"""Exhaustive scoring: every item of the vocabulary as a candidate, by the signals and the blend that lists are made by.

What a shortlist is measured against. Also what of a ranking would have brought an item that the shortlist missed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from millstream.online_learning.blend import gap_context, history_context
from millstream.online_learning.compiled import entry
from millstream.online_learning.kernel import SERVING_GAP_MS
from millstream.online_learning.popularity import COUNTS
from millstream.online_learning.ranking import Bench, Model, describe_items, rank, score_items
from millstream.online_learning.scratch import BARRED, CAP, KNN, LONG98, SECOND
from millstream.online_learning.shortlist import FULL, MOST_OWN, POPULAR
from millstream.online_learning.step import Step

SOURCES = ("walk", "neighbours", "second_order", "popular", "other_popular", "none")
"""What knows of an item that is not on the shortlist: the first of the walks that met it; a board of popular items,
beyond what is proposed of it; the board of another half-life, which proposes none; or nothing but its own signals."""


@entry
def rank_user(
    m: Model, b: Bench, user: int, now_ms: int, seq: int, history: int, gap: int, exclude: bool, effort: int
) -> int:
    """Call `ranking.rank` from Python."""
    return int(rank(m, b, user, now_ms, seq, history, gap, exclude, effort))


@entry
def score_rows(
    m: Model,
    b: Bench,
    user: int,
    own: int,
    rows: NDArray[np.int32],
    now_ms: int,
    seq: int,
    history: int,
    gap: int,
    out: NDArray[np.float32],
) -> None:
    """Write the scores of the items `rows` into `out`, a shortlist's fill at a time, after `rank_user` of that user.

    The first `own` rows are the user's own, in the order of the history.
    """
    s = b.scratch
    for first in range(0, len(rows), CAP):
        n = min(CAP, len(rows) - first)
        for at in range(n):
            s.items[at] = rows[first + at]
        describe_items(m, b, user, n, own if first == 0 else 0, gap, now_ms, seq)
        score_items(m, b, user, n, history, gap, now_ms)
        for at in range(n):
            out[first + at] = b.scores[at]


def exhaustive_top(step: Step, b: Bench, user: int, most: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the best `most` items of the whole vocabulary for a user row as of now, and their scores, best first.

    Ties go to the lower row, as on a list. What the user may not be offered is left out. Afterwards the scratch of `b`
    still holds what the walks met.
    """
    m, h, exclude = step.model, step.model.histories, step.config.exclude_consumed
    now_ms = step.last_ms + SERVING_GAP_MS
    events = int(h.events[user])
    history, gap = history_context(events), gap_context(events, now_ms - int(h.last_ms[user]))
    rank_user(m, b, user, now_ms, step.seq, history, gap, exclude, FULL)
    own = 0 if exclude else min(int(h.held[user]), MOST_OWN[FULL])
    others = step.items.is_held[: len(step.items)] & (b.scratch.standing[: len(step.items)] != BARRED)
    others[h.item[user, :own]] = False
    rows = np.concatenate([h.item[user, :own], np.flatnonzero(others)]).astype(np.int32)
    scores = np.empty(len(rows), np.float32)
    score_rows(m, b, user, own, rows, now_ms, step.seq, history, gap, scores)
    best = np.lexsort((rows, -scores))[:most]
    return rows[best], scores[best]


def source_of(step: Step, b: Bench, item: int) -> str:
    """Return which of `SOURCES` knows of an item, after `exhaustive_top`."""
    q = b.scratch.sums[item]
    for column, source in ((LONG98, "walk"), (KNN, "neighbours"), (SECOND, "second_order")):
        if q[column] > 0:
            return source
    p = step.model.popularity
    boards = {which for which in range(COUNTS) if item in p.best[which, : p.best_held[which]]}
    if boards.intersection(POPULAR.tolist()):
        return "popular"
    return "other_popular" if boards else "none"
