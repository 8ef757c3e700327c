"""What a signal is: a named number that a part says of a user and one item, and how it enters the score.

Most signals are logarithms of a count, a share or a ratio, so a weight is an exponent and the blend is log-linear. A
part writes the logarithm's argument, bounded away from 0; `signals.describe` takes all logarithms at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

GROUPS = (
    "popular",
    "trending",
    "together",
    "yours",
    "taste",
    "dismissed",
    "price",
    "ignored",
    "alike",
    "content",
    "asked",
)
"""What a reason names: the signals' parts of a score are summed into these; some are of no signal."""
POPULAR, TRENDING, TOGETHER, YOURS, TASTE, DISMISSED, PRICE, IGNORED, ALIKE, SAYS, ASKED = range(11)

PLAIN = 0.0
"""Scale of a signal that enters as it stands."""
ONE = np.float32(1.0)
FINE, COARSE = np.float32(1e4), np.float32(1e3)
"""A share x enters as ln(1 + FINE x): nothing says nothing, and ln(1e-4 + x) says the same to a softmax."""
TINY = np.float32(1e-9)


class Signal(NamedTuple):
    """`scale · ln(argument)`, or the number itself where the scale is `PLAIN`."""

    name: str
    group: int
    scale: float = 1.0
