"""Categories: which kinds of items the user likes, and which kind follows which.

An item has at most three categories. A user's affinity is the share of each category in their history, newest most
(.9^d) and each at its weight (a purchase says more of a taste than a click), so it needs no table of users. What
follows what is a decayed count of pairs of categories, at the weight of what followed.

| signal | argument of the logarithm |
|---|---|
| category_affinity | 1 + 100 · mean over j's categories of Σ_d .9^d w_d [a_d has it] / Σ_d .9^d w_d |
| category_next | 1 + 300 · mean over pairs of P(category of j given category of a_0) |

Both are 0 where the catalogue says nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .compiled import kernel
from .decay import halved
from .histories import Histories, weight_at
from .scratch import Scratch
from .signal import TASTE, Signal
from .vocabulary import Vocabulary

EACH = 3
"""Categories of an item at most."""
HALF_LIFE_EVENTS = 20_000.0
_PER_EVENT = np.float32(1.0 / HALF_LIFE_EVENTS)
_PER_AFFINITY, _PER_NEXT = np.float32(100.0), np.float32(300.0)
_FADE = np.float32(0.9)
SIGNALS = (Signal("category_affinity", TASTE), Signal("category_next", TASTE))


class Categories(NamedTuple):
    """Rows by item and by category. `of` is written by the catalogue, the counts by `follow`."""

    of: NDArray[np.int32]
    """Category rows plus 1 of each item, 0 for none; shape (items, EACH)."""
    of_dirty: NDArray[np.uint8]
    after: NDArray[np.float32]
    """Decayed count of choices in the second category right after the first, shape (categories, categories)."""
    total: NDArray[np.float32]
    """Sum of each row of `after`, shape (categories,)."""
    touch: NDArray[np.int64]
    """`seq` as of which a row stands, shape (categories,)."""
    dirty: NDArray[np.uint8]


def categories(arena: Arena, items: Vocabulary, names: Vocabulary) -> Categories:
    """Declare what is known of all items and categories."""
    of_table = arena.table("categories_of", items.capacity, lambda: len(items), of=items.name)
    table = arena.table("categories", names.capacity, lambda: len(names))
    return Categories(
        of=of_table.array("of", np.int32, EACH),
        of_dirty=of_table.dirty,
        after=table.array("after", np.float32, names.capacity),
        total=table.array("total", np.float32),
        touch=table.array("touch", np.int64),
        dirty=table.dirty,
    )


@kernel
def follow(g: Categories, h: Histories, user: int, item: int, seq: int, weight: np.float32) -> None:
    """Count at `weight` that a choice of `item` came right after the newest of the user's history."""
    if h.held[user] == 0 or h.quiet[user, 0]:
        return
    last = h.item[user, 0]
    for from_ in range(EACH):
        source = g.of[last, from_] - 1
        if source < 0:
            break
        fade = halved(np.float32(seq - g.touch[source]) * _PER_EVENT)
        row = g.after[source]
        for at in range(len(row)):
            row[at] *= fade
        g.total[source] *= fade
        g.touch[source] = seq
        g.dirty[source] = 1
        for to in range(EACH):
            target = g.of[item, to] - 1
            if target < 0:
                break
            row[target] += weight
            g.total[source] += weight


@kernel
def describe_categories(
    s: Scratch,
    g: Categories,
    h: Histories,
    n: int,
    user: int,
    seq: int,
    out: NDArray[np.float32],
    first: int,
) -> None:
    """Write the signals of `s.items[:n]` into rows `first` … of `out`, shape (…, n)."""
    one, zero = np.float32(1.0), np.float32(0.0)
    s.affinity[:] = zero
    s.next_[:] = zero
    newness, all_weight = one, zero
    for place in range(h.held[user]):
        own = g.of[h.item[user, place]]
        weight = newness * weight_at(h, user, place)
        for k in range(EACH):
            if own[k] > 0:
                s.affinity[own[k] - 1] += weight
        all_weight += weight
        newness *= _FADE
    if h.held[user] > 0:
        last = g.of[h.item[user, 0]]
        sources = zero
        for k in range(EACH):
            if last[k] > 0:
                sources += one
        for k in range(EACH):
            source = last[k] - 1
            if source >= 0 and g.total[source] > zero:
                share = one / (g.total[source] * sources)
                for at in range(len(s.next_)):
                    s.next_[at] += share * g.after[source, at]
    by = one / all_weight if all_weight > zero else zero
    for at in range(n):
        of = g.of[s.items[at]]
        affinity, next_, count = zero, zero, zero
        for k in range(EACH):
            if of[k] > 0:
                affinity += s.affinity[of[k] - 1]
                next_ += s.next_[of[k] - 1]
                count += one
        count = max(one, count)
        out[first, at] = one + _PER_AFFINITY * by * affinity / count
        out[first + 1, at] = one + _PER_NEXT * next_ / count
