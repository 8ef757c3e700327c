"""The adapter: from what an item says to its interest vector, so that it has one before its first choice.

The encoder stays frozen. What an item j says, its content c_j, moves its interest vector by a *lift* of low rank:

`v_j = r_j + g_j · B A (c_j - μ)`, `g_j = σ(a - b ln(1 + n_j))`

r_j is the item's own row, 0 until its first choice; n_j its events, so that the own row takes over as evidence grows:
how soon, the gate g says, which is learned. A (CONTENT x RANK) begins as a fixed draw, B (RANK x WIDTH) at 0, so at
first nothing is lifted. All are learned with the vectors, from clicks (`interest_loss`); RANK · (CONTENT + WIDTH) + 2
numbers. An item without content is never lifted: its vector is r_j, bit for bit.

`interest.vector` holds v_j, which is what kernels read, and `lift` by how much of it; r_j is the difference. The lift
is made when content comes, with every block that an item is in, and with each block for IN_TURN others.
Sources: Hu et al. 2022, "LoRA: Low-rank adaptation of large language models"; Volkovs, Yu and Poutanen 2017,
"DropoutNet: Addressing cold start in recommender systems".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from millstream.schemas.item_vectors import CONTENT

from .arena import Arena
from .compiled import entry, kernel
from .content import Content, take_in
from .interest import WIDTH, Interest
from .logarithm import logarithm
from .popularity import EVENTS, Popularity
from .vocabulary import Vocabulary

RANK = 16
IN_TURN = 512
"""Rows that are lifted anew with each block, one after the other: so all come to follow what was learned."""
START_DOWN = np.random.default_rng(20_261_127).normal(0.0, 1.0, (CONTENT, RANK)).astype(np.float32)
"""A at the beginning: contents have length 1, so what comes out of it is about 1 in size."""
START_GATE = np.array([2.0, 1.0], np.float32)
"""a and b at the beginning: of an item never chosen .88 of the lift, after six events half, after fifty an eighth."""
ZERO, ONE = np.float32(0.0), np.float32(1.0)


class Adapter(NamedTuple):
    """Written by `lift`, and by the trainer of the interest vectors between two blocks."""

    lift: NDArray[np.float32]
    """g_j B A (c_j - μ) as it is in the item's vector, shape (items, WIDTH)."""
    grown: NDArray[np.float32]
    """ln(1 + n_j) when it was made, shape (items,)."""
    dirty: NDArray[np.uint8]
    down: NDArray[np.float32]
    """A less `START_DOWN`, shape (CONTENT, RANK)."""
    down_square: NDArray[np.float32]
    up: NDArray[np.float32]
    """B, shape (RANK, WIDTH)."""
    up_square: NDArray[np.float32]
    gate: NDArray[np.float32]
    """a and b less `START_GATE`, shape (2,)."""
    gate_square: NDArray[np.float32]
    turn: NDArray[np.int64]
    """The first of the rows that are lifted anew with the block just closed, and the row after the last; (2,)."""
    learned_dirty: NDArray[np.uint8]
    hidden: NDArray[np.float32]
    """A (c_j - μ) of the item at hand, shape (RANK,): working memory of the state's one writer."""


def adapter(arena: Arena, items: Vocabulary) -> Adapter:
    """Declare the adapter, which lifts nothing yet: all arrays are 0."""
    lifts = arena.table("interest_lift", items.capacity, lambda: len(items), of=items.name, later=True)
    learned = arena.table("interest_adapter", 1, lambda: 1, later=True)
    return Adapter(
        lift=lifts.array("lift", np.float32, WIDTH),
        grown=lifts.array("grown", np.float32),
        dirty=lifts.dirty,
        down=learned.array("down", np.float32, CONTENT, RANK)[0],
        down_square=learned.array("down_square", np.float32, CONTENT, RANK)[0],
        up=learned.array("up", np.float32, RANK, WIDTH)[0],
        up_square=learned.array("up_square", np.float32, RANK, WIDTH)[0],
        gate=learned.array("gate", np.float32, 2)[0],
        gate_square=learned.array("gate_square", np.float32, 2)[0],
        turn=learned.array("turn", np.int64, 2)[0],
        learned_dirty=learned.dirty,
        hidden=np.zeros(RANK, np.float32),
    )


@kernel
def gate_at(a: Adapter, grown: np.float32) -> np.float32:
    """Return g of an item, `grown` being ln(1 + its events): between 0 and 1, falling with its events."""
    by = START_GATE[0] + a.gate[0] - (START_GATE[1] + a.gate[1]) * grown
    return np.float32(ONE / (ONE + np.exp(-by)))


@kernel
def lift(a: Adapter, v: Interest, c: Content, p: Popularity, item: int) -> None:
    """Make the item's lift anew and put it into its vector; that of an item without content is 0."""
    hidden, old = a.hidden, a.lift[item]
    hidden[:] = ZERO
    grown, by = ZERO, ZERO
    if c.scale[item] > ZERO:
        grown = logarithm(ONE + np.float32(p.facts[item, EVENTS]))
        by = gate_at(a, grown)
        row, per_item = c.coded[item], 1.0 / float(c.items[0])
        for k in range(CONTENT):
            apart = c.scale[item] * np.float32(row[k]) - np.float32(c.total[k] * per_item)
            for r in range(RANK):
                hidden[r] += apart * (START_DOWN[k, r] + a.down[k, r])
    for d in range(WIDTH):
        new = ZERO
        for r in range(RANK):
            new += hidden[r] * a.up[r, d]
        new *= by
        v.vector[item, d] = (v.vector[item, d] - old[d]) + new
        old[d] = new
    a.grown[item] = grown
    a.dirty[item] = 1
    v.dirty[item] = 1


@entry
def enter(
    a: Adapter, v: Interest, c: Content, p: Popularity, item: int, coded: NDArray[np.int8], scale: np.float32
) -> None:
    """Take in what an item says (`content.take_in`), and let it enter through the adapter at once."""
    take_in(c, p, item, coded, scale)
    lift(a, v, c, p, item)
