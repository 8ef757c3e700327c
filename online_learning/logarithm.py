"""Natural logarithms of a whole row at once, the same on every run.

The C library's `log` costs some 30 ns and runs one value at a time; ranking takes thousands for a list. This one is a
polynomial over the bits of a float32, in vector registers, right to 2 units in the last place (the coefficients are
those of Cephes' `logf`, S. L. Moshier).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

_SQRT_HALF_BITS = np.int32(0x3F3504F3)
_LN_2 = np.float32(0.69314718056)


@kernel
def logarithms(values: NDArray[np.float32], bits: NDArray[np.int32], scale: NDArray[np.float32], first: int, last: int) -> None:
    """Replace `values[:, k]` by `scale[k] · ln(values[:, k])` for k in [first, last); `bits` is a view of `values`.

    Every value must be positive, finite and not subnormal.
    """
    for row in range(len(values)):
        for k in range(first, last):
            exponent = (bits[row, k] - _SQRT_HALF_BITS) >> np.int32(23)
            bits[row, k] -= exponent << np.int32(23)
            m = values[row, k] - np.float32(1.0)
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
            values[row, k] = scale[k] * (y + np.float32(exponent) * _LN_2)
