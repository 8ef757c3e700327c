"""Together: what co-visitation says of an item, given the user's history. Source of the sums: `walk`.

With a_d the item at distance d, r a relation's strength, n a decayed row sum of it:

| signal | x of ln(1 + FINE x), of after_… ln(1 + COARSE x) |
|---|---|
| next, before | r(a_0, j) / n of NEXT, of REVERSE |
| together_short | Σ_{d<5} .7^d r(a_d, j) / (√n_a · n_j^¼), SHORT |
| together_long, _longer, _newest | Σ w^d r(a_d, j) / √(n_a n_j), LONG, w = .9, .98, .7 (the last: d < 5) |
| together_one | the largest term of together_longer |
| together_quick, _session | Σ .7^d r / n_a, QUICK; Σ e^(-Δt/30 min) r / n_a, SESSION |
| after_last, _second, _third | P(j given a_d) by SHORT for d = 0, d = 1, the mean of d = 2 … 4 |
| second_order | see `second_order` |
| neighbours | ln(1 + edges of j) |
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel
from .covisitation import LONG_MASS, LONG_PER_TICK, NEAR_MASS, PER_TICK, SHORT, TICK, Covisitation, ticks
from .decay import halved
from .scratch import (
    AFTER_1,
    AFTER_2,
    AFTER_3,
    BACK,
    LARGEST,
    LONG7,
    LONG9,
    LONG98,
    NEXT_SHARE,
    QUICK_SUM,
    SECOND,
    SESSION_SUM,
    SHORT_SUM,
    Scratch,
)
from .signal import COARSE, FINE, ONE, TINY, TOGETHER, Signal

SIGNALS = (
    Signal("next", TOGETHER),
    Signal("together_short", TOGETHER),
    Signal("together_long", TOGETHER),
    Signal("together_longer", TOGETHER),
    Signal("together_newest", TOGETHER),
    Signal("together_one", TOGETHER),
    Signal("before", TOGETHER),
    Signal("together_quick", TOGETHER),
    Signal("together_session", TOGETHER),
    Signal("after_last", TOGETHER),
    Signal("after_second", TOGETHER),
    Signal("after_third", TOGETHER),
    Signal("second_order", TOGETHER),
    Signal("neighbours", TOGETHER),
)


@kernel
def describe_together(s: Scratch, c: Covisitation, n: int, seq: int, out: NDArray[np.float32], first: int) -> None:
    """Write the signals of `s.items[:n]` into rows `first` … of `out`, shape (…, n)."""
    tick = seq // TICK
    for at in range(n):
        j = s.items[at]
        q = s.sums[j]
        dt = ticks(tick, c.mass_touch[j])
        short_total = TINY + c.mass[j, NEAR_MASS + SHORT] * halved(dt * PER_TICK)
        short_mass = np.float32(1.0) / np.sqrt(np.sqrt(short_total))
        long_mass = np.float32(1.0) / np.sqrt(TINY + c.mass[j, LONG_MASS] * halved(dt * LONG_PER_TICK))
        out[first, at] = ONE + FINE * q[NEXT_SHARE]
        out[first + 1, at] = ONE + FINE * q[SHORT_SUM] * short_mass
        out[first + 2, at] = ONE + FINE * q[LONG9] * long_mass
        out[first + 3, at] = ONE + FINE * q[LONG98] * long_mass
        out[first + 4, at] = ONE + FINE * q[LONG7] * long_mass
        out[first + 5, at] = ONE + FINE * q[LARGEST] * long_mass
        out[first + 6, at] = ONE + FINE * q[BACK]
        out[first + 7, at] = ONE + FINE * q[QUICK_SUM]
        out[first + 8, at] = ONE + FINE * q[SESSION_SUM]
        out[first + 9, at] = ONE + COARSE * q[AFTER_1]
        out[first + 10, at] = ONE + COARSE * q[AFTER_2]
        out[first + 11, at] = ONE + COARSE * q[AFTER_3]
        out[first + 12, at] = ONE + FINE * q[SECOND]
        out[first + 13, at] = np.float32(1 + c.length[j])
