"""Signals: what is known about a user and one item of the shortlist before the event, as a row of numbers.

ℓ(x) = ln(1e-4 + x). Shares are over the sum of all counts; `n` masses are decayed row sums of the same relation.
Most signals are a logarithm of a count or ratio, so a weight is an exponent: the blend is log-linear. Every logarithm's
argument is bounded away from 0, so no signal is ever non-finite.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel
from .covisitation import LONG, SHORT, TICK, Covisitation, faded
from .histories import Histories, find
from .popularity import HALF_LIVES, Popularity, share
from .shortlist import (
    AFTER_1,
    AFTER_2,
    AFTER_3,
    BACK,
    LONG7,
    LONG9,
    LONG98,
    LONG_MAX,
    NEXT_SHARE,
    QUICK_SUM,
    SESSION_SUM,
    SHORT_SUM,
    Scratch,
)

NAMES = (
    "popular",
    "popular_5000",
    "popular_1000",
    "popular_200",
    "popular_40",
    "popular_10",
    "popular_3",
    "events_since_last",
    "events_since_first",
    "seconds_since_last",
    "overdue",
    "users_per_event",
    "next",
    "together_short",
    "together_long",
    "together_longer",
    "together_recent",
    "together_one",
    "before",
    "together_quick",
    "together_session",
    "after_last",
    "after_second",
    "after_third",
    "own",
    "own_nearness",
    "own_frequency",
    "own_last",
    "own_second",
    "own_same_moment",
    "own_seconds_since",
    "own_distance",
)
SIGNALS = len(NAMES)
GROUPS = ("popular", "trending", "together", "yours")
"""What a reason names: the signals are summed into these."""
GROUP_OF = np.array(
    [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0] + [2] * 12 + [3] * 8,
    np.int64,
)


@kernel
def describe(
    s: Scratch,
    n: int,
    h: Histories,
    p: Popularity,
    c: Covisitation,
    user: int,
    now_ms: int,
    seq: int,
    out: NDArray[np.float32],
) -> None:
    """Write the signals of the first `n` shortlisted items into `out`, shape (CAP, SIGNALS)."""
    tick = seq // TICK
    tiny = np.float32(1e-4)
    for at in range(n):
        j = s.items[at]
        f = out[at]
        for which in range(len(HALF_LIVES)):
            f[which] = np.log(tiny + share(p, j, which, seq))
        since = float(seq - p.last[j])
        f[7] = 0.3 * np.log(1.0 + since)
        f[8] = 0.3 * np.log(1.0 + float(seq - p.first[j]))
        f[9] = 0.2 * np.log(1.0 + max(0.0, float(now_ms - p.last_ms[j])) / 1000.0)
        interval = float(p.last[j] - p.first[j]) / max(1.0, float(p.events[j] - 1))
        f[10] = 0.3 * np.log((1.0 + since) / (1.0 + interval))
        f[11] = 0.3 * np.log((1.0 + float(p.users[j])) / (1.0 + float(p.events[j])))
        q = s.query[j]
        touch = c.mass_touch[j]
        short_mass = np.float32(1e-9) + c.mass[j, SHORT] * faded(SHORT, tick, touch)
        long_mass = np.sqrt(np.float32(1e-9) + c.mass[j, LONG] * faded(LONG, tick, touch))
        f[12] = np.log(tiny + q[NEXT_SHARE])
        f[13] = np.log(tiny + q[SHORT_SUM] / short_mass ** np.float32(0.3))
        f[14] = np.log(tiny + q[LONG9] / long_mass)
        f[15] = np.log(tiny + q[LONG98] / long_mass)
        f[16] = np.log(tiny + q[LONG7] / long_mass)
        f[17] = np.log(tiny + q[LONG_MAX] / long_mass)
        f[18] = np.log(tiny + q[BACK])
        f[19] = np.log(tiny + q[QUICK_SUM])
        f[20] = np.log(tiny + q[SESSION_SUM])
        f[21] = np.log(1e-3 + q[AFTER_1])
        f[22] = np.log(1e-3 + q[AFTER_2])
        f[23] = np.log(1e-3 + q[AFTER_3])
        f[24:] = np.float32(0.0)
        place = find(h, user, j)
        if place >= 0:
            f[24] = 1.0
            f[25] = 1.0 / (1.0 + place)
            f[26] = np.log(tiny + h.times[user, place] / float(h.events[user]))
            f[27] = 1.0 if place == 0 else 0.0
            f[28] = 1.0 if place == 1 else 0.0
            gap_s = max(0.0, float(now_ms - h.ts_ms[user, place])) / 1000.0
            f[29] = 1.0 if gap_s == 0.0 else 0.0
            f[30] = 0.2 * np.log(1.0 + gap_s)
            f[31] = 0.5 * np.log(1.0 + place)
