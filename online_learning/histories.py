"""Histories: a user's last distinct items, newest first, with when and how often.

Repeating an item moves it to the front. What a user has consumed in all is kept apart (`consumed`), and only where
lists must leave it out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .compiled import inlined, kernel
from .vocabulary import Vocabulary

SESSION_GAP_MS = 30 * 60_000
"""A pause longer than this begins a new session."""
MOST_LATE_MS = 30 * 86_400_000
"""An event so much older than its user's newest is late; one older still is of another clock, or of an input that is
read after another: it is taken as it comes, and time goes on from there."""
WEIGHT_UNIT = np.float32(1.0 / 16.0)
"""A byte a place holds weights up to 16."""
_MOST_WEIGHT = 255
_LAST_S = 2**32 - 1
_MOST_TIMES = 32_767
_MOST_THIS_SESSION = 255


class Histories(NamedTuple):
    """Arrays by user row, written by `remember`, `remember_late`, `adopt`, `drop_items`. A place takes 19 bytes."""

    item: NDArray[np.int32]
    """Item rows, newest first, shape (users, length)."""
    second: NDArray[np.uint32]
    """When the item was last chosen, in whole seconds since the epoch, shape (users, length)."""
    times: NDArray[np.int16]
    """How often it was chosen while in this history, at most 32,767; shape (users, length)."""
    interval_s: NDArray[np.float32]
    """Mean seconds between two choices of it, shape (users, length)."""
    this_session: NDArray[np.uint8]
    """How often it was chosen in the user's present session, at most 255; shape (users, length)."""
    weight: NDArray[np.uint8]
    """What its weightiest choice counts for, in `WEIGHT_UNIT`s, 1 to 255; shape (users, length)."""
    owed: NDArray[np.uint16]
    """What the user gave of it to others' lists and had not paid back at `second` (`influence`), (users, length)."""
    quiet: NDArray[np.uint8]
    """Whether its last choice counted for the user alone, shape (users, length)."""
    last_ms: NDArray[np.int64]
    """When the newest item was chosen, shape (users,)."""
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
        second=table.array("second", np.uint32, length),
        times=table.array("times", np.int16, length),
        interval_s=table.array("interval_s", np.float32, length),
        this_session=table.array("this_session", np.uint8, length),
        weight=table.array("weight", np.uint8, length),
        owed=table.array("owed", np.uint16, length),
        quiet=table.array("quiet", np.uint8, length),
        last_ms=table.array("last_ms", np.int64),
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
def seconds(ts_ms: int) -> int:
    """Return the whole seconds since the epoch, 0 for a time before it, and at most what 32 bits hold (2106)."""
    return int(min(_LAST_S, max(0, ts_ms) // 1000))


@kernel
def since_ms(h: Histories, user: int, place: int, now_ms: int) -> int:
    """Return the milliseconds since the item at `place` was chosen, at least 0; beyond the newest, of whole seconds."""
    chosen_ms = h.last_ms[user] if place == 0 else np.int64(h.second[user, place]) * 1000
    return int(max(0, now_ms - chosen_ms))


@kernel
def present_ms(h: Histories, user: int, ts_ms: int) -> int:
    """Return what time it is for the user when an event of `ts_ms` comes: its own, their newest's where it is late."""
    if h.held[user] > 0 and 0 < h.last_ms[user] - ts_ms <= MOST_LATE_MS:
        return int(h.last_ms[user])
    return ts_ms


@kernel
def is_behind(second: int, ts_ms: int) -> bool:
    """Tell whether an event of `ts_ms` is late for something of the user's that was at `second`."""
    behind_s = second - seconds(ts_ms)
    return bool(0 < behind_s <= MOST_LATE_MS // 1000)


@kernel
def chosen_since(h: Histories, user: int, item: int, ts_ms: int) -> bool:
    """Tell whether the user chose the item after `ts_ms`, which is late for putting it away then."""
    place = find(h, user, item)
    return bool(place >= 0 and is_behind(h.second[user, place], ts_ms))


@kernel
def weight_at(h: Histories, user: int, place: int) -> np.float32:
    """Return what the weightiest choice of the item at `place` counts for."""
    return np.float32(h.weight[user, place]) * WEIGHT_UNIT


@kernel
def reside(h: Histories, user: int, partition: int) -> None:
    """Note which partition the user's events come in."""
    if h.partition[user] != partition:
        h.partition[user] = partition
        h.dirty[user] = 1


@kernel
def remember(
    h: Histories,
    user: int,
    item: int,
    ts_ms: int,
    weight: np.float32,
    owed: int,
    quiet: bool,
) -> None:
    """Put `item`, chosen at `weight`, at the front of the user's history; the oldest leaves when it is full."""
    if h.held[user] > 0 and ts_ms - h.last_ms[user] > SESSION_GAP_MS:
        for at in range(h.held[user]):
            h.this_session[user, at] = 0
    place = find(h, user, item)
    times, this_session, interval_s = 1, 1, np.float32(0.0)
    units = min(_MOST_WEIGHT, max(1, int(weight / WEIGHT_UNIT + np.float32(0.5))))
    if place >= 0:
        times = min(_MOST_TIMES, 1 + h.times[user, place])
        this_session = min(_MOST_THIS_SESSION, 1 + h.this_session[user, place])
        gap_s = np.float32(since_ms(h, user, place, ts_ms)) * np.float32(1e-3)
        interval_s = h.interval_s[user, place]
        interval_s += (gap_s - interval_s) / np.float32(times - 1)
        units = max(units, int(h.weight[user, place]))
    else:
        place = min(h.held[user], h.item.shape[1] - 1)
        h.held[user] = place + 1
    for at in range(place, 0, -1):
        _move(h, user, at - 1, user, at)
    h.item[user, 0] = item
    h.second[user, 0] = seconds(ts_ms)
    h.times[user, 0] = times
    h.interval_s[user, 0] = interval_s
    h.this_session[user, 0] = this_session
    h.weight[user, 0] = units
    h.owed[user, 0] = owed
    h.quiet[user, 0] = quiet
    h.last_ms[user] = ts_ms
    h.events[user] += 1
    h.dirty[user] = 1


@kernel
def remember_late(
    h: Histories,
    user: int,
    item: int,
    ts_ms: int,
    weight: np.float32,
    owed: int,
    quiet: bool,
) -> None:
    """Put `item`, chosen at `weight` before the user's newest, behind all that was chosen later.

    An item that the user chose again since stays where it is, with one choice more. Where a history is full of what was
    chosen later, the item is not in it. `owed` is as of the later of its two choices.
    """
    h.events[user] += 1
    h.dirty[user] = 1
    second, length = seconds(ts_ms), h.item.shape[1]
    to = 1
    while to < h.held[user] and h.second[user, to] > second:
        to += 1
    place = find(h, user, item)
    times, this_session, interval_s = 0, 0, np.float32(0.0)
    units = min(_MOST_WEIGHT, max(1, int(weight / WEIGHT_UNIT + np.float32(0.5))))
    if place >= 0:
        times, this_session, interval_s = h.times[user, place], h.this_session[user, place], h.interval_s[user, place]
        gap_s = np.float32(abs(h.second[user, place] - np.int64(second)))
        interval_s += (gap_s - interval_s) / np.float32(min(_MOST_TIMES - 1, times))
        units = max(units, int(h.weight[user, place]))
        if place < to:
            to = place
            second = h.second[user, place]
            quiet = h.quiet[user, place] != 0
    else:
        if to == length:
            return
        place = min(h.held[user], length - 1)
        h.held[user] = place + 1
    for at in range(place, to, -1):
        _move(h, user, at - 1, user, at)
    h.item[user, to] = item
    h.second[user, to] = second
    h.times[user, to] = min(_MOST_TIMES, times + 1)
    h.interval_s[user, to] = interval_s
    if h.last_ms[user] - ts_ms <= SESSION_GAP_MS:
        this_session = min(_MOST_THIS_SESSION, this_session + 1)
    h.this_session[user, to] = this_session
    h.weight[user, to] = units
    h.owed[user, to] = owed
    h.quiet[user, to] = quiet


@kernel
def adopt(h: Histories, other: int, place: int, user: int) -> None:
    """Take what stands at a place of another user's history into the user's, where its time puts it.

    An item that both chose keeps the later time, and counts as often as by both.
    """
    item, second, length = h.item[other, place], h.second[other, place], h.item.shape[1]
    known = find(h, user, item)
    if known >= 0:
        _add_up(h, other, place, user, known)
        if h.second[user, known] >= second:
            return
        for at in range(known, h.held[user] - 1):
            _move(h, user, at + 1, user, at)
        h.held[user] -= 1
    to = 0
    while to < h.held[user] and h.second[user, to] >= second:
        to += 1
    if to == length:
        return
    h.held[user] = min(length, h.held[user] + 1)
    for at in range(h.held[user] - 1, to, -1):
        _move(h, user, at - 1, user, at)
    _move(h, other, place, user, to)
    h.dirty[user] = 1


@inlined
def _add_up(h: Histories, other: int, place: int, user: int, known: int) -> None:
    """Let both places of one item say how often both users chose it, at what weight, and how regularly."""
    times = min(_MOST_TIMES, int(h.times[other, place]) + int(h.times[user, known]))
    session = min(_MOST_THIS_SESSION, int(h.this_session[other, place]) + int(h.this_session[user, known]))
    weight = max(h.weight[other, place], h.weight[user, known])
    owed = max(h.owed[other, place], h.owed[user, known])
    last = max(np.int64(h.second[other, place]), np.int64(h.second[user, known]))
    span_s = np.float32(0.0)
    for who, at in ((other, place), (user, known)):
        since_first = h.interval_s[who, at] * np.float32(h.times[who, at] - 1)
        span_s = max(span_s, np.float32(last - np.int64(h.second[who, at])) + since_first)
    interval_s = span_s / np.float32(max(1, times - 1))
    for who, at in ((other, place), (user, known)):
        h.times[who, at] = times
        h.this_session[who, at] = session
        h.weight[who, at] = weight
        h.owed[who, at] = owed
        h.interval_s[who, at] = interval_s
    h.dirty[user] = 1


@inlined
def _move(h: Histories, of: int, from_: int, user: int, to: int) -> None:
    """Copy what stands at one place to another, which may be another user's."""
    h.item[user, to] = h.item[of, from_]
    h.second[user, to] = h.second[of, from_]
    h.times[user, to] = h.times[of, from_]
    h.interval_s[user, to] = h.interval_s[of, from_]
    h.this_session[user, to] = h.this_session[of, from_]
    h.weight[user, to] = h.weight[of, from_]
    h.owed[user, to] = h.owed[of, from_]
    h.quiet[user, to] = h.quiet[of, from_]


@kernel
def drop_items(h: Histories, gone: NDArray[np.bool_], user: int) -> None:
    """Take the items that are `gone`, shape (items,), out of the user's history; the others move up."""
    held = h.held[user]
    newest = h.item[user, 0]
    kept = 0
    for at in range(held):
        if gone[h.item[user, at]]:
            continue
        if kept < at:
            _move(h, user, at, user, kept)
        kept += 1
    if kept == held:
        return
    for at in range(kept, held):
        h.item[user, at] = 0
        h.second[user, at] = 0
        h.times[user, at] = 0
        h.interval_s[user, at] = 0.0
        h.this_session[user, at] = 0
        h.weight[user, at] = 0
        h.owed[user, at] = 0
        h.quiet[user, at] = 0
    if gone[newest]:
        h.last_ms[user] = np.int64(h.second[user, 0]) * 1000
    h.held[user] = kept
    h.dirty[user] = 1
