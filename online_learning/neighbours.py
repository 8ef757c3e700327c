"""Neighbours: what those who lately chose the same items chose besides (VMIS-kNN).

Each item remembers the last RING users who chose it. The users of the session's last items are weighed by how new the
shared items are; the heaviest NEAREST vote for everything in their recent history.

`knn(j) = Σ_{n ∈ nearest} w(n) [j ∈ newest VOTES of n] / Σ_n w(n)`

`w(n) = Σ_{d < 5} (1 - d/5) · how often n is in the ring of a_d`

Source: Kersbergen, Sprangers and Schelter 2022, "Serenade: low-latency session-based recommendation in e-commerce at
scale", with a far smaller sample: the blend has better witnesses of what goes together, and asks this one for the rest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .compiled import inlined, kernel
from .heap import offer
from .histories import Histories
from .scratch import KNN, LONG98, MOST_MET, SECOND, Scratch, touch
from .signal import FINE, ONE, TOGETHER, Signal
from .vocabulary import Vocabulary

RING = 64
"""Users remembered an item."""
SESSION_ITEMS = MOST_MET // RING
"""Newest items of the user that find neighbours."""
NEAREST = 16
"""Neighbours that vote."""
VOTES = 10
"""Newest items a neighbour votes for."""
SIGNALS = (Signal("knn", TOGETHER),)
ZERO = np.float32(0.0)


class Neighbours(NamedTuple):
    """Rows by item. `user` and `chosen` are written by `note_user` and `drop_users`."""

    user: NDArray[np.int32]
    """User rows, a ring; shape (items, RING)."""
    chosen: NDArray[np.int64]
    """Choices of the item so far, of which the ring holds the last; fewer once users were dropped. Shape (items,)."""
    dirty: NDArray[np.uint8]
    kept: NDArray[np.int32]
    """What `drop_users` works with, shape (RING,)."""


def neighbours(arena: Arena, items: Vocabulary) -> Neighbours:
    """Declare the rings of all items."""
    table = arena.table("neighbours", items.capacity, lambda: len(items), of=items.name)
    return Neighbours(
        user=table.array("user", np.int32, RING),
        chosen=table.array("chosen", np.int64),
        dirty=table.dirty,
        kept=np.zeros(RING, np.int32),
    )


@kernel
def note_user(v: Neighbours, user: int, item: int) -> None:
    """Remember that `user` chose `item`."""
    v.user[item, v.chosen[item] % RING] = user
    v.chosen[item] += 1
    v.dirty[item] = 1


@kernel
def drop_users(v: Neighbours, gone: NDArray[np.bool_], item: int) -> None:
    """Take the users who are `gone`, shape (users + 1,), out of the item's ring; the others stay in order of age."""
    held = min(RING, v.chosen[item])
    oldest = v.chosen[item] % RING if v.chosen[item] > RING else 0
    kept = 0
    for at in range(held):
        user = v.user[item, (oldest + at) % RING]
        if not gone[user]:
            v.kept[kept] = user
            kept += 1
    if kept == held:
        return
    for at in range(RING):
        v.user[item, at] = v.kept[at] if at < kept else 0
    v.chosen[item] = kept
    v.dirty[item] = 1


@kernel
def walk_neighbours(s: Scratch, v: Neighbours, h: Histories, user: int) -> None:
    """Write each item's share of the neighbours' votes into `s.sums`; after `walk`."""
    met = 0
    for place in range(min(SESSION_ITEMS, h.held[user])):
        item = h.item[user, place]
        weight = np.float32(1.0) - np.float32(place) / np.float32(SESSION_ITEMS)
        for at in range(min(RING, v.chosen[item])):
            other = v.user[item, at]
            if s.weight[other] == ZERO and other != user:
                s.met[met] = other
                met += 1
            s.weight[other] += weight
    s.weight[user] = ZERO
    held = 0
    total = ZERO
    for at in range(met):
        held = offer(s.heap[0], s.heap_key[0], held, NEAREST, s.met[at], s.weight[s.met[at]])
        s.weight[s.met[at]] = ZERO
    for at in range(held):
        total += s.heap_key[0, at]
    for at in range(held):
        _vote(s, h, s.heap[0, at], s.heap_key[0, at] / total)


@inlined
def _vote(s: Scratch, h: Histories, user: int, share: np.float32) -> None:
    for place in range(min(VOTES, h.held[user])):
        if h.quiet[user, place]:
            continue
        item = h.item[user, place]
        q = s.sums[item]
        if q[KNN] == ZERO and q[SECOND] == ZERO and q[LONG98] == ZERO:
            touch(s, item)
        q[KNN] += share


@kernel
def describe_neighbours(s: Scratch, n: int, out: NDArray[np.float32], first: int) -> None:
    """Write the signal of `s.items[:n]` into row `first` of `out`, shape (…, n)."""
    for at in range(n):
        out[first, at] = ONE + FINE * s.sums[s.items[at], KNN]
