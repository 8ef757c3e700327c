"""Similar items: what the users who chose an item chose besides, by the edges that ranking walks.

Item j is as similar to i as their LONG edge is strong beside how often both are chosen (the cosine of implicit
feedback; Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001):

    s_ij = LONG_ij / sqrt(M_i · M_j),  M the sum of all LONG edges of an item, all as of now

Making a list changes no state. Which items have changed since their list was made is kept beside the state, not in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiled import entry, inlined, kernel
from .covisitation import LONG_MASS, LONG_PER_TICK, TICK, Covisitation, ticks
from .decay import halved
from .kernel import Lists
from .signal import TINY, TOGETHER
from .slab import UNIT

SIMILAR = "similar"
"""The name of an item's list."""


class Changed:
    """Item rows whose edges have changed and whose list has not been made since."""

    def __init__(self, capacity: int) -> None:
        self._changed = np.zeros(capacity, np.bool_)
        self._next = 0

    def note(self, rows: NDArray[np.int32]) -> None:
        """Mark the items of a slice; rows below 0 are nobody's."""
        self._changed[rows[rows >= 0]] = True

    def take(self, most: int) -> NDArray[np.int64]:
        """Return the next so many, by row and round, and take their marks off."""
        changed = np.flatnonzero(self._changed)
        taken = np.roll(changed, -int(np.searchsorted(changed, self._next)))[:most]
        if len(taken):
            self._next = int(taken[-1]) + 1
        self._changed[taken] = False
        return taken


@entry
def list_similar(
    c: Covisitation, in_limbo: NDArray[np.bool_], items: NDArray[np.int64], seq: int, lists: Lists
) -> None:
    """Write into row n of `lists` what is similar to `items[n]` as of event `seq`. Ties go to the lower row."""
    tick = seq // TICK
    for row in range(len(items)):
        lists.seq[row] = seq
        mine = _mass(c, items[row], tick)
        first, length, held = c.start[items[row]], c.length[items[row]], 0
        for place in range(length):
            unit, at = first + place // UNIT, place % UNIT
            other = c.neighbour[unit, at]
            if in_limbo[other]:
                continue
            strength = c.long[unit, at] * halved(ticks(tick, c.touch[unit]) * LONG_PER_TICK)
            held = _offer(lists, row, held, other, strength / np.sqrt(mine * _mass(c, other, tick) + TINY))
        lists.item[row, held:] = -1
        for place in range(held):
            lists.contribution[row, place] = 0.0
            lists.contribution[row, place, TOGETHER] = lists.score[row, place]
            lists.via[row, place] = items[row]


@inlined
def _mass(c: Covisitation, item: int, tick: int) -> np.float32:
    """Return the sum of the item's LONG edges at `tick`."""
    return np.float32(c.mass[item, LONG_MASS] * halved(ticks(tick, c.mass_touch[item]) * LONG_PER_TICK))


@kernel
def _offer(lists: Lists, row: int, held: int, item: int, score: np.float32) -> int:
    """Put an item where it belongs among the `held` best of the row; return how many there are then."""
    items, scores = lists.item[row], lists.score[row]
    at = held
    while at > 0 and (score > scores[at - 1] or (score == scores[at - 1] and item < items[at - 1])):
        at -= 1
    if at == len(items):
        return held
    held = min(held + 1, len(items))
    for later in range(held - 1, at, -1):
        items[later] = items[later - 1]
        scores[later] = scores[later - 1]
    items[at] = item
    scores[at] = score
    return held
