"""Ratings: how much one says, beside what its user is used to give.

`w = 1 + slope · (value - m) / m`, kept between `LEAST` and `MOST`

m is the mean of the user's ratings before this one: one user's 3 is another's 5, and a mean knows no scale. Without a
value, or a rating before it, w is 1. A rating never weighs nothing or less: whoever rates has chosen the item.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .compiled import kernel
from .vocabulary import Vocabulary

LEAST, MOST = np.float32(0.1), np.float32(3.0)
MEMORY = 1_000
"""Ratings after which the mean moves on by a thousandth: so tastes may change, and the count is bounded."""
_LEAST_MEAN, _GREATEST = np.float32(1e-6), 1e9
ONE = np.float32(1.0)


class Ratings(NamedTuple):
    """Rows by user. Written by `rate` alone."""

    mean: NDArray[np.float32]
    """Of the user's ratings so far, shape (users,)."""
    rated: NDArray[np.int32]
    """How many they are, at most `MEMORY`; shape (users,)."""
    dirty: NDArray[np.uint8]
    slope: float
    """How steeply the weight rises; not state."""


def ratings(arena: Arena, users: Vocabulary, slope: float) -> Ratings:
    """Declare the means of all users."""
    table = arena.table("ratings", users.capacity, lambda: len(users), of=users.name)
    return Ratings(
        mean=table.array("mean", np.float32), rated=table.array("rated", np.int32), dirty=table.dirty, slope=slope
    )


@kernel
def rating_weight(r: Ratings, user: int, value: float) -> np.float32:
    """Return the weight of a choice that `user` rates `value`, in [LEAST, MOST]; 1 where `value` is NaN."""
    mean = r.mean[user]
    if np.isnan(value) or mean < _LEAST_MEAN:
        return ONE
    apart = (np.float32(min(value, _GREATEST)) - mean) / mean
    return min(MOST, max(LEAST, ONE + np.float32(r.slope) * apart))


@kernel
def rate(r: Ratings, user: int, value: float) -> None:
    """Take `value` into the user's mean, after the choice was learned; NaN is passed over."""
    if np.isnan(value):
        return
    r.rated[user] = min(MEMORY, r.rated[user] + 1)
    r.mean[user] += (np.float32(min(value, _GREATEST)) - r.mean[user]) / np.float32(r.rated[user])
    r.dirty[user] = 1
