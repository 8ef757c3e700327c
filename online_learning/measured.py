"""What is measured of each event before it is learned."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Measured(NamedTuple):
    """What was measured before learning, shape (n,) each; rank is NaN for an item never seen, or where skipped."""

    rank: NDArray[np.float64]
    popular_rank: NDArray[np.float64]
    """By all-time count."""
    trending_rank: NDArray[np.float64]
    """By the count of half-life 40 events."""
    user_known: NDArray[np.bool_]
    item_known: NDArray[np.bool_]
    pair_new: NDArray[np.bool_]
    loss: NDArray[np.float64]
    """−ln p(target) among the shortlist; NaN where the target was not on it."""


def reserve_measured(n: int) -> Measured:
    """Reserve what is measured of `n` events."""
    return Measured(
        rank=np.full(n, np.nan),
        popular_rank=np.full(n, np.nan),
        trending_rank=np.full(n, np.nan),
        user_known=np.zeros(n, np.bool_),
        item_known=np.zeros(n, np.bool_),
        pair_new=np.zeros(n, np.bool_),
        loss=np.full(n, np.nan),
    )


def spread_measured(measured: Measured, duplicate: NDArray[np.bool_] | None) -> Measured:
    """Return what is measured with a row for each duplicate, too, as if its ids were unknown; None: there is none."""
    if duplicate is None:
        return measured
    spread = reserve_measured(len(duplicate))
    for column, learned in zip(spread, measured, strict=True):
        column[~duplicate] = learned
    return spread


def cut_measured(measured: Measured, first: int, last: int) -> Measured:
    """Return views of what is measured of the events `first` … `last` - 1."""
    columns: list[Any] = [column[first:last] for column in measured]
    return Measured(*columns)
