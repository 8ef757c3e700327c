"""Popularity: how often an item was chosen, at several half-lives, and the running best of each.

`c_h(j) = Σ 2^(-(t - t_e)/h)` over the events e on item j; t counts events for most half-lives, and time for two.
Half-life ∞ is all-time popularity. It and the count of half-life 40 are counts of events, whatever their kind: quality
is measured beside these two. The others add the event's weight. Within one half-life an event only ever lifts its own
item, so the best items are kept by an insertion, never by a sort.

Signals: ln(1 + FINE · the item's share of each count).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .compiled import entry, kernel
from .decay import decay, halved
from .logarithm import logarithm
from .signal import FINE, ONE, POPULAR, TRENDING, Signal
from .vocabulary import Vocabulary

HALF_LIVES_EVENTS = (5000.0, 1000.0, 200.0, 40.0, 10.0, 3.0, np.inf, np.inf)
HALF_LIVES_MS = (np.inf, np.inf, np.inf, np.inf, np.inf, np.inf, 3_600_000.0, 86_400_000.0)
FADING = 8
"""Counts that fade; eight fill a vector register."""
COUNTS = FADING + 1
ALL_TIME = FADING
"""The count that does not fade: an integer, since a float32 would stop counting at 2^24."""
H40 = 3
LN_2 = 0.6931471805599453
NEVER = -(2.0**62)
"""When something was last used that never was."""
PER_EVENT = (1.0 / np.array(HALF_LIVES_EVENTS)).astype(np.float32)
PER_MS = (1.0 / np.array(HALF_LIVES_MS)).astype(np.float32)
BEST = 64
"""How many of the most popular items are kept in order, a count."""
LAST, FIRST, LAST_MS, EVENTS, USERS = range(5)
"""Columns of `facts`: `seq` of the item's last and first event, time of its last, its events, its users."""
SIGNALS = (
    Signal("popular_5000", POPULAR),
    Signal("popular_1000", POPULAR),
    Signal("popular_200", POPULAR),
    Signal("popular_40", TRENDING),
    Signal("popular_10", TRENDING),
    Signal("popular_3", TRENDING),
    Signal("popular_hour", TRENDING),
    Signal("popular_day", TRENDING),
    Signal("popular", POPULAR),
)


class Popularity(NamedTuple):
    """Arrays by item row. Written by `count`, and as items are forgotten.

    Totals count all events, also those on items that are forgotten by now.
    """

    value: NDArray[np.float32]
    """Each fading count at the item's last event, shape (items, FADING)."""
    facts: NDArray[np.int64]
    """Shape (items, 5): one cache line an item."""
    dirty: NDArray[np.uint8]
    best: NDArray[np.int32]
    """Item rows by falling count, shape (COUNTS, BEST)."""
    best_held: NDArray[np.int32]
    """How many of `best` are set, shape (COUNTS,)."""
    total: NDArray[np.float64]
    """Sum of all items' counts at the last event of all, shape (COUNTS,)."""
    total_at: NDArray[np.int64]
    """`seq` and time of that event, shape (COUNTS, 2)."""
    seen: NDArray[np.int64]
    """At ALL_TIME: items counted at least once; shape (COUNTS,)."""
    board_dirty: NDArray[np.uint8]


def popularity(arena: Arena, items: Vocabulary) -> Popularity:
    """Declare the counts of all items."""
    table = arena.table("popularity", items.capacity, lambda: len(items), of=items.name)
    board = arena.table("popularity_board", COUNTS, lambda: COUNTS)
    return Popularity(
        value=table.array("value", np.float32, FADING),
        facts=table.array("facts", np.int64, 5),
        dirty=table.dirty,
        best=board.array("best", np.int32, BEST),
        best_held=board.array("best_held", np.int32),
        total=board.array("total", np.float64),
        total_at=board.array("total_at", np.int64, 2),
        seen=board.array("seen", np.int64),
        board_dirty=board.dirty,
    )


@kernel
def counted(p: Popularity, item: int, which: int, seq: int, now_ms: int) -> float:
    """Return one count of `item` as of event `seq` and time `now_ms`."""
    if which == ALL_TIME:
        return float(p.facts[item, EVENTS])
    age_ms = max(0, now_ms - p.facts[item, LAST_MS])
    halvings = (seq - p.facts[item, LAST]) * PER_EVENT[which] + age_ms * PER_MS[which]
    return float(p.value[item, which] * decay(halvings, 1.0))


@kernel
def totalled(p: Popularity, which: int, seq: int, now_ms: int) -> float:
    """Return the sum of one count over all items as of event `seq` and time `now_ms`."""
    if which == ALL_TIME:
        return float(p.total[which])
    age_ms = max(0, now_ms - p.total_at[which, 1])
    halvings = (seq - p.total_at[which, 0]) / HALF_LIVES_EVENTS[which] + age_ms / HALF_LIVES_MS[which]
    return float(p.total[which] * 2.0**-halvings)


@kernel
def count(p: Popularity, item: int, new_to_user: bool, ts_ms: int, seq: int, weight: np.float32) -> None:
    """Count one event on `item`, at its `weight`. An event older than the item's last one counts as of that one."""
    now_ms = max(ts_ms, p.facts[item, LAST_MS])
    for which in range(COUNTS):
        added = 1.0 if which in (H40, ALL_TIME) else float(weight)
        if which < FADING:
            p.value[item, which] = counted(p, item, which, seq, now_ms) + added
        p.total[which] = totalled(p, which, seq, ts_ms) + added
        p.total_at[which, 0] = seq
        p.total_at[which, 1] = max(ts_ms, p.total_at[which, 1])
        p.board_dirty[which] = 1
    facts = p.facts[item]
    if facts[EVENTS] == 0:
        facts[FIRST] = seq
        p.seen[ALL_TIME] += 1
    facts[LAST] = seq
    facts[LAST_MS] = now_ms
    facts[EVENTS] += 1
    if new_to_user:
        facts[USERS] += 1
    p.dirty[item] = 1
    for which in range(COUNTS):
        _lift(p, item, which, seq, now_ms)


@kernel
def _lift(p: Popularity, item: int, which: int, seq: int, now_ms: int) -> None:
    """Move `item` up the board of one count to where it belongs; ties go to the lower row."""
    mine = counted(p, item, which, seq, now_ms)
    held = p.best_held[which]
    at = 0
    while at < held and p.best[which, at] != item:
        at += 1
    if at == held:
        if held == BEST:
            at = BEST - 1
            last = p.best[which, at]
            theirs = counted(p, last, which, seq, now_ms)
            if theirs > mine or (theirs == mine and last < item):
                return
        else:
            p.best_held[which] = held + 1
    while at > 0:
        above = p.best[which, at - 1]
        theirs = counted(p, above, which, seq, now_ms)
        if theirs > mine or (theirs == mine and above < item):
            break
        p.best[which, at] = above
        at -= 1
    p.best[which, at] = item


@entry
def when_down_to_one(p: Popularity, which: int, first: int, stride: int, out: NDArray[np.float64]) -> None:
    """Write for row `first` and each `stride`-th from there on when a count that fades with events is down to 1.

    That is an event number; `NEVER` for an item that was never chosen. Whether one such count is greater than another
    does not depend on when that is asked.
    """
    for at in range(len(out)):
        item = first + at * stride
        if p.facts[item, EVENTS] > 0:
            out[at] = p.facts[item, LAST] + HALF_LIVES_EVENTS[which] * logarithm(p.value[item, which]) / LN_2
        else:
            out[at] = NEVER


@entry
def mend_boards(p: Popularity, items: int, seq: int) -> None:
    """Take items that were cleared off the boards, and fill up from the first `items` rows what lacks of them."""
    now_ms = p.total_at[ALL_TIME, 1]
    for which in range(COUNTS):
        kept = 0
        for at in range(p.best_held[which]):
            item = p.best[which, at]
            if p.facts[item, EVENTS] > 0:
                p.best[which, kept] = item
                kept += 1
        if kept == p.best_held[which]:
            continue
        p.best[which, kept:] = 0
        p.best_held[which] = kept
        p.board_dirty[which] = 1
        if kept == p.seen[ALL_TIME]:
            continue
        least = 0.0
        for item in range(items):
            if p.facts[item, EVENTS] > 0 and counted(p, item, which, seq, now_ms) >= least:
                _lift(p, item, which, seq, now_ms)
                if p.best_held[which] == BEST:
                    least = counted(p, p.best[which, BEST - 1], which, seq, now_ms)


@kernel
def describe_popularity(
    p: Popularity,
    items: NDArray[np.int32],
    n: int,
    per_event: NDArray[np.float32],
    out: NDArray[np.float32],
    first: int,
) -> None:
    """Write the signals of `items[:n]` into rows `first` … of `out`, shape (…, n). `per_event` is scratch (COUNTS,).

    Shares are as of the last event counted: a share does not age, and cannot overflow.
    """
    for which in range(COUNTS):
        per_event[which] = np.float32(1.0 / max(1.0, p.total[which]))
    last, last_ms = p.total_at[ALL_TIME, 0], p.total_at[ALL_TIME, 1]
    for at in range(n):
        j = items[at]
        facts = p.facts[j]
        behind = np.float32(last - facts[LAST])
        behind_ms = np.float32(max(0, last_ms - facts[LAST_MS]))
        value = p.value[j]
        for which in range(FADING):
            share = per_event[which] * value[which] * halved(behind * PER_EVENT[which] + behind_ms * PER_MS[which])
            out[first + which, at] = ONE + FINE * share
        out[first + ALL_TIME, at] = ONE + FINE * per_event[ALL_TIME] * np.float32(facts[EVENTS])
