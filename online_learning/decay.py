"""Exponential decay by table: a counter is (value, last touch) and decays when it is read.

Written as `c += 2^(t/h)` a counter overflows after 1,024 half-lives; kept as a value and the moment it was last
touched, it never does. `2^-x` comes from a table with 256 steps a half-life, right to 0.14 %, for 32 half-lives;
beyond that a counter reads 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

STEPS = 256
HALF_LIVES = 32
_TABLE: NDArray[np.float32] = np.concatenate(
    [np.exp2(-np.arange(STEPS * HALF_LIVES, dtype=np.float64) / STEPS), [0.0]]
).astype(np.float32)


@kernel
def decay(age: float, half_life: float) -> np.float32:
    """Return 2^(-age / half_life) in [0, 1]; a negative age counts as 0."""
    step = age / half_life * STEPS
    if step <= 0.0:
        return _TABLE[0]
    if step >= STEPS * HALF_LIVES:
        return _TABLE[STEPS * HALF_LIVES]
    return _TABLE[int(step)]
