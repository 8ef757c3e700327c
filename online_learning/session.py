"""The session transformer: one causal attention block over a user's last events, whose order the other parts forget.

Of the last LENGTH items of the history, oldest first, each is what it is (a vector of its own), what the interest
vectors know of it, its content through the adapter among that, what kind of choice it was (by its weight), how long
after the one before, and at which place:

`x_p = e_a + W v_a + kind + gap + place`, `h = x + attention(norm x)`, `h = h + feed(norm h)`, `s_j = norm h_last · e_j`

Attention has two heads and looks back only; `feed` is two layers with a relu between. Trained in torch in the blocks of
the interest vectors, each place to say what came next (`session_trainer`); read by the kernels (`session_reading`).
Sources: Kang and McAuley 2018, "Self-attentive sequential recommendation"; Xiong et al. 2020, "On layer normalization
in the transformer architecture" (pre-norm).
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .blend import CONTEXTS
from .compiled import entry, kernel
from .histories import Histories
from .interest import BLOCK, NOBODY, WIDTH, Interest
from .vocabulary import Vocabulary

LENGTH = 16
"""Last items of a history that are read."""
HEADS = 2
HEAD = WIDTH // HEADS
FEED = 64
KINDS, GAPS = 4, 14
REPLAY = 1_024
"""Sequences that are kept to be trained on again; the oldest leave."""
SHAPES = {
    "vector": (WIDTH, WIDTH),
    "kind": (KINDS, WIDTH),
    "gap": (GAPS, WIDTH),
    "place": (LENGTH, WIDTH),
    "first": (2, WIDTH),
    "query": (WIDTH, WIDTH),
    "key": (WIDTH, WIDTH),
    "value": (WIDTH, WIDTH),
    "mix": (WIDTH, WIDTH),
    "second": (2, WIDTH),
    "widen": (WIDTH, FEED),
    "widen_by": (FEED,),
    "narrow": (FEED, WIDTH),
    "narrow_by": (WIDTH,),
    "last": (2, WIDTH),
}
"""The weights in the order in which they stand in one row; `first`, `second` and `last` are norms: scale and shift."""
WEIGHTS = sum(prod(shape) for shape in SHAPES.values())
_UNIT = 16
"""Units of a history's weight that a click has."""


class Weights(NamedTuple):
    """Views of `Session.row`, of the `SHAPES`."""

    vector: NDArray[np.float32]
    kind: NDArray[np.float32]
    gap: NDArray[np.float32]
    place: NDArray[np.float32]
    first: NDArray[np.float32]
    query: NDArray[np.float32]
    key: NDArray[np.float32]
    value: NDArray[np.float32]
    mix: NDArray[np.float32]
    second: NDArray[np.float32]
    widen: NDArray[np.float32]
    widen_by: NDArray[np.float32]
    narrow: NDArray[np.float32]
    narrow_by: NDArray[np.float32]
    last: NDArray[np.float32]


class Session(NamedTuple):
    """Vectors and weights are written by the trainer between two blocks, the block and `blend` by the kernels."""

    item: NDArray[np.float32]
    """e, 0 until an item is first trained on; shape (items, WIDTH). Without rows the part is off."""
    square: NDArray[np.float32]
    dirty: NDArray[np.uint8]
    row: NDArray[np.float32]
    """All weights, shape (WEIGHTS,)."""
    row_square: NDArray[np.float32]
    row_dirty: NDArray[np.uint8]
    weights: Weights
    kind: NDArray[np.uint8]
    """Of each place of the histories in the interest vectors' two blocks, newest first; shape (2, BLOCK, LENGTH)."""
    gap: NDArray[np.uint8]
    """How long after the place behind it, by `gap_class`, likewise."""
    block_dirty: NDArray[np.uint8]
    replay: NDArray[np.int32]
    """1 + the item at each place, oldest first, and 1 + the one to be told there, 0 for none; (REPLAY, 2, LENGTH)."""
    replay_said: NDArray[np.uint8]
    """Kind and gap of each place, shape (REPLAY, 2, LENGTH)."""
    replay_share: NDArray[np.float32]
    """ln of the share of all events that the item to be told had, shape (REPLAY, LENGTH)."""
    replay_dirty: NDArray[np.uint8]
    turns: NDArray[np.int64]
    """Blocks trained on, and sequences kept so far; shape (2,)."""
    turns_dirty: NDArray[np.uint8]
    blend: NDArray[np.float32]
    """Weight of the score by the blend's contexts, shape (CONTEXTS,)."""
    blend_square: NDArray[np.float32]
    blend_dirty: NDArray[np.uint8]


def session(arena: Arena, items: Vocabulary, *, apart: bool = False) -> Session:
    """Declare the part; the weights begin as fixed draws, all else at 0. `apart`: what torch writes is hashed apart."""
    vectors = arena.table("session", items.capacity, lambda: len(items), of=items.name, apart=apart)
    learned = arena.table("session_weights", 1, lambda: 1, apart=apart)
    blocks = arena.table("session_blocks", 2, lambda: 2)
    replay = arena.table("session_replay", REPLAY, lambda: REPLAY)
    blend = arena.table("session_blend", CONTEXTS, lambda: CONTEXTS)
    turns = arena.table("session_turns", 1, lambda: 1)
    row = learned.array("row", np.float32, WEIGHTS)[0]
    part = Session(
        item=vectors.array("item", np.float32, WIDTH),
        square=vectors.array("square", np.float32),
        dirty=vectors.dirty,
        row=row,
        row_square=learned.array("row_square", np.float32, WEIGHTS)[0],
        row_dirty=learned.dirty,
        weights=Weights(**views(row)),
        kind=blocks.array("kind", np.uint8, BLOCK, LENGTH),
        gap=blocks.array("gap", np.uint8, BLOCK, LENGTH),
        block_dirty=blocks.dirty,
        replay=replay.array("item", np.int32, 2, LENGTH),
        replay_said=replay.array("said", np.uint8, 2, LENGTH),
        replay_share=replay.array("share", np.float32, LENGTH),
        replay_dirty=replay.dirty,
        turns=turns.array("turns", np.int64, 2)[0],
        turns_dirty=turns.dirty,
        blend=blend.array("weight", np.float32),
        blend_square=blend.array("square", np.float32),
        blend_dirty=blend.dirty,
    )
    rng = np.random.default_rng(20_261_128)
    for name, view in part.weights._asdict().items():
        if name in ("first", "second", "last"):
            view[0] = 1.0
        elif not name.endswith("_by"):
            view[:] = rng.normal(0.0, 0.1 if name in ("kind", "gap", "place") else len(view) ** -0.5, view.shape)
    part.row_dirty[:] = 1
    return part


def views(row: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return the weights by name, in the memory of `row`, shape (WEIGHTS,)."""
    found, first = {}, 0
    for name, shape in SHAPES.items():
        found[name] = row[first : first + prod(shape)].reshape(shape)
        first += prod(shape)
    return found


@kernel
def is_read(s: Session) -> bool:
    """Tell whether the part is on."""
    return len(s.item) > 0


@kernel
def kind_class(units: int) -> int:
    """Return which kind of choice it was, by its weight in a history: up to a click's | twice | three times | more."""
    return min(KINDS - 1, (max(1, int(units)) - 1) // _UNIT)


@kernel
def gap_class(since_s: int) -> int:
    """Return the class of a pause: less than a minute, two, four … minutes; 0 is no pause, of what nothing precedes."""
    minutes, found = max(0, since_s) // 60, 1
    while minutes > 0 and found < GAPS - 1:
        minutes >>= 1
        found += 1
    return found


@kernel
def gap_at(h: Histories, user: int, place: int, held: int) -> int:
    """Return the class of the pause before what stands at a place of the first `held` of a history, newest first."""
    if place == held - 1:
        return 0
    return int(gap_class(int(np.int64(h.second[user, place]) - np.int64(h.second[user, place + 1]))))


@kernel
def note_session(s: Session, v: Interest, h: Histories, user: int) -> None:
    """Keep what the interest vectors' block does not have of the user's history; after `collect`."""
    held = min(LENGTH, h.held[user])
    if held == 0:
        return
    at = v.filled[0] - 1
    for place in range(LENGTH):
        s.kind[0, at, place] = kind_class(h.weight[user, place]) if place < held else 0
        s.gap[0, at, place] = gap_at(h, user, place, held) if place < held else 0
    s.block_dirty[0] = 1


@entry
def drop_session(s: Session, v: Interest, gone: NDArray[np.bool_]) -> None:
    """Follow `interest.drop_targets`, which comes after it."""
    kept = 0
    for at in range(v.filled[0]):
        places = 0
        for place in range(LENGTH):
            item = v.history[0, at, place]
            if item != NOBODY and not gone[item]:
                s.kind[0, kept, places] = s.kind[0, at, place]
                s.gap[0, kept, places] = s.gap[0, at, place]
                places += 1
        any_left = places > 0
        for place in range(LENGTH, v.history.shape[2]):
            item = v.history[0, at, place]
            any_left = any_left or (item != NOBODY and not gone[item])
        if any_left and not gone[v.target[0, at]]:
            for place in range(places, LENGTH):
                s.kind[0, kept, place] = 0
                s.gap[0, kept, place] = 0
            kept += 1
    s.block_dirty[0] = 1
