"""What is learned from slates: what a place does to a choice, and what it means to have been passed over.

In the softmax in which the blend learns from a choice, and beside it:

- A choice made on a slate was made among what was looked at there: `P(j) = softmax(κ s_j + o(place of j))` over the
  slate's items. The offset o of a place is what the place does to a choice, whatever stands there; κ is how far the
  scores tell items apart that were all good enough to be shown. The blend learns from `s_j + o(place of j)`, less what
  the offsets come to on average, so that what was not shown stands to the slate as it did; lists are made without it.
  That is position bias as a feature of training that is constant at serving (PAL, Guo et al. 2019), under the
  examination hypothesis (Craswell et al. 2008).
- θ, by which what was ignored sinks, is a weight like others, but never below 0. Without a slate it is learned from the
  shortlist; on one, what stands there is not ignored yet.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .blend import ONE, ZERO, Workspace
from .compiled import kernel
from .histories import seconds
from .impressions import (
    NO_SLATE,
    PLACES,
    SLOTS,
    START,
    Impressions,
    cell_at,
    find_shown,
    ignored_at,
    slot_of,
    theta,
)
from .places import place_of

JOIN_WITHIN_S = 3600
"""A choice so long after its item was shown was made there."""
RATE, OFFSET_RATE, TRUST_RATE = np.float32(0.05), np.float32(0.5), np.float32(0.3)
FIRST_SQUARE = np.float32(0.1)
_MOST_ABOVE = np.float32(30.0)
_UNSHOWN = -1


@kernel
def learn_from_shown(
    im: Impressions,
    w: Workspace,
    user: int,
    slate: int,
    now_ms: int,
    items: NDArray[np.int32],
    scores: NDArray[np.float32],
    n: int,
    target: int,
    weight: np.float32,
) -> None:
    """Learn what places and being ignored do to a choice; leave in `scores` what the blend is to learn from.

    The user chose `items[target]` of `items[:n]`, on the slate of that name (0: they did not say); `scores` are as
    lists have them. Where the choice was made on a slate they become those with the offsets of its places. A step of
    `weight` 0 is none.
    """
    if im.block[user] == 0:
        return
    slots = w.teaching  # until `learn`, which writes them anew, it is free, and so is `w.delta`
    on = _slate_of(im, user, items[target], slate, now_ms)
    if on != NO_SLATE:
        for k in range(n):
            slots[k] = int(_UNSHOWN)
    for at in range(PLACES):
        unit, cell = cell_at(im, user, at)
        place = place_of(im.item[unit, cell] - 1, items, n) if im.item[unit, cell] > 0 else -1
        if place >= 0 and on != NO_SLATE and im.slate[unit, cell] == on:
            slots[place] = slot_of(im.slot[unit, cell])
            now = ignored_at(im, unit, cell, int(NO_SLATE), now_ms)
            scores[place] += theta(im) * (now - ignored_at(im, unit, cell, on, now_ms))
    if weight > ZERO:
        _step(im, w, user, on, slots, now_ms, items, scores, n, target, weight)
    if on != NO_SLATE:
        looked, shown = ZERO, 0
        for k in range(n):
            if slots[k] != _UNSHOWN:
                looked += np.exp(im.offset[slots[k]])
                shown += 1
        evenly = np.log(looked / np.float32(shown))
        for k in range(n):
            if slots[k] != _UNSHOWN:
                scores[k] += im.offset[slots[k]] - evenly


@kernel
def _step(
    im: Impressions,
    w: Workspace,
    user: int,
    on: int,
    slots: NDArray[np.int32],
    now_ms: int,
    items: NDArray[np.int32],
    scores: NDArray[np.float32],
    n: int,
    target: int,
    weight: np.float32,
) -> None:
    """Take one step of Adagrad uphill, by softmax cross-entropy over the slate, or over the shortlist without one."""
    trust = ONE + im.trust[0] if on != NO_SLATE else ONE
    total = ZERO
    for k in range(n):
        w.delta[k] = ZERO
        if on == NO_SLATE or slots[k] != _UNSHOWN:
            offset = im.offset[slots[k]] - im.offset[slots[target]] if on != NO_SLATE else ZERO
            w.delta[k] = np.exp(min(_MOST_ABOVE, trust * (scores[k] - scores[target]) + offset))
            total += w.delta[k]
    for k in range(n):
        w.delta[k] = -w.delta[k] / total
    w.delta[target] += ONE
    gradient = ZERO
    for at in range(PLACES):
        unit, cell = cell_at(im, user, at)
        place = place_of(im.item[unit, cell] - 1, items, n) if im.item[unit, cell] > 0 else -1
        if place >= 0:
            gradient -= w.delta[place] * ignored_at(im, unit, cell, on, now_ms)
    gradient *= trust
    im.sinking[0] = max(-START, im.sinking[0] + _uphill(im.sinking_square, 0, gradient * weight, RATE))
    im.learned_dirty[0] = 1
    if on != NO_SLATE:
        im.learned[0] += 1
        gradient = ZERO
        for k in range(n):
            gradient += w.delta[k] * (scores[k] - scores[target])
        im.trust[0] = max(-ONE, im.trust[0] + _uphill(im.trust_square, 0, gradient * weight, TRUST_RATE))
        for slot in range(1, SLOTS):
            gradient = ZERO
            for k in range(n):
                if slots[k] == slot:
                    gradient += w.delta[k]
            im.offset[slot] += _uphill(im.offset_square, slot, gradient * weight, OFFSET_RATE)


@kernel
def _uphill(squares: NDArray[np.float32], at: int, gradient: np.float32, rate: np.float32) -> np.float32:
    """Return Adagrad's step, and add the gradient's square to the sum."""
    squares[at] += gradient * gradient
    return np.float32(rate * gradient / np.sqrt(FIRST_SQUARE + squares[at]))


@kernel
def _slate_of(im: Impressions, user: int, item: int, slate: int, now_ms: int) -> int:
    """Return the slate on which the user chose `item` at `now_ms`, 0 for none; `slate` is the one they say, if any."""
    at = find_shown(im, user, item)
    if at < 0:
        return int(NO_SLATE)
    unit, cell = cell_at(im, user, at)
    since_s = seconds(now_ms) - np.int64(im.second[unit, cell])
    if since_s < 0 or since_s > JOIN_WITHIN_S or (slate != NO_SLATE and slate != im.slate[unit, cell]):
        return int(NO_SLATE)
    return int(im.slate[unit, cell])
