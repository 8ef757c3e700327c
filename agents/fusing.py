"""From several orders of the same items to one: reciprocal rank fusion, weighed by what somebody is after, and spread.

Ranks are fused, not scores: those of words, vectors and the blend have nothing in common.
Sources: Cormack, Clarke and Büttcher 2009, "Reciprocal Rank Fusion"; Carbonell and Goldstein 1998, "The Use of MMR".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heapreplace
from math import isqrt
from typing import NamedTuple

from millstream.schemas.questions import Intent

FLATTENS = 60
"""Of the paper: how much the first ranks count above the next ones."""
_ONE = 255
"""A cosine of 1, as `SearchAnswer.alike` has it."""


class Weights(NamedTuple):
    """What an order by each counts for."""

    lexical: float
    vector: float
    personal: float
    popular: float = 0.0
    """Of the list that there is of the category."""


WEIGHTS: Mapping[Intent, Weights] = {
    "find": Weights(1.0, 0.05, 0.05),
    "category": Weights(0.2, 0.2, 1.0, 1.0),
    "explore": Weights(0.4, 1.0, 1.0),
}
SPREAD: Mapping[Intent, float] = {"find": 0.0, "category": 0.0, "explore": 0.3}
"""How much of a place is decided by being unlike what stands above: 0 nothing, 1 all."""


def share(weight: float, rank: int) -> float:
    """Return what a rank adds: weight / (60 + rank)."""
    return weight / (FLATTENS + rank)


def fused(ranks: Sequence[tuple[float, int | None]]) -> float:
    """Return what ranks come to: the sum of their shares; a rank that is None adds nothing.

    >>> round(fused([(1.0, 1), (0.5, None), (0.5, 40)]), 4)
    0.0214
    """
    return sum(share(weight, rank) for weight, rank in ranks if rank is not None)


def ranked(scores: Sequence[float | None]) -> list[int | None]:
    """Return the rank of each score, 1 for the greatest; ties share the better rank, and None has none.

    >>> ranked([2.0, None, 3.0, 2.0])
    [2, None, 1, 2]
    """
    order = sorted((score for score in scores if score is not None), reverse=True)
    first: dict[float, int] = {}
    for rank, score in enumerate(order, start=1):
        first.setdefault(score, rank)
    return [None if score is None else first[score] for score in scores]


def spread(scores: Sequence[float], places: Sequence[int], alike: bytes, by: float, k: int) -> list[int]:
    """Return which `k` of the items are best, each chosen for its score less what it repeats of those before it.

    `scores` are best first, and `places` say where each item stands in `alike`: cosines by row, 255 for 1. Each next
    one has the greatest (1 - by) · score / best score - by · (the greatest cosine to one chosen); ties go to the first.
    """
    n, width = len(scores), isqrt(len(alike))
    if not by or not width or not n or scores[0] <= 0:
        return list(range(min(k, n)))
    worth = [(1 - by) * score / scores[0] for score in scores]
    repeats, compared = [0] * n, [0] * n  # with as many of those chosen
    # what is chosen later only lowers what an item comes to, so most are never looked at again (Minoux 1978)
    best = [(-each, at) for at, each in enumerate(worth)]
    heapify(best)
    chosen: list[int] = []
    while best and len(chosen) < k:
        at = best[0][1]
        if compared[at] == len(chosen):
            heappop(best)
            chosen.append(at)
            continue
        cosines = (alike[places[before] * width + places[at]] for before in chosen[compared[at] :])
        repeats[at], compared[at] = max(repeats[at], *cosines), len(chosen)
        heapreplace(best, (by * repeats[at] / _ONE - worth[at], at))
    return chosen
