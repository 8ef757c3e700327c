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


@kernel
def fade_unit(
    strength: NDArray[np.float32],
    touch: NDArray[np.int32],
    tick: int,
    per_tick: np.float32,
    factor: np.float32,
    power: NDArray[np.float32],
    bits: NDArray[np.int32],
    out: NDArray[np.float32],
) -> None:
    """Write `factor · strength · 2^(-(tick - touch) · per_tick)` for one unit of cells, in vector registers.

    2^f on (-1, 0] is a polynomial of degree 5 (least relative error 8e-8); the whole part goes into the exponent bits.
    `power` is scratch of the unit's length, `bits` the same memory.
    """
    for at in range(len(power)):
        x = max(np.float32(touch[at] - tick) * per_tick, np.float32(-100.0))
        bits[at] = (np.int32(x) + np.int32(127)) << np.int32(23)
        f = x - np.float32(np.int32(x))
        y = np.float32(0.0009449075528008821) * f + np.float32(0.009205804851326584)
        y = y * f + np.float32(0.055297360453409695)
        y = y * f + np.float32(0.24018014191330705)
        y = y * f + np.float32(0.6931437207574652)
        y = y * f + np.float32(1.0)
        out[at] = factor * strength[at] * y
    for at in range(len(power)):
        out[at] *= power[at]
