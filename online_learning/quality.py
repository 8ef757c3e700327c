"""Prequential quality: every event is first predicted, then learned (EVALUATION: Vinagre, Jorge and Gama 2014).

`hit@k = rank ≤ k`; `NDCG@10 = 1 / log2(1 + rank)` if rank ≤ 10; `MRR@20 = 1 / rank` if rank ≤ 20; an event whose item
was never seen is a miss. The live figures slide over the last 10,000 events whose user and item were both known, and
over the last 10,000 lists (`beyond_accuracy.py`); the loss of the same events is watched for drift (`drift.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .beyond_accuracy import TOP, popular_top, shown, tops_of
from .drift import DriftDetector
from .kernel import Lists
from .measured import Measured
from .popularity import ALL_TIME, H40, Popularity

WINDOW = 10_000


@dataclass(frozen=True, slots=True)
class Figures:
    """Means over a set of events; NaN over none."""

    n: int
    hit_at_10: float
    ndcg_at_10: float
    mrr_at_20: float

    def as_json(self) -> dict[str, float | int | None]:
        """Return the keys that scripts rely on; a mean over no events is null."""
        if self.n == 0:
            return {"n": 0, "hit@10": None, "ndcg@10": None, "mrr@20": None}
        return {
            "n": self.n,
            "hit@10": round(self.hit_at_10, 6),
            "ndcg@10": round(self.ndcg_at_10, 6),
            "mrr@20": round(self.mrr_at_20, 6),
        }


def figures(rank: NDArray[np.float64]) -> Figures:
    """Return the metrics of ranks, shape (n,); NaN marks an item never seen, a miss."""
    if len(rank) == 0:
        return Figures(0, float("nan"), float("nan"), float("nan"))
    known = np.where(np.isnan(rank), np.inf, rank)
    return Figures(
        n=len(rank),
        hit_at_10=float(np.mean(known <= 10)),
        ndcg_at_10=float(np.mean(np.where(known <= 10, 1.0 / np.log2(1.0 + known), 0.0))),
        mrr_at_20=float(np.mean(np.where(known <= 20, 1.0 / known, 0.0))),
    )


class Quality:
    """Live figures over sliding windows, ours beside all-time popularity and half-life 40. Not part of the state.

    They begin when this is made. `popularity` is read, never written. Where slices are cut changes only which lists
    popularity is said to have shown: with every list of ours goes the one that it gives at the end of the slice, the
    same to everybody, what the user has consumed included.
    """

    def __init__(self, popularity: Popularity) -> None:
        self.drift = DriftDetector()
        self._popularity = popularity
        self._ranks = np.full((3, WINDOW), np.nan)
        self._judged = 0
        self._tops = np.full((3, WINDOW, TOP), -1, np.int32)
        self._lists = 0

    def add(self, measured: Measured, seq: int, lists: Lists | None = None) -> None:
        """Take in one slice: the events whose user and item were known before, and the lists it made.

        `seq` is the number of the slice's last event.
        """
        counted = np.flatnonzero(measured.user_known & measured.item_known & ~np.isnan(measured.rank))
        if len(counted):
            self.drift.add(measured.loss[counted], counted + (seq + 1 - len(measured.rank)))
            counted = counted[-WINDOW:]
            at = _places(self._judged, len(counted))
            for row, ranks in enumerate((measured.rank, measured.popular_rank, measured.trending_rank)):
                self._ranks[row, at] = ranks[counted]
            self._judged += len(counted)
        if lists is not None and len(lists.item):
            tops = tops_of(lists.item[-WINDOW:])
            at = _places(self._lists, len(tops))
            self._tops[0, at] = tops
            self._tops[1, at] = popular_top(self._popularity, ALL_TIME)
            self._tops[2, at] = popular_top(self._popularity, H40)
            self._lists += len(tops)

    def summary(self) -> dict[str, dict[str, float | int | None]]:
        """Return `quality` and `popularity`, the better of the two popularities by hit@10.

        Counted anew at each call, some 2 ms once the windows are full: adding, which happens far oftener, stays cheap.
        """
        ours, all_time, trending = (figures(row[: min(self._judged, WINDOW)]) for row in self._ranks)
        tops = self._tops[:, : min(self._lists, WINDOW)]
        theirs, their_tops = (all_time, tops[1]) if better(all_time, trending) is all_time else (trending, tops[2])
        return {
            "quality": {**ours.as_json(), **shown(tops[0], self._popularity).as_json()},
            "popularity": {**theirs.as_json(), **shown(their_tops, self._popularity).as_json()},
        }


def _places(added: int, n: int) -> NDArray[np.int64] | slice:
    """Return where the next `n` go in a ring of WINDOW that `added` have gone into."""
    first = added % WINDOW
    return slice(first, first + n) if first + n <= WINDOW else (first + np.arange(n)) % WINDOW


def better(one: Figures, other: Figures) -> Figures:
    """Return the figures with the higher hit@10."""
    return other if other.hit_at_10 > one.hit_at_10 else one
