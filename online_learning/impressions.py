"""Impressions: what a user was shown and has not chosen, on which slate and at which place of it.

What is learned from them, `impressions_learning` says; here is what is kept and read. What was shown and passed over
sinks: `s_j -= θ · ln(1 + a_j)`, a_j how often it was ignored, each time counted as much as its place is looked at,
`exp(min(0, o))`, and half as much after `HALF_LIFE_S`.

The latest `PLACES` items of a user are remembered. A user without impressions costs eight bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .blend import ONE, ZERO
from .compiled import kernel
from .decay import decay
from .histories import Histories, chosen_since, is_behind, seconds
from .places import place_of
from .scratch import Scratch, bar
from .slab import UNIT, give, size_classes, take
from .vocabulary import Vocabulary

SHOWN = 3
"""What an event is that shows its item, beside `dismissals.DISMISS` and `HIDE`."""
PLACES = 32
"""Items of one user remembered."""
SIZE_CLASS = 2
"""Of their block: 2 units of 16."""
SLOTS = 32
"""Places of a slate that have an offset of their own; those further down share the last one's."""
HALF_LIFE_S = 24 * 3600.0
START = np.float32(0.3)
"""What θ begins at."""
WHOLE = 16
"""Parts of one time ignored."""
NO_SLATE = 0
_MOST_PARTS = 255


class Impressions(NamedTuple):
    """Rows by user, and blocks of cells for those who were shown something."""

    block: NDArray[np.int64]
    """First unit of the user's block plus 1, 0 for none; shape (users + 1,), the last is nobody's."""
    row_dirty: NDArray[np.uint8]
    item: NDArray[np.int32]
    """Item row plus 1, 0 for none; shape (units, UNIT)."""
    second: NDArray[np.uint32]
    """When it was shown last, in seconds since the epoch; shape (units, UNIT)."""
    slate: NDArray[np.uint32]
    """On which slate, 0 for none that has a name; shape (units, UNIT)."""
    slot: NDArray[np.int16]
    """At which place of it, from 0, -1 for unknown; shape (units, UNIT)."""
    ignored: NDArray[np.uint8]
    """How often it was shown and not chosen, in parts of `WHOLE`; shape (units, UNIT)."""
    unit_dirty: NDArray[np.uint8]
    slab: NDArray[np.int64]
    slab_dirty: NDArray[np.uint8]
    offset: NDArray[np.float32]
    """o, by place of a slate; that of the first is 0 for good; shape (SLOTS,)."""
    offset_square: NDArray[np.float32]
    trust: NDArray[np.float32]
    """κ less 1, shape (1,)."""
    trust_square: NDArray[np.float32]
    sinking: NDArray[np.float32]
    """What θ has learned beyond `START`, shape (1,)."""
    sinking_square: NDArray[np.float32]
    learned: NDArray[np.int64]
    """Choices that were learned from on their slate, shape (1,)."""
    learned_dirty: NDArray[np.uint8]
    barred_s: NDArray[np.int64]
    """How long what was shown is kept off lists, 0: not at all; shape (1,). A setting, not state."""


def impressions(arena: Arena, users: Vocabulary, barred_s: int) -> Impressions:
    """Declare what users were shown, and what is learned from it."""
    rows = arena.table("impressions", users.capacity + 1, lambda: len(users), of=users.name, later=True)
    slab_table = arena.table("impressions_slab", 1, lambda: 1, later=True)
    slab = slab_table.array("slab", np.int64, 1 + size_classes(PLACES))
    units = max(1, users.capacity) * PLACES // UNIT
    cells = arena.table("impressions_cells", units, lambda: int(slab[0, 0]), later=True)
    learned = arena.table("impressions_learned", 1, lambda: 1, later=True)
    return Impressions(
        block=rows.array("block", np.int64),
        row_dirty=rows.dirty,
        item=cells.array("item", np.int32, UNIT),
        second=cells.array("second", np.uint32, UNIT),
        slate=cells.array("slate", np.uint32, UNIT),
        slot=cells.array("slot", np.int16, UNIT),
        ignored=cells.array("ignored", np.uint8, UNIT),
        unit_dirty=cells.dirty,
        slab=slab[0],
        slab_dirty=slab_table.dirty,
        offset=learned.array("offset", np.float32, SLOTS)[0],
        offset_square=learned.array("offset_square", np.float32, SLOTS)[0],
        trust=learned.array("trust", np.float32),
        trust_square=learned.array("trust_square", np.float32),
        sinking=learned.array("sinking", np.float32),
        sinking_square=learned.array("sinking_square", np.float32),
        learned=learned.array("learned", np.int64),
        learned_dirty=learned.dirty,
        barred_s=np.array([barred_s], np.int64),
    )


@kernel
def show(im: Impressions, user: int, item: int, ts_ms: int, slate: int, slot: int) -> None:
    """Remember that the user was shown `item`; of `PLACES` others the one shown longest ago gives way to it.

    Nothing changes where it was shown later already, or is said to be shown on the same slate twice. Without a slate it
    is not known to have been on one of our lists, so that passing it over says nothing.
    """
    at = find_shown(im, user, item)
    if at >= 0:
        unit, cell = cell_at(im, user, at)
        again = slate != NO_SLATE and im.slate[unit, cell] == slate
        if again or is_behind(im.second[unit, cell], ts_ms):
            return
    else:
        if im.block[user] == 0 and not _begin(im, user):
            return
        at = _oldest(im, user)
        unit, cell = cell_at(im, user, at)
        im.item[unit, cell] = item + 1
        im.ignored[unit, cell] = 0
    im.second[unit, cell] = seconds(ts_ms)
    im.slate[unit, cell] = slate
    im.slot[unit, cell] = slot
    if slate != NO_SLATE:
        im.ignored[unit, cell] = min(_MOST_PARTS, int(im.ignored[unit, cell]) + looked_at(im, slot))
    im.unit_dirty[unit] = 1


@kernel
def looked_at(im: Impressions, slot: int) -> int:
    """Return how much a place of a slate is looked at beside its first one, in parts of `WHOLE`, at least 1."""
    share = np.exp(min(ZERO, im.offset[slot_of(slot)]))
    return int(max(1, int(np.float32(WHOLE) * share + np.float32(0.5))))


@kernel
def take_up(im: Impressions, user: int, item: int, ts_ms: int) -> None:
    """Forget that `item` was shown: the user has chosen it, at `ts_ms`, unless it was shown since."""
    at = find_shown(im, user, item)
    if at >= 0:
        unit, cell = cell_at(im, user, at)
        if not is_behind(im.second[unit, cell], ts_ms):
            _clear(im, unit, cell)


@kernel
def sink(
    im: Impressions, user: int, now_ms: int, items: NDArray[np.int32], n: int, scores: NDArray[np.float32]
) -> None:
    """Take from the scores of `items[:n]` what having been ignored takes, as of `now_ms`."""
    if im.block[user] > 0:
        for at in range(PLACES):
            unit, cell = cell_at(im, user, at)
            if im.item[unit, cell] > 0:
                place = place_of(im.item[unit, cell] - 1, items, n)
                if place >= 0:
                    scores[place] -= theta(im) * ignored_at(im, unit, cell, int(NO_SLATE), now_ms)


@kernel
def sunk(im: Impressions, user: int, item: int, now_ms: int) -> np.float32:
    """Return what having been ignored takes from the score of `item`, 0 where it was not."""
    at = find_shown(im, user, item)
    if at < 0:
        return ZERO
    unit, cell = cell_at(im, user, at)
    return theta(im) * ignored_at(im, unit, cell, int(NO_SLATE), now_ms)


@kernel
def bar_shown(im: Impressions, s: Scratch, user: int, now_ms: int) -> None:
    """Keep off the shortlist what the user was shown so lately that the settings say so."""
    if im.barred_s[0] > 0 and im.block[user] > 0:
        for at in range(PLACES):
            unit, cell = cell_at(im, user, at)
            if im.item[unit, cell] > 0 and _is_barred(im, unit, cell, now_ms):
                bar(s, im.item[unit, cell] - 1)


@kernel
def was_shown(im: Impressions, user: int, item: int, now_ms: int) -> bool:
    """Tell whether `item` is kept off the user's lists since they were shown it."""
    at = find_shown(im, user, item)
    if at < 0 or im.barred_s[0] == 0:
        return False
    unit, cell = cell_at(im, user, at)
    return _is_barred(im, unit, cell, now_ms)


@kernel
def cell_at(im: Impressions, user: int, at: int) -> tuple[int, int]:
    """Return the unit and the cell of a place of a user who has a block."""
    return int(im.block[user] - 1 + at // UNIT), int(at % UNIT)


@kernel
def find_shown(im: Impressions, user: int, item: int) -> int:
    """Return the place of `item` among what the user was shown, or -1."""
    if im.block[user] > 0:
        for at in range(PLACES):
            unit, cell = cell_at(im, user, at)
            if im.item[unit, cell] == item + 1:
                return at
    return -1


@kernel
def slot_of(slot: int) -> int:
    """Return which offset a place of a slate has; one that is not known has the first one's."""
    return int(min(SLOTS - 1, max(0, slot)))


@kernel
def theta(im: Impressions) -> np.float32:
    """Return θ, at least 0."""
    return np.float32(START + im.sinking[0])


@kernel
def ignored_at(im: Impressions, unit: int, cell: int, on: int, now_ms: int) -> np.float32:
    """Return ln(1 + times ignored) as of `now_ms`; on the slate `on` it is not ignored yet."""
    parts = int(im.ignored[unit, cell])
    if on != NO_SLATE and im.slate[unit, cell] == on:
        parts = max(0, parts - looked_at(im, im.slot[unit, cell]))
    since_s = now_ms / 1000.0 - im.second[unit, cell]
    return np.float32(np.log(ONE + np.float32(parts) / np.float32(WHOLE) * decay(since_s, HALF_LIFE_S)))


@kernel
def adopt_shown(im: Impressions, h: Histories, other: int, user: int) -> None:
    """Add what another user was shown to what the user was, but what they have chosen since."""
    if im.block[other] == 0:
        return
    for at in range(PLACES):
        unit, cell = cell_at(im, other, at)
        item, ts_ms = im.item[unit, cell] - 1, int(np.int64(im.second[unit, cell]) * 1000)
        if item >= 0 and not chosen_since(h, user, item, ts_ms):
            ignored = int(im.ignored[unit, cell])
            known = find_shown(im, user, item)
            if known >= 0:
                mine, place = cell_at(im, user, known)
                ignored += int(im.ignored[mine, place])
            show(im, user, item, ts_ms, im.slate[unit, cell], im.slot[unit, cell])
            known = find_shown(im, user, item)
            if known >= 0:
                mine, place = cell_at(im, user, known)
                im.ignored[mine, place] = min(_MOST_PARTS, ignored)
                im.unit_dirty[mine] = 1


@kernel
def drop_shown(im: Impressions, gone: NDArray[np.bool_], user: int) -> None:
    """Forget what the user was shown of the items that are `gone`, shape (items,)."""
    if im.block[user] > 0:
        for at in range(PLACES):
            unit, cell = cell_at(im, user, at)
            if im.item[unit, cell] > 0 and gone[im.item[unit, cell] - 1]:
                _clear(im, unit, cell)


@kernel
def give_back_shown(im: Impressions, user: int) -> None:
    """Give the cells of a row that is about to be cleared back to the slab."""
    if im.block[user] > 0:
        give(im.slab, im.item, im.unit_dirty, SIZE_CLASS, im.block[user] - 1)
        im.slab_dirty[0] = 1


@kernel
def _begin(im: Impressions, user: int) -> bool:
    """Give the user a block; False where none is left."""
    first = take(im.slab, im.item, im.unit_dirty, int(SIZE_CLASS))
    im.slab_dirty[0] = 1
    if first < 0:
        return False
    im.block[user] = first + 1
    im.row_dirty[user] = 1
    for at in range(PLACES):
        unit, cell = cell_at(im, user, at)
        _clear(im, unit, cell)
    return True


@kernel
def _clear(im: Impressions, unit: int, cell: int) -> None:
    im.item[unit, cell] = 0
    im.second[unit, cell] = 0
    im.slate[unit, cell] = 0
    im.slot[unit, cell] = 0
    im.ignored[unit, cell] = 0
    im.unit_dirty[unit] = 1


@kernel
def _oldest(im: Impressions, user: int) -> int:
    """Return the first empty place, else that of what was shown longest ago."""
    oldest, since = 0, np.int64(2**40)
    for at in range(PLACES):
        unit, cell = cell_at(im, user, at)
        if im.item[unit, cell] == 0:
            return at
        if np.int64(im.second[unit, cell]) < since:
            oldest, since = at, np.int64(im.second[unit, cell])
    return oldest


@kernel
def _is_barred(im: Impressions, unit: int, cell: int, now_ms: int) -> bool:
    return bool(seconds(now_ms) - np.int64(im.second[unit, cell]) < im.barred_s[0])
