"""Second order: what was chosen after what was chosen after the user's last item.

For the last item a and its 8 strongest SHORT neighbours b: `Σ_b r(a,b) / √(n_a n_b) · r(b,j) / n_b`, r the SHORT
strength and n its row sum. Reaches items that nobody has yet chosen right after a.
"""

from __future__ import annotations

import numpy as np

from .compiled import kernel
from .covisitation import NEAR_MASS, PER_TICK, SHORT, TICK, Covisitation, ticks
from .decay import halved
from .histories import Histories
from .scratch import LONG98, SECOND, Scratch
from .signal import TINY
from .slab import UNIT

BRIDGES = 8
BRIDGE_CELLS = 64
ZERO = np.float32(0.0)


@kernel
def walk_second(s: Scratch, c: Covisitation, h: Histories, user: int, seq: int) -> None:
    """Add up the second-order sums into `s.sums`; after `walk`."""
    if h.held[user] == 0:
        return
    tick = seq // TICK
    source = h.item[user, 0]
    bridges = _strongest(s, c, source, tick)
    total = c.mass[source, NEAR_MASS + SHORT] * halved(ticks(tick, c.mass_touch[source]) * PER_TICK) + TINY
    touched = s.held[0]
    for at in range(bridges):
        bridge = s.heap[0, at]
        bridge_total = c.mass[bridge, NEAR_MASS + SHORT] * halved(ticks(tick, c.mass_touch[bridge]) * PER_TICK) + TINY
        factor = s.heap_key[0, at] / np.sqrt(total * bridge_total) / bridge_total
        unit = c.start[bridge]
        length = min(c.length[bridge], BRIDGE_CELLS)
        while length > 0:
            fade = factor * halved(ticks(tick, c.touch[unit]) * PER_TICK)
            short, neighbour = c.near[unit, SHORT], c.neighbour[unit]
            for cell in range(min(length, UNIT)):
                term = fade * short[cell]
                item = np.uint32(neighbour[cell])
                q = s.sums[item]
                s.touched[touched] = item  # stays if it is new, as in the walk
                touched += np.int64(q[SECOND] == ZERO) & np.int64(q[LONG98] == ZERO) & np.int64(term > ZERO)
                q[SECOND] += term
            length -= UNIT
            unit += 1
    s.held[0] = touched


@kernel
def _strongest(s: Scratch, c: Covisitation, source: int, tick: int) -> int:
    """Write the row's strongest edges by SHORT into `s.heap` and `s.heap_key`, best first; return how many."""
    held = 0
    unit = c.start[source]
    length = c.length[source]
    while length > 0:
        fade = halved(ticks(tick, c.touch[unit]) * PER_TICK)
        for cell in range(min(length, UNIT)):
            value = c.near[unit, SHORT, cell] * fade
            if value <= ZERO or (held == BRIDGES and value <= s.heap_key[0, held - 1]):
                continue
            held = min(held + 1, BRIDGES)
            at = held - 1
            while at > 0 and s.heap_key[0, at - 1] < value:
                s.heap_key[0, at] = s.heap_key[0, at - 1]
                s.heap[0, at] = s.heap[0, at - 1]
                at -= 1
            s.heap_key[0, at] = value
            s.heap[0, at] = c.neighbour[unit, cell]
        length -= UNIT
        unit += 1
    return held
