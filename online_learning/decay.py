"""Exponential decay: a counter is (value, last touch) and decays when it is read.

Written as `c += 2^(t/h)` a counter overflows after 1,024 half-lives; kept as a value and the moment it was last
touched, it never does. What 100 half-lives leave (1e-30) is also what is left after more.
"""

from __future__ import annotations

import numpy as np

from .compiled import inlined, kernel


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


@kernel
def decay(age: float, half_life: float) -> np.float32:
    """Return 2^(-age / half_life) in (0, 1]; a negative age counts as 0.

    Not from a table: a counter that is touched often multiplies many small decays, and a table swallows those below
    one of its steps whole.
    """
    return halved(np.float32(max(age, 0.0) / half_life))
