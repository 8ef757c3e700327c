"""Popularity at several half-lives, and the running best of each.

A count decays by events, not by time: `c_h(j) = Σ 2^(-(t - t_e)/h)` over the events e on item j, t counted in events.
Half-life ∞ is all-time popularity. Within one half-life an event only ever lifts its own item, so the best items are
kept by an insertion, never by a sort.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .compiled import kernel
from .decay import decay
from .vocabulary import Vocabulary

HALF_LIVES = (np.inf, 5000.0, 1000.0, 200.0, 40.0, 10.0, 3.0)
HALVINGS_PER_EVENT = (1.0 / np.array(HALF_LIVES)).astype(np.float32)
ALL_TIME, H40 = 0, 4
"""Places in `HALF_LIVES` that others name."""
BEST = 64
"""How many of the most popular items are kept in order, a half-life."""


class Popularity(NamedTuple):
    """Arrays by item row, and by half-life. Written by `count` alone."""

    value: NDArray[np.float32]
    """Decayed count at the item's last event, shape (items, half-lives)."""
    last: NDArray[np.int64]
    """`seq` of the item's last event, shape (items,)."""
    first: NDArray[np.int64]
    """`seq` of its first, shape (items,)."""
    last_ms: NDArray[np.int64]
    """Time of its last, shape (items,)."""
    events: NDArray[np.int64]
    """Events on the item, shape (items,); 0 means never seen."""
    users: NDArray[np.int64]
    """Users whose history it entered, shape (items,)."""
    dirty: NDArray[np.uint8]
    best: NDArray[np.int32]
    """Item rows by falling count, shape (half-lives, BEST)."""
    best_held: NDArray[np.int32]
    """How many of `best` are set, shape (half-lives,)."""
    total: NDArray[np.float64]
    """Sum of all counts at `total_at`, shape (half-lives,)."""
    total_at: NDArray[np.int64]
    """`seq` of the last event of all, shape (half-lives,)."""
    seen: NDArray[np.int64]
    """At ALL_TIME: items counted at least once; shape (half-lives,)."""
    board_dirty: NDArray[np.uint8]


def popularity(arena: Arena, items: Vocabulary) -> Popularity:
    """Declare the counts of all items."""
    table = arena.table("popularity", items.capacity, lambda: len(items))
    board = arena.table("popularity_board", len(HALF_LIVES), lambda: len(HALF_LIVES))
    return Popularity(
        value=table.array("value", np.float32, len(HALF_LIVES)),
        last=table.array("last", np.int64),
        first=table.array("first", np.int64),
        last_ms=table.array("last_ms", np.int64),
        events=table.array("events", np.int64),
        users=table.array("users", np.int64),
        dirty=table.dirty,
        best=board.array("best", np.int32, BEST),
        best_held=board.array("best_held", np.int32),
        total=board.array("total", np.float64),
        total_at=board.array("total_at", np.int64),
        seen=board.array("seen", np.int64),
        board_dirty=board.dirty,
    )


@kernel
def counted(p: Popularity, item: int, which: int, seq: int) -> float:
    """Return the decayed count of `item` at half-life `which`, as of event `seq`."""
    if which == ALL_TIME:  # an integer: a float32 would stop counting at 2^24
        return float(p.events[item])
    return float(p.value[item, which] * decay(seq - p.last[item], HALF_LIVES[which]))


@kernel
def totalled(p: Popularity, which: int, seq: int) -> float:
    """Return the sum of all counts at half-life `which`, as of event `seq`."""
    return float(p.total[which] * 2.0 ** (-(seq - p.total_at[which]) / HALF_LIVES[which]))


@kernel
def count(p: Popularity, item: int, new_to_user: bool, ts_ms: int, seq: int) -> None:
    """Count one event on `item`. The total decays by exact powers, so it never drifts from the sum of its parts."""
    for which in range(len(HALF_LIVES)):
        p.value[item, which] = counted(p, item, which, seq) + 1.0
        p.total[which] = totalled(p, which, seq) + 1.0
        p.total_at[which] = seq
        p.board_dirty[which] = 1
    if p.events[item] == 0:
        p.first[item] = seq
        p.seen[ALL_TIME] += 1
    p.last[item] = seq
    p.last_ms[item] = ts_ms
    p.events[item] += 1
    if new_to_user:
        p.users[item] += 1
    p.dirty[item] = 1
    for which in range(len(HALF_LIVES)):
        _lift(p, item, which, seq)


@kernel
def _lift(p: Popularity, item: int, which: int, seq: int) -> None:
    """Move `item` up the board of one half-life to where its count puts it; ties go to the lower row."""
    mine = counted(p, item, which, seq)
    held = p.best_held[which]
    at = 0
    while at < held and p.best[which, at] != item:
        at += 1
    if at == held:
        if held == BEST:
            at = BEST - 1
            last = p.best[which, at]
            theirs = counted(p, last, which, seq)
            if theirs > mine or (theirs == mine and last < item):
                return
        else:
            p.best_held[which] = held + 1
    while at > 0:
        above = p.best[which, at - 1]
        theirs = counted(p, above, which, seq)
        if theirs > mine or (theirs == mine and above < item):
            break
        p.best[which, at] = above
        at -= 1
    p.best[which, at] = item
    p.board_dirty[which] = 1
