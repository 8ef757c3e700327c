"""Bought: what a user chose by some kinds of events is kept off their lists from then on, for a time or for good.

Off unless the settings name such kinds (`kept_off_kinds`): who has bought a fridge wants no fridge, who has bought milk
does. The latest `PLACES` items of a user are remembered; choosing one again counts from then. `consumed` is the like of
it for shops where nothing is ever chosen twice.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .compiled import kernel
from .scratch import Scratch, bar
from .vocabulary import Vocabulary

PLACES = 64
"""Items of one user kept off at most."""


class Bought(NamedTuple):
    """Rows by user, none where no kind is kept off; the row after the last user's is nobody's and stays empty."""

    item: NDArray[np.int32]
    """Item row plus 1, 0 for none; shape (users + 1, PLACES)."""
    second: NDArray[np.uint32]
    """When, in seconds since the epoch; shape (users + 1, PLACES)."""
    times: NDArray[np.int32]
    """Places taken so far, shape (users + 1,)."""
    dirty: NDArray[np.uint8]
    lasts_s: NDArray[np.int64]
    """How long an item is kept off, 0: for good; shape (1,). A setting, not state."""


def bought(arena: Arena, users: Vocabulary, lasts_s: int, *, kept: bool) -> Bought:
    """Declare what every user has bought, or nothing at all."""
    rows = users.capacity + 1 if kept else 0
    table = (arena if kept else Arena()).table("bought", rows, lambda: len(users), of=users.name)
    return Bought(
        item=table.array("item", np.int32, PLACES),
        second=table.array("second", np.uint32, PLACES),
        times=table.array("times", np.int32),
        dirty=table.dirty,
        lasts_s=np.array([lasts_s], np.int64),
    )


@kernel
def buy(b: Bought, user: int, item: int, ts_ms: int) -> None:
    """Remember that the user chose `item`; the one remembered longest gives way to it. A late event takes none back."""
    second = np.uint32(max(0, ts_ms) // 1000)
    at = _find(b, user, item)
    if at < 0:
        at = b.times[user] % PLACES
        b.times[user] += 1
        b.second[user, at] = np.uint32(0)
    b.item[user, at] = item + 1
    b.second[user, at] = max(second, b.second[user, at])
    b.dirty[user] = 1


@kernel
def bar_bought(b: Bought, s: Scratch, user: int, now_ms: int) -> None:
    """Keep what the user has bought off the shortlist, for as long as it lasts."""
    if len(b.times) > 0 and b.times[user] > 0:
        for at in range(PLACES):
            if b.item[user, at] > 0 and _lasts(b, user, at, now_ms):
                bar(s, b.item[user, at] - 1)


@kernel
def has_bought(b: Bought, user: int, item: int, now_ms: int) -> bool:
    """Tell whether `item` is kept off the user's lists since they bought it."""
    if len(b.times) == 0:
        return False
    at = _find(b, user, item)
    return at >= 0 and _lasts(b, user, at, now_ms)


@kernel
def drop_bought(b: Bought, gone: NDArray[np.bool_], user: int) -> None:
    """Forget what the user bought of the items that are `gone`, shape (items,)."""
    if len(b.times) > 0 and b.times[user] > 0:
        for at in range(PLACES):
            if b.item[user, at] > 0 and gone[b.item[user, at] - 1]:
                b.item[user, at] = 0
                b.second[user, at] = 0
                b.dirty[user] = 1


@kernel
def _lasts(b: Bought, user: int, at: int, now_ms: int) -> bool:
    return bool(b.lasts_s[0] == 0 or now_ms // 1000 - np.int64(b.second[user, at]) < b.lasts_s[0])


@kernel
def _find(b: Bought, user: int, item: int) -> int:
    if b.times[user] > 0:
        for at in range(PLACES):
            if b.item[user, at] == item + 1:
                return at
    return -1
