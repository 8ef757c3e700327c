"""Trend: how long an item has been there, and how long it has been silent, in events and in seconds.

What is new, and what has just gone quiet, is told by these better than by any count. Reads the facts of `popularity`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel
from .popularity import EVENTS, FIRST, LAST, LAST_MS, USERS, Popularity
from .signal import PLAIN, POPULAR, TRENDING, Signal

SIGNALS = (
    Signal("events_since_last", TRENDING, 0.3),
    Signal("events_since_first", TRENDING, 0.3),
    Signal("seconds_since_last", TRENDING, 0.2),
    Signal("overdue", TRENDING, 0.3),
    Signal("users_per_event", POPULAR, 0.3),
    Signal("just_chosen", TRENDING, PLAIN),
)
"""`overdue` is the silence over the mean interval, the present one included, so that an item chosen once is not;
`just_chosen` is 1 for the item of the last event of all."""


@kernel
def describe_trend(
    p: Popularity, items: NDArray[np.int32], n: int, now_ms: int, seq: int, out: NDArray[np.float32], first: int
) -> None:
    """Write the signals of `items[:n]` into rows `first` … of `out`, shape (…, n)."""
    one = np.float32(1.0)
    last = p.total_at[0, 0]
    for at in range(n):
        facts = p.facts[items[at]]
        if facts[EVENTS] == 0:  # as if it had come just now
            out[first : first + 5, at] = one
            out[first + 5, at] = np.float32(0.0)
            continue
        age = np.float32(seq - facts[LAST])
        interval = np.float32(seq - facts[FIRST]) / np.float32(max(1, facts[EVENTS]))
        out[first, at] = one + age
        out[first + 1, at] = np.float32(1 + seq - facts[FIRST])
        out[first + 2, at] = one + np.float32(max(0, now_ms - facts[LAST_MS])) * np.float32(1e-3)
        out[first + 3, at] = (one + age) / (one + interval)
        out[first + 4, at] = np.float32(1 + facts[USERS]) / np.float32(1 + facts[EVENTS])
        out[first + 5, at] = one if facts[EVENTS] > 0 and facts[LAST] == last else np.float32(0.0)
