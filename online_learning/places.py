"""Where an item stands among others: in a shortlist, by its score there, by how often it was chosen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel
from .popularity import BEST, EVENTS, Popularity, counted
from .scratch import Scratch, is_barred


@kernel
def place_of(item: int, items: NDArray[np.int32], n: int) -> int:
    """Return the place of `item` among the first `n` of `items`, or -1."""
    for place in range(n):
        if items[place] == item:
            return place
    return -1


@kernel
def rank_of(scores: NDArray[np.float32], n: int, target: int) -> float:
    """Return 1 + #(above) + #(tied with it) / 2."""
    above = 0
    tied = 0
    for k in range(n):
        if scores[k] > scores[target]:
            above += 1
        elif scores[k] == scores[target] and k != target:
            tied += 1
    return 1.0 + above + tied / 2.0


@kernel
def rank_by_count(p: Popularity, s: Scratch, item: int, which: int, seq: int, now_ms: int, items: int) -> float:
    """Return the rank of `item` among all items seen that are not barred, by one popularity count.

    The board answers when the item is on it above its last place; otherwise, and where barred items leave fewer than
    20 above the board's end, every item is counted.
    """
    mine = counted(p, item, which, seq, now_ms)
    above = 0
    tied = 0
    last = np.inf
    for at in range(p.best_held[which]):
        j = p.best[which, at]
        last = counted(p, j, which, seq, now_ms)
        if j != item and not is_barred(s, j):
            if last > mine:
                above += 1
            elif last == mine:
                tied += 1
    if p.best_held[which] == BEST and mine <= last and above < 20:
        above = 0
        tied = 0
        for j in range(items):
            if p.facts[j, EVENTS] > 0 and j != item and not is_barred(s, j):
                theirs = counted(p, j, which, seq, now_ms)
                if theirs > mine:
                    above += 1
                elif theirs == mine:
                    tied += 1
    return 1.0 + above + tied / 2.0
