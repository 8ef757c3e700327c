"""Prequential quality: every event is first predicted, then learned (EVALUATION: Vinagre, Jorge and Gama 2014).

`hit@k = rank ≤ k`; `NDCG@10 = 1 / log2(1 + rank)` if rank ≤ 10; `MRR@20 = 1 / rank` if rank ≤ 20; an event whose item
was never seen is a miss. The live figures slide over the last 10,000 events whose user and item were both known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .kernel import Measured

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
    """Live figures over a sliding window, ours beside all-time popularity and half-life 40. Not part of the state."""

    def __init__(self) -> None:
        self._ranks = np.full((3, WINDOW), np.nan)
        self._added = 0

    def add(self, measured: Measured) -> None:
        """Take in the events of one slice whose user and item were known before."""
        counted = measured.user_known & measured.item_known & ~np.isnan(measured.rank)
        columns = np.stack([measured.rank, measured.popular_rank, measured.trending_rank])[:, counted][:, -WINDOW:]
        at = (self._added + np.arange(columns.shape[1])) % WINDOW
        self._ranks[:, at] = columns
        self._added += columns.shape[1]

    def summary(self) -> dict[str, dict[str, float | int | None]]:
        """Return `quality` and `popularity`, the better of the two popularities by hit@10."""
        held = min(self._added, WINDOW)
        ours, all_time, trending = (figures(row[:held]) for row in self._ranks)
        return {"quality": ours.as_json(), "popularity": better(all_time, trending).as_json()}


def better(one: Figures, other: Figures) -> Figures:
    """Return the figures with the higher hit@10."""
    return other if other.hit_at_10 > one.hit_at_10 else one
