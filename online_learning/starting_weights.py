"""The weights a new model begins with: what the shared weights settle near on most logs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .signals import NAMES

START = 0.3
LOG_SIGNALS = (
    "popular",
    "popular_1000",
    "popular_200",
    "popular_40",
    "next",
    "together_short",
    "together_long",
    "own_frequency",
)


def starting_weights() -> NDArray[np.float32]:
    """Return the shared weights, shape (SIGNALS,): START for the log-shares of the simplest blend, 0 for the rest."""
    return np.array([START if name in LOG_SIGNALS else 0.0 for name in NAMES], np.float32)
