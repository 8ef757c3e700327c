"""Own past: what the user's earlier choices of an item say of the next one.

All zero for items the user never chose, and everywhere where consumed items are excluded. Reads `histories`.

| signal | for the item at distance d |
|---|---|
| own, own_nearness | 1, 1 / (1 + d) |
| own_last, own_second | d = 0, d = 1 |
| own_same_moment | 1 if nothing has passed since the choice |
| own_frequency | ln(1e-4 + times / events of the user) |
| own_times | ln(times) |
| own_seconds_since, own_distance | .2 ln(1 + seconds), .5 ln(1 + d) |
| own_due | -.3 min(9, ln²(since / mean interval)), of items chosen twice or more |
| own_this_session | how often in this session, over 4 |
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel
from .histories import SESSION_GAP_MS, Histories, since_ms
from .logarithm import logarithm
from .signal import PLAIN, YOURS, Signal

SIGNALS = (
    Signal("own_frequency", YOURS),
    Signal("own_times", YOURS),
    Signal("own_seconds_since", YOURS, 0.2),
    Signal("own_distance", YOURS, 0.5),
    Signal("own", YOURS, PLAIN),
    Signal("own_nearness", YOURS, PLAIN),
    Signal("own_last", YOURS, PLAIN),
    Signal("own_second", YOURS, PLAIN),
    Signal("own_same_moment", YOURS, PLAIN),
    Signal("own_due", YOURS, PLAIN),
    Signal("own_this_session", YOURS, PLAIN),
)
_LEAST = np.float32(1e-4)
_LOGARITHMS = sum(signal.scale != PLAIN for signal in SIGNALS)
_WIDTH = len(SIGNALS)
_FARTHEST = np.float32(9.0)


@kernel
def describe_own_past(
    h: Histories,
    items: NDArray[np.int32],
    user: int,
    own: int,
    n: int,
    now_ms: int,
    out: NDArray[np.float32],
    first: int,
) -> None:
    """Write the signals of `items[:n]` into rows `first` … of `out`, shape (…, n).

    They begin with the user's own of the `own` newest places of the history, in its order; what may not be listed is
    not among them.
    """
    zero, one = np.float32(0.0), np.float32(1.0)
    same_session = h.held[user] > 0 and now_ms - h.last_ms[user] <= SESSION_GAP_MS
    at = 0
    for place in range(own):
        if at == n or items[at] != h.item[user, place]:
            continue
        since_s = np.float32(since_ms(h, user, place, now_ms)) * np.float32(1e-3)
        times = np.float32(h.times[user, place])
        out[first, at] = _LEAST + times / np.float32(h.events[user])
        out[first + 1, at] = times
        out[first + 2, at] = one + since_s
        out[first + 3, at] = np.float32(1 + place)
        out[first + 4, at] = one
        out[first + 5, at] = one / np.float32(1 + place)
        out[first + 6, at] = one if place == 0 else zero
        out[first + 7, at] = one if place == 1 else zero
        out[first + 8, at] = one if since_s == zero else zero
        due = zero
        if times > one:
            apart = logarithm((one + since_s) / (one + h.interval_s[user, place]))
            due = np.float32(-0.3) * min(_FARTHEST, apart * apart)
        out[first + 9, at] = due
        out[first + 10, at] = np.float32(h.this_session[user, place]) * np.float32(0.25) if same_session else zero
        at += 1
    for k in range(_WIDTH):
        row = out[first + k]
        for other in range(at, n):
            row[other] = one if k < _LOGARITHMS else zero
