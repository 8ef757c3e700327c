"""The session transformer as the kernels read it: what it says of a shortlist, and how far the blend trusts that.

By the formulas of `session`, from the weights that torch learns; only the last place is worked out, which is all that a
list needs. The score enters the blend's beside its matrix of signals, by a weight with the blend's additive contexts,
so a state without this part knows nothing of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .blend import SHARED
from .compiled import kernel
from .histories import Histories
from .interest import WIDTH, Interest
from .scratch import CAP
from .session import FEED, HEAD, HEADS, LENGTH, Session, Weights, gap_at, kind_class

RATE, FIRST_SQUARE = np.float32(0.05), np.float32(0.01)
"""Of the weight in the blend, as of the blend's own."""
EPSILON = np.float32(1e-5)
ZERO, ONE = np.float32(0.0), np.float32(1.0)
_ROOT = np.float32(HEAD**-0.5)


class Reading(NamedTuple):
    """What came of reading a user's session: working memory of one thread."""

    x: NDArray[np.float32]
    """Shape (LENGTH, WIDTH), as are the next three."""
    normed: NDArray[np.float32]
    key: NDArray[np.float32]
    value: NDArray[np.float32]
    by: NDArray[np.float32]
    """Attention of one head to each place, shape (LENGTH,)."""
    query: NDArray[np.float32]
    """Shape (WIDTH,), as are the next two."""
    mixed: NDArray[np.float32]
    out: NDArray[np.float32]
    wide: NDArray[np.float32]
    """Shape (FEED,)."""
    said: NDArray[np.float32]
    """The score of each shortlisted item, and times its weight in the blend; shape (2, CAP)."""


def reading() -> Reading:
    """Reserve it."""
    return Reading(
        x=np.zeros((LENGTH, WIDTH), np.float32),
        normed=np.zeros((LENGTH, WIDTH), np.float32),
        key=np.zeros((LENGTH, WIDTH), np.float32),
        value=np.zeros((LENGTH, WIDTH), np.float32),
        by=np.zeros(LENGTH, np.float32),
        query=np.zeros(WIDTH, np.float32),
        mixed=np.zeros(WIDTH, np.float32),
        out=np.zeros(WIDTH, np.float32),
        wide=np.zeros(FEED, np.float32),
        said=np.zeros((2, CAP), np.float32),
    )


@kernel
def read_session(s: Session, v: Interest, h: Histories, user: int, r: Reading) -> bool:
    """Write norm(h_last) into `r.out`; False for a user without a history."""
    held = min(LENGTH, h.held[user])
    if held == 0:
        return False
    w = s.weights
    for p in range(held):
        place = held - 1 - p
        item = h.item[user, place]
        x, own, known = r.x[p], s.item[item], v.vector[item]
        kind, gap = w.kind[kind_class(h.weight[user, place])], w.gap[gap_at(h, user, place, held)]
        for d in range(WIDTH):
            x[d] = own[d] + kind[d] + gap[d] + w.place[p, d]
        for i in range(WIDTH):
            for d in range(WIDTH):
                x[d] += known[i] * w.vector[i, d]
        _norm(x, w.first, r.normed[p])
        _times(r.normed[p], w.key, r.key[p])
        _times(r.normed[p], w.value, r.value[p])
    _attend(w, held, r)
    x = r.x[held - 1]
    _norm(x, w.second, r.out)
    for f in range(FEED):
        r.wide[f] = w.widen_by[f]
    for d in range(WIDTH):
        for f in range(FEED):
            r.wide[f] += r.out[d] * w.widen[d, f]
    for d in range(WIDTH):
        x[d] += w.narrow_by[d]
    for f in range(FEED):
        wide = max(ZERO, r.wide[f])
        for d in range(WIDTH):
            x[d] += wide * w.narrow[f, d]
    _norm(x, w.last, r.out)
    return True


@kernel
def _attend(w: Weights, held: int, r: Reading) -> None:
    """Add to the last place what both heads bring from it and all before it."""
    _times(r.normed[held - 1], w.query, r.query)
    for head in range(HEADS):
        first = head * HEAD
        highest = np.float32(-np.inf)
        for p in range(held):
            dot = ZERO
            for d in range(first, first + HEAD):
                dot += r.query[d] * r.key[p, d]
            r.by[p] = dot * _ROOT
            highest = max(highest, r.by[p])
        total = ZERO
        for p in range(held):
            r.by[p] = np.exp(r.by[p] - highest)
            total += r.by[p]
        for d in range(first, first + HEAD):
            r.mixed[d] = ZERO
        for p in range(held):
            by = r.by[p] / total
            for d in range(first, first + HEAD):
                r.mixed[d] += by * r.value[p, d]
    x = r.x[held - 1]
    for i in range(WIDTH):
        for d in range(WIDTH):
            x[d] += r.mixed[i] * w.mix[i, d]


@kernel
def _norm(x: NDArray[np.float32], w: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write layer normalisation of `x` with scale `w[0]` and shift `w[1]` into `out`."""
    mean, square = ZERO, ZERO
    for d in range(WIDTH):
        mean += x[d]
    mean *= np.float32(1.0 / WIDTH)
    for d in range(WIDTH):
        square += (x[d] - mean) * (x[d] - mean)
    by = ONE / np.sqrt(square * np.float32(1.0 / WIDTH) + EPSILON)
    for d in range(WIDTH):
        out[d] = (x[d] - mean) * by * w[0, d] + w[1, d]


@kernel
def _times(x: NDArray[np.float32], matrix: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    for d in range(WIDTH):
        out[d] = ZERO
    for i in range(WIDTH):
        for d in range(WIDTH):
            out[d] += x[i] * matrix[i, d]


@kernel
def add_session(
    s: Session,
    v: Interest,
    h: Histories,
    user: int,
    history: int,
    gap: int,
    items: NDArray[np.int32],
    n: int,
    r: Reading,
    scores: NDArray[np.float32],
) -> None:
    """Add to the scores of `items[:n]` what the session says of each, times its weight in these contexts."""
    known = read_session(s, v, h, user, r)
    by = s.blend[SHARED] + s.blend[history] + s.blend[gap]
    for at in range(n):
        said = ZERO
        if known:
            vector = s.item[items[at]]
            for d in range(WIDTH):
                said += r.out[d] * vector[d]
        r.said[0, at] = said
        r.said[1, at] = by * said
        scores[at] += by * said


@kernel
def learn_session(
    s: Session,
    r: Reading,
    history: int,
    gap: int,
    scores: NDArray[np.float32],
    n: int,
    target: int,
    weight: np.float32,
) -> None:
    """Take the blend's step (`blend_learning`) with the weight of what the session says; before the blend's own."""
    if weight == ZERO:
        return
    highest = scores[0]
    for at in range(1, n):
        highest = max(highest, scores[at])
    total, mean = ZERO, ZERO
    for at in range(n):
        likely = np.exp(scores[at] - highest)
        total += likely
        mean += likely * r.said[0, at]
    g = (r.said[0, target] - mean / total) * weight
    for context in (SHARED, history, gap):
        s.blend_square[context] += g * g
        s.blend[context] += RATE * g / np.sqrt(FIRST_SQUARE + s.blend_square[context])
        s.blend_dirty[context] = 1
