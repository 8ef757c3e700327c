"""Working memory of one ranking thread; between two rankings all of it is zero.

A ranking adds up what it learns of an item at the item's own row, and notes each row it touched, so that the next one
begins by clearing those alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compiled import inlined, kernel
from .config import LearningConfig
from .content import Liking, liking
from .interest import Pooled, pooled
from .popularity import COUNTS

LONG98, LONG9, SESSION_SUM, LARGEST = range(4)
"""Sums over the whole history, and the largest term of LONG98's: columns of `sums`. See `together` for the formulas."""
NEXT_SHARE, SHORT_SUM, BACK, QUICK_SUM, AFTER_1, AFTER_2, AFTER_3, LONG7 = range(4, 12)
"""Sums over the newest items."""
SECOND, KNN = 12, 13
"""Sums that reach past the history's own neighbours."""
SUMS = 16
"""One cache line of 64 bytes an item: a walk meets items all over the catalogue, and pays for lines."""
PLACE_BITS = np.int32(63)
"""Lowest bits of LARGEST, which hold the history place of the term: of 23 bits of mantissa, 17 are left to the term."""
CAP = 192
"""Items on a shortlist at most."""
MOST_UNITS = 1024
"""Units of the longest row: 16,384 cells."""
HEAPS = 4
MOST_MET = 320
"""Users met on the way at most."""
OPEN, LISTED, BARRED = 0, 1, 2


class Scratch(NamedTuple):
    """By item, and by place on the shortlist."""

    sums: NDArray[np.float32]
    """Shape (items, SUMS)."""
    standing: NDArray[np.uint8]
    """OPEN, LISTED or BARRED, shape (items,)."""
    touched: NDArray[np.int32]
    """Items to clear, some of them twice; the walk's come first."""
    held: NDArray[np.int64]
    """[0]: how many are `touched`; [1]: of these, by the walks."""
    value: NDArray[np.float32]
    """What each of the items touched is worth by some query, shape as `touched`."""
    long_fade: NDArray[np.float32]
    fade: NDArray[np.float32]
    """By unit of the row being walked, shape (MOST_UNITS,) each."""
    heap: NDArray[np.int32]
    """Bounded heaps of items, shape (HEAPS, CAP), and what each is valued at."""
    heap_key: NDArray[np.float32]
    items: NDArray[np.int32]
    """The shortlist, shape (CAP,)."""
    per_event: NDArray[np.float32]
    """By popularity count, 1 over the sum of all items' counts, shape (COUNTS,)."""
    weight: NDArray[np.float32]
    """Of each user as a neighbour, all zero between two walks; shape (users + 1,)."""
    met: NDArray[np.int32]
    """Users met, shape (MOST_MET,)."""
    affinity: NDArray[np.float32]
    """Of the user to each category, shape (categories,)."""
    next_: NDArray[np.float32]
    """The categories that come after the user's last one, shape (categories,)."""
    pooled: Pooled
    """The user's interest."""
    liking: Liking
    """What the user likes, by what items say."""


def scratch(config: LearningConfig) -> Scratch:
    """Reserve working memory for rankings under these caps."""
    items = config.max_items
    most_touched = 2 * items + config.max_consumed + CAP
    return Scratch(
        sums=_in_lines(items),
        standing=np.zeros(items, np.uint8),
        touched=np.zeros(most_touched, np.int32),
        held=np.zeros(2, np.int64),
        value=np.zeros(most_touched, np.float32),
        long_fade=np.zeros(MOST_UNITS, np.float32),
        fade=np.zeros(MOST_UNITS, np.float32),
        heap=np.zeros((HEAPS, CAP), np.int32),
        heap_key=np.zeros((HEAPS, CAP), np.float32),
        items=np.zeros(CAP, np.int32),
        per_event=np.zeros(COUNTS, np.float32),
        weight=np.zeros(config.max_users + 1, np.float32),
        met=np.zeros(MOST_MET, np.int32),
        affinity=np.zeros(config.max_categories, np.float32),
        next_=np.zeros(config.max_categories, np.float32),
        pooled=pooled(),
        liking=liking(),
    )


def _in_lines(items: int) -> NDArray[np.float32]:
    """Return zeros of shape (items, SUMS) whose rows begin at cache lines."""
    room = np.zeros((items + 1) * SUMS, np.float32)
    skip = -room.ctypes.data % (SUMS * room.itemsize) // room.itemsize
    return room[skip : skip + items * SUMS].reshape(items, SUMS)


@kernel
def begin(s: Scratch) -> None:
    """Forget the ranking before."""
    for at in range(s.held[0]):
        item = s.touched[at]
        s.sums[item, :] = np.float32(0.0)
        s.standing[item] = OPEN
    s.held[0] = 0
    s.held[1] = 0


@inlined
def touch(s: Scratch, item: int) -> None:
    """Note that the next ranking has to clear the item's row."""
    s.touched[s.held[0]] = item
    s.held[0] += 1


@kernel
def bar(s: Scratch, item: int) -> None:
    """Keep `item` off this ranking's shortlist."""
    if s.standing[item] == OPEN:
        s.standing[item] = BARRED
        touch(s, item)


@inlined
def is_barred(s: Scratch, item: int) -> bool:
    """Tell whether `item` is barred from this ranking."""
    return bool(s.standing[item] == BARRED)


@inlined
def with_place(term: np.float32, place: int) -> np.float32:
    """Return a term ≥ 0 with a place in its lowest bits: the larger of two is still the larger term's, place and all.

    Positive floats order as their bits do, so the largest term and where it came from take one comparison.
    """
    return np.int32((np.float32(term).view(np.int32) & ~PLACE_BITS) | np.int32(place)).view(np.float32)


@inlined
def place_of_largest(s: Scratch, item: int) -> int:
    """Return the history place that the item's largest LONG term came from, or -1."""
    largest = s.sums[item, LARGEST]
    return int(np.float32(largest).view(np.int32) & PLACE_BITS) if largest > np.float32(0.0) else -1
