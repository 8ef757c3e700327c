"""What lists show, beside how well they predict: how much of the catalogue, and how little known it is.

- Coverage = |items in the top ten of any of the lists| / |items known|, an item being known once it was chosen.
  Source: Ge, Delgado-Battenfeld and Jannach 2010, "Beyond accuracy", catalogue coverage.
- Novelty = mean of −log2 p(i), in bits, over the places of those top tens; p(i) is the share of item i in all choices.
  Source: Zhou et al. 2010, "Solving the apparent diversity-accuracy dilemma"; Vargas and Castells 2011.

Both are over the last 10,000 lists made, and as of the moment they are read: were p(i) as of a list's making, it would
depend on where the stream was cut into slices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .popularity import ALL_TIME, EVENTS, Popularity

TOP = 10


@dataclass(frozen=True, slots=True)
class Shown:
    """What so many lists show; NaN where there is none."""

    lists: int
    coverage: float
    """Share of the known items, in (0, 1]."""
    novelty_bits: float

    def as_json(self) -> dict[str, float | int | None]:
        """Return the keys that scripts rely on; what no list shows is null."""
        if np.isnan(self.coverage):
            return {"lists": self.lists, "coverage": None, "novelty": None}
        return {"lists": self.lists, "coverage": round(self.coverage, 6), "novelty": round(self.novelty_bits, 6)}


def shown(tops: NDArray[np.int32], popularity: Popularity) -> Shown:
    """Return what lists show, given their first ten item rows, shape (lists, TOP); a row below 0 is an empty place."""
    items, times = np.unique(tops[tops >= 0], return_counts=True)
    events = popularity.facts[items, EVENTS]
    # an item forgotten since it was listed is no known item
    known = events > 0
    items, times, events = items[known], times[known], events[known]
    if not len(items):
        return Shown(len(tops), float("nan"), float("nan"))
    return Shown(
        lists=len(tops),
        coverage=len(items) / int(popularity.seen[ALL_TIME]),
        novelty_bits=float(np.average(np.log2(popularity.total[ALL_TIME] / events), weights=times)),
    )


def tops_of(lists: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the first ten places of lists of any length, shape (lists, TOP), filled up with -1."""
    tops = np.full((len(lists), TOP), -1, np.int32)
    places = min(TOP, lists.shape[1])
    tops[:, :places] = lists[:, :places]
    return tops


def popular_top(popularity: Popularity, which: int) -> NDArray[np.int32]:
    """Return the ten items of the greatest count `which`, shape (TOP,): popularity's list for one who has no past."""
    top = popularity.best[which, :TOP].copy()
    top[popularity.best_held[which] :] = -1
    return top
