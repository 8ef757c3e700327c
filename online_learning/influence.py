"""Influence: how much of what one user does counts for everybody.

A choice is *shared* while its user has one left to give, of this item and in all. Each is a budget in weights that a
choice takes its weight from, down to nothing, and that refills with time (a leaky bucket, kept as the moment when all
is paid: the "virtual scheduling" of ITU-T I.371's generic cell rate algorithm).

What is not shared stays the user's own: it is in their history and ranked for them, and nothing that other users' lists
look at knows of it: no count, no edge, no board, no ring, no trained weight. An item whose last choice was not shared
is *quiet* in its user's history: what they choose next is not joined to it, and they do not vote for it.

Time is the events' own. After a jump back by more than a budget can owe it is full: where one input is read after
another, the later one's events count.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .compiled import kernel
from .config import LearningConfig
from .histories import Histories
from .vocabulary import Vocabulary

_LAST_S = 2**32 - 1
_MOST_WEIGHT = 48
"""More than one choice weighs: what a budget may be overdrawn by."""


class Influence(NamedTuple):
    """Rows by user. Written by `charge` alone, as are `until_s` and `quiet` of the histories."""

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
    owed = max(0, until_s - max(0, ts_ms) // 1000)
    return int(owed if owed <= (at_once + _MOST_WEIGHT) * each_s else 0)


@kernel
def is_shared(f: Influence, h: Histories, user: int, place: int, ts_ms: int) -> bool:
    """Tell whether the user's choice counts for others; `place` is the item's in the history before it, or -1."""
    of_item = place < 0 or _has_left(h.until_s[user, place], ts_ms, f.repeats, f.repeat_s)
    return bool(of_item and _has_left(f.until_s[user], ts_ms, f.choices, f.choice_s))


@kernel
def _has_left(until_s: int, ts_ms: int, at_once: int, each_s: int) -> bool:
    """Tell whether there is one left of a budget; there always is of one that is 0."""
    return bool(at_once == 0 or owed_s(until_s, ts_ms, at_once, each_s) <= (at_once - 1) * each_s)


@kernel
def charge(f: Influence, h: Histories, user: int, ts_ms: int, weight: np.float32, shared: bool) -> None:
    """Take a choice of `weight` from both budgets if it was shared, after `remember` has put its item in front."""
    given = float(weight) if shared else 0.0
    h.until_s[user, 0] = _paid_s(h.until_s[user, 0], ts_ms, f.repeats, f.repeat_s, given)
    h.quiet[user, 0] = not shared
    f.until_s[user] = _paid_s(f.until_s[user], ts_ms, f.choices, f.choice_s, given)
    f.dirty[user] = 1


@kernel
def _paid_s(until_s: int, ts_ms: int, at_once: int, each_s: int, given: float) -> int:
    """Return when a budget is full again after `given` was taken from it."""
    now_s = max(0, ts_ms) // 1000
    return int(min(_LAST_S, now_s + owed_s(until_s, ts_ms, at_once, each_s) + int(given * each_s)))
