"""The natural logarithm, made to be compiled into vector registers, and the same on every run.

The C library's `log` costs some 30 ns and runs one value at a time; ranking takes thousands for a list. This one is a
polynomial over the bits of a float32, right to 2 units in the last place (the coefficients are those of Cephes'
`logf`, S. L. Moshier).
"""

from __future__ import annotations

import numpy as np

from .compiled import inlined

_SQRT_HALF_BITS = np.int32(0x3F3504F3)
_LN_2 = np.float32(0.69314718056)


@inlined
def logarithm(value: np.float32) -> np.float32:
    """Return ln(value) of a positive, finite value that is not subnormal."""
    bits = np.float32(value).view(np.int32)
    exponent = np.int32((bits - _SQRT_HALF_BITS) >> np.int32(23))
    m = np.int32(bits - np.int32(exponent << np.int32(23))).view(np.float32) - np.float32(1.0)
    y = np.float32(7.0376836292e-2) * m - np.float32(1.1514610310e-1)
    y = y * m + np.float32(1.1676998740e-1)
    y = y * m - np.float32(1.2420140846e-1)
    y = y * m + np.float32(1.4249322787e-1)
    y = y * m - np.float32(1.6668057665e-1)
    y = y * m + np.float32(2.0000714765e-1)
    y = y * m - np.float32(2.4999993993e-1)
    y = y * m + np.float32(3.3333331174e-1)
    square = m * m
    y = y * m * square - np.float32(0.5) * square + m
    return y + np.float32(exponent) * _LN_2
