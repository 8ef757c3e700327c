"""What a search for the nearest vectors comes to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatVector = NDArray[np.float32]


class Found(NamedTuple):
    """The nearest, best first; equally near ones by row."""

    rows: NDArray[np.int64]
    similarities: FloatVector
    """Inner products."""


def in_order(rows: NDArray[np.int64], near: FloatVector) -> Found:
    """Return rows with their inner products, in the order of a `Found`."""
    order = np.lexsort((rows, -near))
    return Found(rows[order], near[order].astype(np.float32))
