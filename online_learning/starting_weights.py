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


CONTENT = {"content": 2.0, "content_last": 1.0, "content_fresh": 5.0, "fresh": 4.0}
"""Cosines speak softly: a choice is e^7 times as likely for an item that is just what the user likes."""


def starting_weights() -> NDArray[np.float32]:
    """Return the shared weights, shape (SIGNALS,): of the log-shares of the simplest blend, and of content; 0 else."""
    start = {**dict.fromkeys(LOG_SIGNALS, START), **CONTENT}
    return np.array([start.get(name, 0.0) for name in NAMES], np.float32)
