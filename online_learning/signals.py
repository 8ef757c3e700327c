"""Signals: what is known about a user and one item of the shortlist before the event, as a row of numbers.

ℓ(x) = ln(1e-4 + x). Shares are over the sum of all counts; `n` masses are decayed row sums of the same relation.
Most signals are a logarithm of a count or ratio, so a weight is an exponent: the blend is log-linear. Every logarithm's
argument is bounded away from 0, so no signal is ever non-finite.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel
from .covisitation import LONG_HALF_LIFE, SHORT, TICK, Covisitation, faded, near_faded
from .decay import halved
from .histories import Histories
from .logarithm import logarithm
from .popularity import ALL_TIME, COUNTS, EVENTS, FIRST, LAST, LAST_MS, PER_EVENT, PER_MS, USERS, Popularity
from .shortlist import (
    AFTER_1,
    AFTER_2,
    AFTER_3,
    BACK,
    LONG9,
    LONG98,
    LONG_MAX,
    NEXT_SHARE,
    QUICK_SUM,
    SESSION_SUM,
    SHORT_SUM,
    TINY,
    Scratch,
)

GROUPS = ("popular", "trending", "together", "yours")
"""What a reason names: the signals are summed into these."""
POPULAR, TRENDING, TOGETHER, YOURS = range(4)
_LOGARITHMS = (
    ("popular", 1.0, POPULAR),
    ("popular_5000", 1.0, POPULAR),
    ("popular_1000", 1.0, POPULAR),
    ("popular_200", 1.0, POPULAR),
    ("popular_40", 1.0, TRENDING),
    ("popular_10", 1.0, TRENDING),
    ("popular_3", 1.0, TRENDING),
    ("popular_day", 1.0, TRENDING),
    ("events_since_last", 0.3, TRENDING),
    ("events_since_first", 0.3, TRENDING),
    ("seconds_since_last", 0.2, TRENDING),
    ("overdue", 0.3, TRENDING),
    ("users_per_event", 0.3, POPULAR),
    ("next", 1.0, TOGETHER),
    ("together_short", 1.0, TOGETHER),
    ("together_long", 1.0, TOGETHER),
    ("together_longer", 1.0, TOGETHER),
    ("together_one", 1.0, TOGETHER),
    ("before", 1.0, TOGETHER),
    ("together_quick", 1.0, TOGETHER),
    ("together_session", 1.0, TOGETHER),
    ("after_last", 1.0, TOGETHER),
    ("after_second", 1.0, TOGETHER),
    ("after_third", 1.0, TOGETHER),
    ("own_frequency", 1.0, YOURS),
    ("own_seconds_since", 0.2, YOURS),
    ("own_distance", 0.5, YOURS),
)
"""Name, scale and group of each signal that is `scale · ln(argument)`; they come first in a row."""
_PLAIN = ("own", "own_nearness", "own_last", "own_second", "own_same_moment")
"""Signals that are numbers as they stand, all about the user's own past."""
NAMES = tuple(name for name, _, _ in _LOGARITHMS) + _PLAIN
LOGARITHMS = len(_LOGARITHMS)
SIGNALS = len(NAMES)
SCALE = np.array([scale for _, scale, _ in _LOGARITHMS] + [0.0] * len(_PLAIN), np.float32)
LEAST = np.float32(1e-4)
LEAST_SHARE = np.float32(1e-3)
GROUP_OF = np.array([group for _, _, group in _LOGARITHMS] + [YOURS] * len(_PLAIN), np.int64)
OWN_FREQUENCY = NAMES.index("own_frequency")
OWN = LOGARITHMS
"""First of the plain signals."""


@kernel
def describe(
    s: Scratch,
    n: int,
    own: int,
    h: Histories,
    p: Popularity,
    c: Covisitation,
    user: int,
    now_ms: int,
    seq: int,
    out: NDArray[np.float32],
) -> None:
    """Write the signals of the first `n` shortlisted items into `out`, shape (CAP, SIGNALS).

    The first `own` items are the user's own, in the order of the history. A row first holds the logarithms' arguments
    (1 where there is nothing to say), then all logarithms are taken at once, then the plain signals are set.
    """
    tick = seq // TICK
    per_event = s.per_event
    for which in range(COUNTS):  # as of the last event counted: a share does not age, and cannot overflow
        per_event[which] = np.float32(1.0 / max(1.0, p.total[which]))
    for at in range(n):
        j = s.items[at]
        f = out[at]
        facts = p.facts[j]
        age = np.float32(seq - facts[LAST])
        age_ms = np.float32(max(0, now_ms - facts[LAST_MS]))
        behind = np.float32(p.total_at[ALL_TIME, 0] - facts[LAST])
        behind_ms = np.float32(p.total_at[ALL_TIME, 1] - facts[LAST_MS])
        value = p.value[j]
        for which in range(COUNTS):
            f[which] = LEAST + per_event[which] * value[which] * halved(
                behind * PER_EVENT[which] + behind_ms * PER_MS[which]
            )
        interval = np.float32(facts[LAST] - facts[FIRST]) / np.float32(max(1, facts[EVENTS] - 1))
        f[8] = np.float32(1.0) + age
        f[9] = np.float32(1 + seq - facts[FIRST])
        f[10] = np.float32(1.0) + age_ms * np.float32(1e-3)
        f[11] = (np.float32(1.0) + age) / (np.float32(1.0) + interval)
        f[12] = np.float32(1 + facts[USERS]) / np.float32(1 + facts[EVENTS])
        short_total = TINY + c.near_mass[j, SHORT] * near_faded(SHORT, tick, c.near_mass_touch[j])
        short_mass = np.float32(1.0) / np.sqrt(np.sqrt(short_total))
        long_mass = np.float32(1.0) / np.sqrt(TINY + c.mass[j, 0] * faded(LONG_HALF_LIFE, tick, c.mass_touch[j]))
        slot = s.slot[j]
        q, near = s.far[slot], s.near[slot]
        f[13] = LEAST + near[NEXT_SHARE]
        f[14] = LEAST + near[SHORT_SUM] * short_mass
        f[15] = LEAST + q[LONG9] * long_mass
        f[16] = LEAST + q[LONG98] * long_mass
        f[17] = LEAST + q[LONG_MAX] * long_mass
        f[18] = LEAST + near[BACK]
        f[19] = LEAST + near[QUICK_SUM]
        f[20] = LEAST + q[SESSION_SUM]
        f[21] = LEAST_SHARE + near[AFTER_1]
        f[22] = LEAST_SHARE + near[AFTER_2]
        f[23] = LEAST_SHARE + near[AFTER_3]
        f[OWN_FREQUENCY:] = np.float32(1.0)
    for place in range(own):
        f = out[place]
        gap_ms = max(0, now_ms - h.ts_ms[user, place])
        f[OWN_FREQUENCY] = LEAST + np.float32(h.times[user, place]) / np.float32(h.events[user])
        f[OWN_FREQUENCY + 1] = np.float32(1000 + gap_ms) * np.float32(1e-3)
        f[OWN_FREQUENCY + 2] = np.float32(1 + place)
    for at in range(n):
        for k in range(SIGNALS):  # a constant count, a multiple of 8: whole registers
            out[at, k] = SCALE[k] * logarithm(out[at, k])
    for place in range(own):
        f = out[place]
        f[OWN] = 1.0
        f[OWN + 1] = 1.0 / (1.0 + place)
        f[OWN + 2] = 1.0 if place == 0 else 0.0
        f[OWN + 3] = 1.0 if place == 1 else 0.0
        f[OWN + 4] = 1.0 if now_ms <= h.ts_ms[user, place] else 0.0
