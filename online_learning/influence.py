"""Influence: how much of what one user does counts for everybody.

A choice is *shared* while its user has one left to give, of this item and in all. Each is a budget in weights that a
choice takes its weight from, down to nothing, and that refills with time (a leaky bucket, kept as the moment when all
is paid: the "virtual scheduling" of ITU-T I.371's generic cell rate algorithm).

What is not shared stays the user's own: it is in their history and ranked for them, and nothing that other users' lists
look at knows of it: no count, no edge, no board, no ring, no trained weight. An item whose last choice was not shared
is *quiet* in its user's history: what they choose next is not joined to it, and they do not vote for it.

Time is the events' own, and for a late event (`histories.present_ms`) that of its user's newest. After a jump back by
more than a budget can owe it is full: where one input is read after another, the later one's events count.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .compiled import kernel
from .config import LearningConfig
from .histories import Histories, seconds
from .vocabulary import Vocabulary

_MOST_WEIGHT = 48
"""More than one choice weighs: what a budget may be overdrawn by."""
OWED_UNIT = 1.0 / 256.0
"""Of `Histories.owed`, in weights: 16 bits hold what is owed of a budget of `MOST_SHARED_REPEATS`."""
_MOST_OWED = 2**16 - 1
_LAST_S = 2**32 - 1


class Influence(NamedTuple):
    """Rows by user, written by `charge` alone. What is owed of each item stands in the user's history."""

    until_s: NDArray[np.uint32]
    """When what the user gave in all is paid, in seconds since the epoch; shape (users,)."""
    dirty: NDArray[np.uint8]
    repeats: int
    repeat_s: int
    choices: int
    choice_s: int
    """Both budgets: how much at once, and the seconds that refill 1; not state."""


def influence(arena: Arena, users: Vocabulary, config: LearningConfig) -> Influence:
    """Declare what all users gave."""
    table = arena.table("influence", users.capacity, lambda: len(users), of=users.name)
    return Influence(
        until_s=table.array("until_s", np.uint32),
        dirty=table.dirty,
        repeats=config.shared_repeats,
        repeat_s=config.shared_repeat_s,
        choices=config.shared_choices,
        choice_s=config.shared_choice_s,
    )


@kernel
def owed_s(until_s: int, ts_ms: int, at_once: int, each_s: int) -> int:
    """Return the seconds until a budget is full again; 0 for more than it can owe, since the clock has jumped back."""
    owed = max(0, until_s - seconds(ts_ms))
    return int(owed if owed <= (at_once + _MOST_WEIGHT) * each_s else 0)


@kernel
def is_shared(f: Influence, h: Histories, user: int, place: int, ts_ms: int) -> bool:
    """Tell whether the user's choice counts for others; `place` is the item's in the history before it, or -1."""
    of_item = _has_left(_item_until_s(f, h, user, place), ts_ms, f.repeats, f.repeat_s)
    return bool(of_item and _has_left(f.until_s[user], ts_ms, f.choices, f.choice_s))


@kernel
def charge(
    f: Influence, h: Histories, user: int, place: int, ts_ms: int, now_ms: int, weight: np.float32, shared: bool
) -> int:
    """Take a choice of `weight` from both budgets if it was shared; return what is `owed` of its item from now on.

    `place` is the item's in the history before the choice, or -1; `now_ms` is after `ts_ms` where the choice is late.
    """
    given = float(weight) if shared else 0.0
    f.until_s[user] = min(_LAST_S, _paid_s(f.until_s[user], now_ms, f.choices, f.choice_s, given))
    f.dirty[user] = 1
    paid_s = _paid_s(_item_until_s(f, h, user, place), now_ms, f.repeats, f.repeat_s, given)
    second = seconds(ts_ms)
    if now_ms > ts_ms and place >= 0:
        second = max(second, int(h.second[user, place]))
    return int(min(_MOST_OWED, np.ceil((paid_s - second) / (OWED_UNIT * f.repeat_s))))


@kernel
def _item_until_s(f: Influence, h: Histories, user: int, place: int) -> int:
    """Return when what was given of the item at `place` is paid, in seconds since the epoch; 0 for no place."""
    if place < 0:
        return 0
    return int(h.second[user, place] + np.int64(h.owed[user, place] * OWED_UNIT * f.repeat_s))


@kernel
def _has_left(until_s: int, ts_ms: int, at_once: int, each_s: int) -> bool:
    """Tell whether there is one left of a budget; there always is of one that is 0."""
    return bool(at_once == 0 or owed_s(until_s, ts_ms, at_once, each_s) <= (at_once - 1) * each_s)


@kernel
def _paid_s(until_s: int, ts_ms: int, at_once: int, each_s: int, given: float) -> int:
    """Return when a budget is full again after `given` was taken from it."""
    return int(seconds(ts_ms) + owed_s(until_s, ts_ms, at_once, each_s) + int(given * each_s))
