"""Exponential decay by table: a counter is (value, last touch) and decays when it is read.

Written as `c += 2^(t/h)` a counter overflows after 1,024 half-lives; kept as a value and the moment it was last
touched, it never does. `2^-x` comes from a table with 256 steps a half-life, right to 0.14 %, for 32 half-lives;
beyond that a counter reads 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiled import inlined, kernel

STEPS = 256
HALF_LIVES = 32
_TABLE: NDArray[np.float32] = np.concatenate(
    [np.exp2(-np.arange(STEPS * HALF_LIVES, dtype=np.float64) / STEPS), [0.0]]
).astype(np.float32)


@kernel
def decay(age: float, half_life: float) -> np.float32:
    """Return 2^(-age / half_life) in [0, 1]; a negative age counts as 0."""
    step = age * (STEPS / half_life)
    if step <= 0.0:
        return np.float32(_TABLE[0])
    if step >= STEPS * HALF_LIVES:
        return np.float32(_TABLE[STEPS * HALF_LIVES])
    return np.float32(_TABLE[int(step)])


@inlined
def halved(halvings: np.float32) -> np.float32:
    """Return 2^-halvings for halvings ≥ 0, without a table: made to be compiled into vector registers.

    2^f on (-1, 0] is a polynomial of degree 5 (least relative error 8e-8); the whole part goes into the exponent bits.
    Beyond 100 halvings the result is that of 100.
    """
    x = max(-halvings, np.float32(-100.0))
    whole = np.int32(x)
    f = x - np.float32(whole)
    y = np.float32(0.0009449075528008821) * f + np.float32(0.009205804851326584)
    y = y * f + np.float32(0.055297360453409695)
    y = y * f + np.float32(0.24018014191330705)
    y = y * f + np.float32(0.6931437207574652)
    y = y * f + np.float32(1.0)
    return y * np.int32((whole + np.int32(127)) << np.int32(23)).view(np.float32)
