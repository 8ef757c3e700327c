"""The walk: one pass over the co-visitation rows of a user's history that adds up every query at once, per item met.

Ranking spends most of its time here for users with long histories.
"""

from __future__ import annotations

import numpy as np

from .compiled import kernel
from .covisitation import (
    LONG_MASS,
    LONG_PER_TICK,
    NEAR_MASS,
    NEXT,
    PER_TICK,
    QUICK,
    QUICK_PER_TICK,
    REACH,
    REVERSE,
    SESSION_MASS,
    SESSION_MS,
    SHORT,
    TICK,
    Covisitation,
    ticks,
)
from .decay import halved
from .histories import Histories, since_ms
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
    SESSION_SUM,
    SHORT_SUM,
    Scratch,
    with_place,
)
from .signal import TINY
from .slab import UNIT

ZERO = np.float32(0.0)
MOST_PLACES = (64, 12)
"""By effort: rows walked at most, newest first. Rows are walked whole: what is new stands at their ends."""


@kernel
def walk(s: Scratch, c: Covisitation, h: Histories, user: int, now_ms: int, seq: int, effort: int) -> None:
    """Add up every query over the user's history, newest first, into `s.sums`; after `begin`."""
    tick = seq // TICK
    w98, w9, w7 = np.float32(1.0), np.float32(1.0), np.float32(1.0)
    for place in range(min(MOST_PLACES[effort], h.held[user])):
        source = h.item[user, place]
        session = np.float32(np.exp(-since_ms(h, user, place, now_ms) / SESSION_MS))
        _walk_far(s, c, source, place, tick, session, w98, w9)
        if place < REACH:
            _walk_near(s, c, source, place, tick, w7)
        w98 *= np.float32(0.98)
        w9 *= np.float32(0.9)
        w7 *= np.float32(0.7)


@kernel
def _walk_far(
    s: Scratch,
    c: Covisitation,
    source: int,
    place: int,
    tick: int,
    session: np.float32,
    w98: np.float32,
    w9: np.float32,
) -> None:
    """Add the row's LONG and SESSION terms."""
    length = c.length[source]
    dt = ticks(tick, c.mass_touch[source])
    long_factor = np.float32(1.0) / np.sqrt(c.mass[source, LONG_MASS] * halved(dt * LONG_PER_TICK) + TINY)
    session_factor = session / (c.mass[source, SESSION_MASS] * halved(dt * PER_TICK) + TINY)
    first = c.start[source]
    units = (length + UNIT - 1) // UNIT
    long_fade, fade = s.long_fade, s.fade
    for unit in range(units):  # apart from the cells' loop, so that it runs in vectors
        age = ticks(tick, c.touch[first + unit])
        long_fade[unit] = w98 * long_factor * halved(age * LONG_PER_TICK)
        fade[unit] = session_factor * halved(age * PER_TICK)
    ratio = w9 / w98
    touched = s.held[0]
    for unit in range(units):
        far_factor, by_session = long_fade[unit], fade[unit]
        neighbour, long, strength = c.neighbour[first + unit], c.long[first + unit], c.session[first + unit]
        for at in range(min(length - unit * UNIT, UNIT)):
            item = np.uint32(neighbour[at])  # unsigned: no check for indices from the end
            q = s.sums[item]
            term = far_factor * long[at]
            before = q[LONG98]
            s.touched[touched] = (
                item  # stays if it is new: no branch, which would wait for the line and then mispredict
            )
            touched += np.int64(before == ZERO) & np.int64(term > ZERO)
            q[LONG98] = before + term
            q[LONG9] += ratio * term
            q[SESSION_SUM] += by_session * strength[at]
            q[LARGEST] = max(q[LARGEST], with_place(term, place))
    s.held[0] = touched


@kernel
def _walk_near(s: Scratch, c: Covisitation, source: int, place: int, tick: int, w7: np.float32) -> None:
    """Add the row's near terms, and LONG7's, of one of the newest items; after `_walk_far` of the same row."""
    dt = ticks(tick, c.mass_touch[source])
    mass = c.mass[source]
    fade = halved(dt * PER_TICK)
    short_total = mass[NEAR_MASS + SHORT] * fade + TINY
    next_total = mass[NEAR_MASS + NEXT] * fade + TINY
    back_total = mass[NEAR_MASS + REVERSE] * fade + TINY
    long_factor = w7 / np.sqrt(mass[LONG_MASS] * halved(dt * LONG_PER_TICK) + TINY)
    short_factor = w7 / np.sqrt(short_total)
    quick_factor = w7 / (mass[NEAR_MASS + QUICK] * halved(dt * QUICK_PER_TICK) + TINY)
    unit = c.start[source]
    length = c.length[source]
    while length > 0:
        age = ticks(tick, c.touch[unit])
        fade = halved(age * PER_TICK)
        quick_fade = quick_factor * halved(age * QUICK_PER_TICK)
        long_fade = long_factor * halved(age * LONG_PER_TICK)
        near = c.near[unit]
        for at in range(min(length, UNIT)):
            q = s.sums[np.uint32(c.neighbour[unit, at])]
            q[LONG7] += long_fade * c.long[unit, at]
            direct = near[SHORT, at] * fade
            q[SHORT_SUM] += direct * short_factor
            q[QUICK_SUM] += near[QUICK, at] * quick_fade
            if place == 0:
                q[NEXT_SHARE] = near[NEXT, at] * fade / next_total
                q[BACK] = near[REVERSE, at] * fade / back_total
                q[AFTER_1] = direct / short_total
            elif place == 1:
                q[AFTER_2] = direct / short_total
            else:
                q[AFTER_3] += direct / short_total / np.float32(3.0)
        length -= UNIT
        unit += 1
