"""Histories: a user's last distinct items, newest first, with when and how often.

Repeating an item moves it to the front. What a user has consumed in all is kept apart (`consumed`), and only where
lists must leave it out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .compiled import kernel
from .vocabulary import Vocabulary

SESSION_GAP_MS = 30 * 60_000
"""A pause longer than this begins a new session."""
WEIGHT_UNIT = np.float32(1.0 / 16.0)
"""A byte a place holds weights up to 16."""
_MOST_WEIGHT = 255
_MOST_TIMES = 32_767
_MOST_THIS_SESSION = 255


class Histories(NamedTuple):
    """Arrays by user row. Written by `remember` and `drop_items`, `until_s` and `quiet` by `influence.charge`, too."""

    item: NDArray[np.int32]
    """Item rows, newest first, shape (users, length)."""
    ts_ms: NDArray[np.int64]
    """When the item was last chosen, shape (users, length)."""
    times: NDArray[np.int16]
    """How often it was chosen while in this history, at most 32,767; shape (users, length)."""
    interval_s: NDArray[np.float32]
    """Mean seconds between two choices of it, shape (users, length)."""
    this_session: NDArray[np.uint8]
    """How often it was chosen in the user's present session, at most 255; shape (users, length)."""
    weight: NDArray[np.uint8]
    """What its weightiest choice counts for, in `WEIGHT_UNIT`s, 1 to 255; shape (users, length)."""
    until_s: NDArray[np.uint32]
    """When what the user gave of it to others' lists is paid (`influence`), in seconds; shape (users, length)."""
    quiet: NDArray[np.uint8]
    """Whether its last choice counted for the user alone, shape (users, length)."""
    held: NDArray[np.int32]
    """Distinct items held, shape (users,)."""
    events: NDArray[np.int64]
    """Events of the user, shape (users,)."""
    partition: NDArray[np.int32]
    """Partition of the user's last event, shape (users,)."""
    dirty: NDArray[np.uint8]


def histories(arena: Arena, users: Vocabulary, length: int) -> Histories:
    """Declare the histories of all users, `length` items each, and one row more that is nobody's and stays empty."""
    table = arena.table("histories", users.capacity + 1, lambda: len(users), of=users.name)
    return Histories(
        item=table.array("item", np.int32, length),
        ts_ms=table.array("ts_ms", np.int64, length),
        times=table.array("times", np.int16, length),
        interval_s=table.array("interval_s", np.float32, length),
        this_session=table.array("this_session", np.uint8, length),
        weight=table.array("weight", np.uint8, length),
        until_s=table.array("until_s", np.uint32, length),
        quiet=table.array("quiet", np.uint8, length),
        held=table.array("held", np.int32),
        events=table.array("events", np.int64),
        partition=table.array("partition", np.int32),
        dirty=table.dirty,
    )


@kernel
def find(h: Histories, user: int, item: int) -> int:
    """Return the place of `item` in the user's history, or -1."""
    for place in range(h.held[user]):
        if h.item[user, place] == item:
            return place
    return -1


@kernel
def weight_at(h: Histories, user: int, place: int) -> np.float32:
    """Return what the weightiest choice of the item at `place` counts for."""
    return np.float32(h.weight[user, place]) * WEIGHT_UNIT


@kernel
def remember(h: Histories, user: int, item: int, ts_ms: int, partition: int, weight: np.float32) -> None:
    """Put `item`, chosen at `weight`, at the front of the user's history; the oldest leaves when it is full."""
    if h.held[user] > 0 and ts_ms - h.ts_ms[user, 0] > SESSION_GAP_MS:
        for at in range(h.held[user]):
            h.this_session[user, at] = 0
    place = find(h, user, item)
    times, this_session, interval_s = 1, 1, np.float32(0.0)
    until_s = np.uint32(0)
    units = min(_MOST_WEIGHT, max(1, int(weight / WEIGHT_UNIT + np.float32(0.5))))
    if place >= 0:
        times = min(_MOST_TIMES, 1 + h.times[user, place])
        this_session = min(_MOST_THIS_SESSION, 1 + h.this_session[user, place])
        gap_s = np.float32(max(0, ts_ms - h.ts_ms[user, place])) * np.float32(1e-3)
        interval_s = h.interval_s[user, place]
        interval_s += (gap_s - interval_s) / np.float32(times - 1)
        units = max(units, int(h.weight[user, place]))
        until_s = h.until_s[user, place]
    else:
        place = min(h.held[user], h.item.shape[1] - 1)
        h.held[user] = place + 1
    for at in range(place, 0, -1):
        h.item[user, at] = h.item[user, at - 1]
        h.ts_ms[user, at] = h.ts_ms[user, at - 1]
        h.times[user, at] = h.times[user, at - 1]
        h.interval_s[user, at] = h.interval_s[user, at - 1]
        h.this_session[user, at] = h.this_session[user, at - 1]
        h.weight[user, at] = h.weight[user, at - 1]
        h.until_s[user, at] = h.until_s[user, at - 1]
        h.quiet[user, at] = h.quiet[user, at - 1]
    h.item[user, 0] = item
    h.ts_ms[user, 0] = ts_ms
    h.times[user, 0] = times
    h.interval_s[user, 0] = interval_s
    h.this_session[user, 0] = this_session
    h.weight[user, 0] = units
    h.until_s[user, 0] = until_s
    h.quiet[user, 0] = 0
    h.events[user] += 1
    h.partition[user] = partition
    h.dirty[user] = 1


@kernel
def drop_items(h: Histories, gone: NDArray[np.bool_], user: int) -> None:
    """Take the items that are `gone`, shape (items,), out of the user's history; the others move up."""
    held = h.held[user]
    kept = 0
    for at in range(held):
        if gone[h.item[user, at]]:
            continue
        if kept < at:
            h.item[user, kept] = h.item[user, at]
            h.ts_ms[user, kept] = h.ts_ms[user, at]
            h.times[user, kept] = h.times[user, at]
            h.interval_s[user, kept] = h.interval_s[user, at]
            h.this_session[user, kept] = h.this_session[user, at]
            h.weight[user, kept] = h.weight[user, at]
            h.until_s[user, kept] = h.until_s[user, at]
            h.quiet[user, kept] = h.quiet[user, at]
        kept += 1
    if kept == held:
        return
    for at in range(kept, held):
        h.item[user, at] = 0
        h.ts_ms[user, at] = 0
        h.times[user, at] = 0
        h.interval_s[user, at] = 0.0
        h.this_session[user, at] = 0
        h.weight[user, at] = 0
        h.until_s[user, at] = 0
        h.quiet[user, at] = 0
    h.held[user] = kept
    h.dirty[user] = 1
