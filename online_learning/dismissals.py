"""Dismissals: what a user dismissed is pushed down their lists for a while, what they hid is kept off them.

A dismissal takes `PUSH` from the item's score, half of it after `HALF_LIFE_S`: in a log-linear blend a factor on how
likely the item is. The latest `PLACES` of a user are remembered; choosing the item takes its dismissal back.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .compiled import kernel
from .decay import decay
from .histories import is_behind
from .scratch import Scratch, bar
from .vocabulary import Vocabulary

DISMISS, HIDE = 1, 2
"""How an event puts its item away; 0: not at all."""
PLACES = 8
PUSH = np.float32(6.0)
"""A factor of e⁻⁶, 1 in 400."""
HALF_LIFE_S = 7 * 24 * 3600.0


class Dismissals(NamedTuple):
    """What each user put away last; the row after the last user's is nobody's and stays empty."""

    item: NDArray[np.int32]
    """Item row plus 1, below 0 for one that is hidden, 0 for none; shape (users + 1, PLACES)."""
    second: NDArray[np.uint32]
    """When, in seconds since the epoch; shape (users + 1, PLACES)."""
    times: NDArray[np.int32]
    """How often the user has put something away, shape (users + 1,)."""
    dirty: NDArray[np.uint8]


def dismissals(arena: Arena, users: Vocabulary) -> Dismissals:
    """Declare what every user has put away."""
    table = arena.table("dismissals", users.capacity + 1, lambda: len(users), of=users.name)
    return Dismissals(
        item=table.array("item", np.int32, PLACES),
        second=table.array("second", np.uint32, PLACES),
        times=table.array("times", np.int32),
        dirty=table.dirty,
    )


@kernel
def put_away(d: Dismissals, user: int, item: int, ts_ms: int, how: int) -> None:
    """Remember that the user dismissed or hid `item`; what they put away longest ago gives way to it.

    Changes nothing where it is late: they put the item away again since.
    """
    at = _find(d, user, item)
    if at >= 0 and is_behind(d.second[user, at], ts_ms):
        return
    if at < 0:
        at = d.times[user] % PLACES
        d.times[user] += 1
    d.item[user, at] = -(item + 1) if how == HIDE else item + 1
    d.second[user, at] = max(0, ts_ms) // 1000
    d.dirty[user] = 1


@kernel
def take_back(d: Dismissals, user: int, item: int, ts_ms: int) -> None:
    """Forget that the user put `item` away, unless that was after `ts_ms`, when they chose it: the choice is late."""
    at = _find(d, user, item)
    if at >= 0 and not is_behind(d.second[user, at], ts_ms):
        d.item[user, at] = 0
        d.dirty[user] = 1


@kernel
def drop_dismissed(d: Dismissals, gone: NDArray[np.bool_], user: int) -> None:
    """Forget what the user put away of the items that are `gone`, shape (items,)."""
    if d.times[user] > 0:
        for at in range(PLACES):
            if d.item[user, at] != 0 and gone[abs(d.item[user, at]) - 1]:
                d.item[user, at] = 0
                d.second[user, at] = 0
                d.dirty[user] = 1


@kernel
def bar_hidden(d: Dismissals, s: Scratch, user: int) -> None:
    """Keep what the user hid off the shortlist."""
    if d.times[user] > 0:
        for at in range(PLACES):
            if d.item[user, at] < 0:
                bar(s, -d.item[user, at] - 1)


@kernel
def hides(d: Dismissals, user: int, item: int) -> bool:
    """Tell whether the user hid `item`."""
    at = _find(d, user, item)
    return at >= 0 and d.item[user, at] < 0


@kernel
def push_down(
    d: Dismissals, user: int, now_ms: int, items: NDArray[np.int32], n: int, scores: NDArray[np.float32]
) -> None:
    """Take from the scores of `items[:n]` what the user's dismissals take, as of `now_ms`."""
    if d.times[user] > 0:
        for k in range(n):
            scores[k] -= pushed_down(d, user, items[k], now_ms)


@kernel
def pushed_down(d: Dismissals, user: int, item: int, now_ms: int) -> np.float32:
    """Return what the user's dismissal of `item` takes from its score, 0 without one."""
    if d.times[user] > 0:
        at = _find(d, user, item)
        if at >= 0:
            return PUSH * decay(now_ms / 1000.0 - d.second[user, at], HALF_LIFE_S)
    return np.float32(0.0)


@kernel
def _find(d: Dismissals, user: int, item: int) -> int:
    if d.times[user] > 0:
        for at in range(PLACES):
            if abs(d.item[user, at]) == item + 1:
                return at
    return -1
