"""Interest vectors: what a user is after, as a point among the items.

Every item has a vector v_j. A user is an attention-pooled, time-decayed sum over the newest items of their history, so
one click is enough and there is no table of users, and what their context says (`prompts`):

`u = Σ_d α_d v_{a_d} + p`, `α = softmax_d(q · v_{a_d} / √D + place_d - rate · ln(1 + Δt_d / 1 min))`, `s_j = (u' A) v_j`

Trained in torch, in blocks (`interest_trainer`); this file is the kernels' half, which reads the same memory, so that
scoring a shortlist costs no call of torch. The score estimates ln P(j | u) and a constant, one signal of the blend.
Source of the loss: Yi et al. 2019, "Sampling-bias-corrected neural modeling for large corpus item recommendations".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .compiled import entry, inlined, kernel
from .histories import Histories, since_ms
from .logarithm import logarithm
from .prompts import Prompts, add_prompts, move_context, note_context, prompts
from .signal import PLAIN, TASTE, Signal
from .vocabulary import Vocabulary

WIDTH = 32
"""Dimensions of a vector."""
PLACES = 20
"""Newest items of a history that are pooled."""
BLOCK = 256
"""Events a block trains on at once."""
NOBODY = -1
"""The item at an empty place."""
SIGNALS = (Signal("interest", TASTE, PLAIN),)
_SPREAD = np.float32(0.1)
_MINUTE = np.float32(1.0 / 60_000.0)
_ROOT = np.float32(WIDTH**-0.5)
ZERO = np.float32(0.0)


class Interest(NamedTuple):
    """`vector` and the pooling are written by the trainer between two blocks, the open block by the kernels here."""

    vector: NDArray[np.float32]
    """Shape (items, WIDTH)."""
    square: NDArray[np.float32]
    """Adagrad's mean squared gradient sums, shape (items,)."""
    dirty: NDArray[np.uint8]
    matrix: NDArray[np.float32]
    """A, shape (WIDTH, WIDTH)."""
    matrix_square: NDArray[np.float32]
    query: NDArray[np.float32]
    """q, shape (WIDTH,)."""
    query_square: NDArray[np.float32]
    place: NDArray[np.float32]
    """Shape (PLACES,)."""
    place_square: NDArray[np.float32]
    rate: NDArray[np.float32]
    """Shape (1,)."""
    rate_square: NDArray[np.float32]
    pooling_dirty: NDArray[np.uint8]
    history: NDArray[np.int32]
    """Of the block being filled and of the one being trained: items, newest first; shape (2, BLOCK, PLACES)."""
    age: NDArray[np.float32]
    """ln(1 + minutes) since each of them, shape (2, BLOCK, PLACES)."""
    target: NDArray[np.int32]
    """The item chosen next, shape (2, BLOCK)."""
    log_share: NDArray[np.float32]
    """ln of its share of all events when the block was closed, shape (2, BLOCK)."""
    filled: NDArray[np.int64]
    """Events in each block; shape (2,)."""
    block_dirty: NDArray[np.uint8]
    prompts: Prompts


class Pooled(NamedTuple):
    """A user's vector and how it came about: working memory of one thread."""

    weight: NDArray[np.float32]
    """Of each place, unnormalised, shape (PLACES,)."""
    user: NDArray[np.float32]
    """u, then A'u; shape (2, WIDTH)."""
    turned: NDArray[np.float32]
    """A v of one item, shape (WIDTH,)."""


def pooled() -> Pooled:
    """Reserve it."""
    return Pooled(
        weight=np.zeros(PLACES, np.float32),
        user=np.zeros((2, WIDTH), np.float32),
        turned=np.zeros(WIDTH, np.float32),
    )


def interest(arena: Arena, items: Vocabulary, users: Vocabulary) -> Interest:
    """Declare the vectors; A begins as the identity, all else at 0. An item's own vector begins at its first event."""
    vectors = arena.table("interest", items.capacity, lambda: len(items), of=items.name)
    pooling = arena.table("interest_pooling", 1, lambda: 1)
    blocks = arena.table("interest_blocks", 2, lambda: 2)
    part = Interest(
        vector=vectors.array("vector", np.float32, WIDTH),
        square=vectors.array("square", np.float32),
        dirty=vectors.dirty,
        matrix=pooling.array("matrix", np.float32, WIDTH, WIDTH)[0],
        matrix_square=pooling.array("matrix_square", np.float32, WIDTH, WIDTH)[0],
        query=pooling.array("query", np.float32, WIDTH)[0],
        query_square=pooling.array("query_square", np.float32, WIDTH)[0],
        place=pooling.array("place", np.float32, PLACES)[0],
        place_square=pooling.array("place_square", np.float32, PLACES)[0],
        rate=pooling.array("rate", np.float32),
        rate_square=pooling.array("rate_square", np.float32),
        pooling_dirty=pooling.dirty,
        history=blocks.array("history", np.int32, BLOCK, PLACES),
        age=blocks.array("age", np.float32, BLOCK, PLACES),
        target=blocks.array("target", np.int32, BLOCK),
        log_share=blocks.array("log_share", np.float32, BLOCK),
        filled=blocks.array("filled", np.int64),
        block_dirty=blocks.dirty,
        prompts=prompts(arena, users, WIDTH, BLOCK),
    )
    part.matrix[:] = np.eye(WIDTH)
    part.rate[:] = 0.1
    part.place[:] = -0.1 * np.arange(PLACES)
    part.pooling_dirty[:] = 1
    return part


@kernel
def welcome(v: Interest, item: int) -> None:
    """Give an item that has never been chosen its own first vector: a fixed draw of its row, uniform around 0.

    What its content lifted it to before (`adapter`) stays in it.
    """
    draw = np.uint64(item + 1) * np.uint64(0x9E3779B97F4A7C15)
    for k in range(WIDTH):
        draw ^= draw >> np.uint64(29)
        draw *= np.uint64(0xBF58476D1CE4E5B9)
        unit = np.float32(draw >> np.uint64(40)) * np.float32(2.0**-24)
        v.vector[item, k] += _SPREAD * (np.float32(2.0) * unit - np.float32(1.0))
    v.square[item] = ZERO
    v.dirty[item] = 1


@kernel
def collect(v: Interest, h: Histories, user: int, item: int, ts_ms: int) -> None:
    """Put the event into the open block, with the history as it was before; a user without one teaches nothing."""
    held = min(PLACES, h.held[user])
    if held == 0:
        return
    at = v.filled[0]
    for place in range(PLACES):
        if place < held:
            v.history[0, at, place] = h.item[user, place]
            v.age[0, at, place] = _age(since_ms(h, user, place, ts_ms))
        else:
            v.history[0, at, place] = NOBODY
            v.age[0, at, place] = ZERO
    v.target[0, at] = item
    note_context(v.prompts, at, user, ts_ms - h.last_ms[user])
    v.filled[0] = at + 1
    v.block_dirty[0] = 1


@entry
def drop_targets(v: Interest, gone: NDArray[np.bool_]) -> None:
    """Take the items that are `gone`, shape (items,), out of the open block, and events that are left without any."""
    kept = 0
    for at in range(v.filled[0]):
        places = 0
        for place in range(PLACES):
            item = v.history[0, at, place]
            if item != NOBODY and not gone[item]:
                v.history[0, kept, places] = item
                v.age[0, kept, places] = v.age[0, at, place]
                places += 1
        target = v.target[0, at]
        if places > 0 and not gone[target]:
            v.history[0, kept, places:] = NOBODY
            v.age[0, kept, places:] = ZERO
            v.target[0, kept] = target
            move_context(v.prompts, at, kept)
            kept += 1
    v.filled[0] = kept
    v.block_dirty[0] = 1


@kernel
def _age(elapsed_ms: int) -> np.float32:
    return logarithm(np.float32(1.0) + np.float32(elapsed_ms) * _MINUTE)


@kernel
def pool(v: Interest, h: Histories, user: int, now_ms: int, w: Pooled) -> bool:
    """Write u into `w.user[0]` and A'u into `w.user[1]`; False for a user without a history."""
    held = min(PLACES, h.held[user])
    u, projected = w.user[0], w.user[1]
    u[:] = ZERO
    projected[:] = ZERO
    if held == 0:
        return False
    highest = np.float32(-np.inf)
    for place in range(held):
        row = v.vector[h.item[user, place]]
        dot = ZERO
        for k in range(WIDTH):
            dot += v.query[k] * row[k]
        w.weight[place] = dot * _ROOT + v.place[place] - v.rate[0] * _age(since_ms(h, user, place, now_ms))
        highest = max(highest, w.weight[place])
    total = ZERO
    for place in range(held):
        w.weight[place] = np.exp(w.weight[place] - highest)
        total += w.weight[place]
    for place in range(held):
        row, by = v.vector[h.item[user, place]], w.weight[place] / total
        for k in range(WIDTH):
            u[k] += by * row[k]
    add_prompts(v.prompts, user, now_ms - h.last_ms[user], u)
    for i in range(WIDTH):
        for k in range(WIDTH):
            projected[k] += v.matrix[i, k] * u[i]
    return True


@kernel
def speaks_most(v: Interest, h: Histories, user: int, item: int, gone: NDArray[np.bool_], w: Pooled) -> int:
    """Return the item of the history that adds most to the signal of `item`, after `pool`; -1 if there is none.

    The signal is a sum over the history's places, each its weight times `v_p'A v_item`. Items that are `gone`, by row,
    still add to it but have no name any more, so they are passed over.
    """
    most, by = -1, np.float32(-np.inf)
    turned = w.turned
    for i in range(WIDTH):
        turned[i] = inner(v.matrix[i], v.vector[item])
    for place in range(min(PLACES, h.held[user])):
        spoken = h.item[user, place]
        part = w.weight[place] * inner(v.vector[spoken], turned)
        if part > by and not gone[spoken]:
            most, by = spoken, part
    return int(most)


@kernel
def describe_interest(
    v: Interest,
    items: NDArray[np.int32],
    n: int,
    w: Pooled,
    out: NDArray[np.float32],
    first: int,
) -> None:
    """Write the signal of `items[:n]` into row `first` of `out`, shape (…, n), after `pool`."""
    for at in range(n):
        out[first, at] = inner(w.user[1], v.vector[items[at]])


@inlined
def inner(one: NDArray[np.float32], other: NDArray[np.float32]) -> np.float32:
    """Return the inner product of two vectors, summed in eight lanes."""
    s0, s1, s2, s3, s4, s5, s6, s7 = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    for k in range(0, WIDTH, 8):
        s0 += one[k] * other[k]
        s1 += one[k + 1] * other[k + 1]
        s2 += one[k + 2] * other[k + 2]
        s3 += one[k + 3] * other[k + 3]
        s4 += one[k + 4] * other[k + 4]
        s5 += one[k + 5] * other[k + 5]
        s6 += one[k + 6] * other[k + 6]
        s7 += one[k + 7] * other[k + 7]
    return ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
