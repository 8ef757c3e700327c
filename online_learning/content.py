"""Content: what items say of themselves, as vectors of a pretrained encoder, so that the new ones can be recommended.

The encoder is frozen and runs elsewhere; a record brings an item's content vector c_j, of length 1, kept in int8. What
a user likes is the sum over the newest items of the history, `p = Σ_d .9^d (c_{a_d} - μ)`, taken at length 1; μ is the
mean of all items, without which everything is like everything.

| signal | |
|---|---|
| content | p · (c_j - μ) |
| content_last | the same with c_{a_0} alone in p |
| content_fresh | φ_j content |
| fresh | φ_j = 1 / √(1 + events of j) |

All are 0 for an item without content. The blend learns from every choice how far to trust them, and φ lets it trust
them more where nothing else is known: an item's own evidence takes over as it grows.

Items with few events are looked through for each ranking, so that they are found before anybody has chosen them.
Sources: for p, Rocchio 1971, "Relevance feedback in information retrieval"; for μ, Mu and Viswanath 2018, "All-but-the-
top: Simple and effective postprocessing for word representations".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from millstream.schemas.item_vectors import CONTENT

from .arena import Arena
from .compiled import entry, kernel
from .histories import Histories
from .popularity import EVENTS, Popularity
from .signal import PLAIN, SAYS, Signal
from .vocabulary import Vocabulary

FEW = 5
"""An item with no more events than this is fresh."""
FRESH = 2_048
"""Fresh items at most that are looked through; the oldest leave."""
PLACES = 20
"""Newest items of a history that a user's liking is made of."""
SIGNALS = (
    Signal("content", SAYS, PLAIN),
    Signal("content_last", SAYS, PLAIN),
    Signal("content_fresh", SAYS, PLAIN),
    Signal("fresh", SAYS, PLAIN),
)
_FADE = np.float32(0.9)
_FINEST = np.float32(2_047.0)
"""A liking's largest element as an integer: an inner product of CONTENT of them with int8 stays within int32."""
ZERO, ONE = np.float32(0.0), np.float32(1.0)


class Content(NamedTuple):
    """By item. Written by `take_in`, and as items are chosen and forgotten."""

    coded: NDArray[np.int8]
    """Shape (items, CONTENT)."""
    scale: NDArray[np.float32]
    """What `coded` is to be multiplied by, 0 for an item without content; shape (items,)."""
    dirty: NDArray[np.uint8]
    fresh: NDArray[np.int32]
    """Rows of items with content and few events, the oldest first; shape (FRESH,)."""
    held: NDArray[np.int64]
    """How many of `fresh` are set, shape (1,)."""
    unchosen: NDArray[np.int64]
    """Items with content that nobody has chosen, shape (1,)."""
    total: NDArray[np.float64]
    """Sum of all content vectors, shape (CONTENT,)."""
    items: NDArray[np.int64]
    """Items with content, shape (1,)."""
    fresh_dirty: NDArray[np.uint8]


class Liking(NamedTuple):
    """What a user likes, by what items say, and what they asked for: working memory of one thread."""

    sum: NDArray[np.float32]
    """What is to be written, not at length 1 yet; shape (CONTENT,)."""
    mean: NDArray[np.float32]
    """μ, shape (CONTENT,)."""
    coded: NDArray[np.int16]
    """p, what it is with the newest item alone, and what was asked for (`said`); shape (3, CONTENT)."""
    scale: NDArray[np.float32]
    """What each is to be multiplied by; 0 where there is none; shape (3,)."""
    offset: NDArray[np.float32]
    """The inner product of each and μ, shape (3,)."""
    wished: NDArray[np.float32]
    """How much what was asked for counts, 0 where nothing was; shape (1,)."""


def liking() -> Liking:
    """Reserve it."""
    return Liking(
        sum=np.zeros(CONTENT, np.float32),
        mean=np.zeros(CONTENT, np.float32),
        coded=np.zeros((3, CONTENT), np.int16),
        scale=np.zeros(3, np.float32),
        offset=np.zeros(3, np.float32),
        wished=np.zeros(1, np.float32),
    )


def content(arena: Arena, items: Vocabulary) -> Content:
    """Declare the content of all items: none, at first."""
    table = arena.table("content", items.capacity, lambda: len(items), of=items.name, later=True)
    fresh = arena.table("content_fresh", 1, lambda: 1, later=True)
    return Content(
        coded=table.array("coded", np.int8, CONTENT),
        scale=table.array("scale", np.float32),
        dirty=table.dirty,
        fresh=fresh.array("fresh", np.int32, FRESH)[0],
        held=fresh.array("held", np.int64),
        unchosen=fresh.array("unchosen", np.int64),
        total=fresh.array("total", np.float64, CONTENT)[0],
        items=fresh.array("items", np.int64),
        fresh_dirty=fresh.dirty,
    )


@entry
def take_in(c: Content, p: Popularity, item: int, coded: NDArray[np.int8], scale: np.float32) -> None:
    """Let `coded`, shape (CONTENT,), be the content of `item`; at a scale of 0 it has none."""
    if c.scale[item] > ZERO:
        forget(c, p, item)
    for k in range(CONTENT):
        c.coded[item, k] = coded[k]
    c.scale[item] = scale
    c.dirty[item] = 1
    if scale <= ZERO:
        return
    _add(c, item, 1.0)
    events = p.facts[item, EVENTS]
    if events == 0:
        c.unchosen[0] += 1
    if events <= FEW:
        if c.held[0] == FRESH:
            _leave(c, c.fresh[0])
        c.fresh[c.held[0]] = item
        c.held[0] += 1
    c.fresh_dirty[0] = 1


@entry
def forget_content(c: Content, p: Popularity, items: NDArray[np.int64]) -> None:
    """Take items out of what is kept of all rows together, before their rows are cleared."""
    for at in range(len(items)):
        if c.scale[items[at]] > ZERO:
            forget(c, p, items[at])


@kernel
def forget(c: Content, p: Popularity, item: int) -> None:
    """Take an item that has content out of the fresh ones and of those that nobody has chosen."""
    if p.facts[item, EVENTS] == 0:
        c.unchosen[0] -= 1
    _add(c, item, -1.0)
    _leave(c, item)
    c.fresh_dirty[0] = 1


@kernel
def _add(c: Content, item: int, times: float) -> None:
    for k in range(CONTENT):
        c.total[k] += times * float(c.coded[item, k]) * float(c.scale[item])
    c.items[0] += int(times)


@kernel
def grown(c: Content, p: Popularity, item: int) -> None:
    """Take in that an item has been chosen once more, after `popularity.count`."""
    if c.scale[item] <= ZERO:
        return
    events = p.facts[item, EVENTS]
    if events == 1:
        c.unchosen[0] -= 1
        c.fresh_dirty[0] = 1
    if events == FEW + 1:
        _leave(c, item)
        c.fresh_dirty[0] = 1


@kernel
def _leave(c: Content, item: int) -> None:
    kept = 0
    for at in range(c.held[0]):
        if c.fresh[at] != item:
            c.fresh[kept] = c.fresh[at]
            kept += 1
    c.fresh[kept:] = 0
    c.held[0] = kept


@kernel
def like(c: Content, h: Histories, user: int, w: Liking) -> bool:
    """Write what the user likes into `w`; False where nothing of the history says anything."""
    w.scale[:] = ZERO
    if c.items[0] == 0:
        return False
    total, by, weight = w.sum, ONE, ZERO
    total[:] = ZERO
    for place in range(min(PLACES, h.held[user])):
        item = h.item[user, place]
        if c.scale[item] > ZERO:
            row, times = c.coded[item], by * c.scale[item]
            for k in range(CONTENT):
                total[k] += times * np.float32(row[k])
            weight += by
        by *= _FADE
    if weight == ZERO:
        return False
    mean_content(c, w)
    for k in range(CONTENT):
        total[k] -= weight * w.mean[k]
    look(w, 0)
    newest = h.item[user, 0]
    if c.scale[newest] > ZERO:
        row = c.coded[newest]
        for k in range(CONTENT):
            total[k] = c.scale[newest] * np.float32(row[k]) - w.mean[k]
        look(w, 1)
    return True


@kernel
def mean_content(c: Content, w: Liking) -> None:
    """Write μ into `w`; there is an item with content."""
    per_item = 1.0 / float(c.items[0])
    for k in range(CONTENT):
        w.mean[k] = np.float32(c.total[k] * per_item)


@kernel
def look(w: Liking, at: int) -> None:
    """Write `w.sum` at length 1 as integers, as what is looked for; one of zeros is none."""
    square, largest, offset = ZERO, ZERO, ZERO
    for k in range(CONTENT):
        square += w.sum[k] * w.sum[k]
        offset += w.sum[k] * w.mean[k]
        largest = max(largest, abs(w.sum[k]))
    if largest == ZERO:
        return
    finer, by = _FINEST / largest, ONE / np.sqrt(square)
    for k in range(CONTENT):
        w.coded[at, k] = np.int16(np.rint(w.sum[k] * finer))
    w.scale[at] = by / finer
    w.offset[at] = offset * by


@kernel
def likeness(c: Content, item: int, w: Liking, at: int) -> np.float32:
    """Return how like what is at `at` of `w` an item with content is, from -2 to 2; 0 is as like as any."""
    row, coded, total = c.coded[item], w.coded[at], np.int32(0)
    for k in range(CONTENT):
        total = np.int32(total + np.int32(np.int32(row[k]) * np.int32(coded[k])))
    return np.float32(np.float32(total) * w.scale[at] * c.scale[item] - w.offset[at])


@kernel
def describe_content(
    c: Content, p: Popularity, items: NDArray[np.int32], n: int, w: Liking, out: NDArray[np.float32], first: int
) -> None:
    """Write the signals of `items[:n]` into rows `first` … of `out`, shape (…, n), after `like`."""
    for at in range(n):
        item = items[at]
        liked, next_, fresh = ZERO, ZERO, ZERO
        if c.scale[item] > ZERO:
            fresh = ONE / np.sqrt(ONE + np.float32(p.facts[item, EVENTS]))
            if w.scale[0] > ZERO:
                liked = likeness(c, item, w, 0)
            if w.scale[1] > ZERO:
                next_ = likeness(c, item, w, 1)
        out[first, at] = liked
        out[first + 1, at] = next_
        out[first + 2, at] = fresh * liked
        out[first + 3, at] = fresh


@kernel
def says_most(c: Content, h: Histories, user: int, item: int, gone: NDArray[np.bool_]) -> int:
    """Return the item of the history that `item` is most like of what makes the liking, by its weight; -1: none.

    Items that are `gone`, by row, have no name any more, so they are passed over.
    """
    most, largest, by = -1, ZERO, ONE
    if c.scale[item] <= ZERO:
        return -1
    for place in range(min(PLACES, h.held[user])):
        other = h.item[user, place]
        if c.scale[other] > ZERO and not gone[other]:
            total = np.int32(0)
            one, two = c.coded[item], c.coded[other]
            for k in range(CONTENT):
                total = np.int32(total + np.int32(np.int32(one[k]) * np.int32(two[k])))
            part = by * np.float32(total) * c.scale[other]
            if part > largest:
                most, largest = other, part
        by *= _FADE
    return int(most)
