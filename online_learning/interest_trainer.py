"""Training of the interest vectors in torch, a block at a time, beside the step.

When a block of events is full, the rows it needs are copied out and trained on a thread of the trainer's own, while the
step fills the next block; what was learned is written back when that one is full, and waited for if it is late. So
which weights an event sees depends on the count of events alone, never on how fast a thread was.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .adapter import IN_TURN, Adapter
from .background import Background
from .content import Content
from .interest import BLOCK, NOBODY, Interest
from .popularity import ALL_TIME, EVENTS, Popularity
from .prompts import PROMPTS, SURFACES
from .torch_process import TRAINING


@dataclass(frozen=True, slots=True)
class Said:
    """What the items of a block say, those that say anything, what others say whose turn it is, and the adapter."""

    rows: NDArray[np.int32]
    """Item rows: k of the block's, then the others; shape (K,)."""
    places: NDArray[np.int64]
    """Places of the first k in the block's rows, shape (k,)."""
    coded: NDArray[np.int8]
    """Shape (K, CONTENT)."""
    scale: NDArray[np.float32]
    mean: NDArray[np.float32]
    """μ, shape (CONTENT,)."""
    grown: NDArray[np.float32]
    """ln(1 + events) of each, shape (K,)."""
    weights: tuple[NDArray[np.float32], ...]
    """What A, B and the gate have learned, and their sums of squares."""


@dataclass(frozen=True, slots=True)
class Block:
    """Copies of all that training a block reads."""

    rows: NDArray[np.int32]
    """Item rows that occur, shape (m,)."""
    own: NDArray[np.float32]
    """Their vectors less what they are lifted by, shape (m, WIDTH)."""
    square: NDArray[np.float32]
    history: NDArray[np.int64]
    """Places in `rows`, m for nobody; shape (n, PLACES)."""
    age: NDArray[np.float32]
    context: NDArray[np.int64]
    """The surface and the kind of session of each event as rows of the prompts, PROMPTS for none; shape (n, 2)."""
    target: NDArray[np.int64]
    """Places in `rows`, shape (n,)."""
    log_share: NDArray[np.float32]
    """ln of each target's share of all events, shape (n,)."""
    pooling: tuple[NDArray[np.float32], ...]
    said: Said | None
    """None where none of the items says anything."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What a block's training wrote: the same rows, the pooling, and the adapter where it was used."""

    rows: NDArray[np.int32]
    own: NDArray[np.float32]
    square: NDArray[np.float32]
    pooling: tuple[NDArray[np.float32], ...]
    said: NDArray[np.int32]
    """`Said.rows`."""
    lift: NDArray[np.float32] | None
    """By what the items that say something are lifted now, shape (K, WIDTH)."""
    adapter: tuple[NDArray[np.float32], ...]


class InterestTrainer:
    """Trains `part` of one step. The step calls it between two events, and is the only one that does."""

    def __init__(self, part: Interest, adapter: Adapter, content: Content, popularity: Popularity) -> None:
        self._part = part
        self._adapter = adapter
        self._content = content
        self._popularity = popularity
        self._background = Background("millstream-interest")
        self._under_way: Future[Learned] | None = None

    def turn(self, items: int) -> None:
        """If the open block is full: write back what the one before taught, and begin to train it.

        `items` is how many item rows are given out.
        """
        part = self._part
        if part.filled[0] < BLOCK:
            return
        self._finish()
        events = self._popularity.facts[part.target[0], EVENTS]
        part.log_share[0] = np.log(np.maximum(events, 1) / max(1.0, self._popularity.total[ALL_TIME]))
        for array in (part.history, part.age, part.target, part.log_share, part.filled, part.prompts.context):
            array[1] = array[0]
        part.filled[0] = 0
        part.block_dirty[:] = 1
        part.prompts.block_dirty[1] = 1
        if self._content.items[0] > 0:
            self._next_turn(items)
        self.resume()

    def settle(self) -> None:
        """Write back at once what the closed block taught; afterwards there is none until the next turn.

        To be called before the content of any item changes: a block is trained on what was said when it was closed.
        """
        self._finish()
        if self._part.filled[1] > 0:
            self._part.filled[1] = 0
            self._part.block_dirty[1] = 1

    def resume(self) -> None:
        """Begin to train the closed block, if there is one: after a load, what was under way begins again."""
        if self._part.filled[1] > 0:
            block = self._copy()
            self._under_way = self._background.submit(lambda: TRAINING.train("interest_loss", block))

    def _finish(self) -> None:
        if self._under_way is None:
            return
        learned = self._under_way.result()
        self._under_way = None
        part, adapter = self._part, self._adapter
        part.vector[learned.rows] = learned.own
        part.square[learned.rows] = learned.square
        part.dirty[learned.rows] = 1
        for array, value in zip(_pooling(part), learned.pooling, strict=True):
            array[:] = value
        part.pooling_dirty[0] = 1
        part.prompts.learned_dirty[:] = 1
        if learned.lift is not None:
            adapter.lift[learned.rows] = 0.0  # their own rows alone stand there now
            said, lift = learned.said, learned.lift
            part.vector[said] = (part.vector[said] - adapter.lift[said]) + lift
            part.dirty[said] = 1
            adapter.lift[said] = lift
            adapter.dirty[said] = 1
            for array, value in zip(_weights(adapter), learned.adapter, strict=True):
                array[:] = value
            adapter.learned_dirty[0] = 1

    def _rows(self) -> NDArray[np.int32]:
        """Return the rows of the items of the closed block, rising."""
        part, n = self._part, int(self._part.filled[1])
        rows: NDArray[np.int32] = np.unique(np.concatenate([part.history[1, :n].ravel(), part.target[1, :n]]))
        return rows[np.searchsorted(rows, NOBODY, "right") :]

    def _next_turn(self, items: int) -> None:
        """Choose whose turn it is to be lifted anew, and note how far those and the block's have grown."""
        turn = self._adapter.turn
        turn[0] = turn[1] if turn[1] < items else 0
        turn[1] = min(items, turn[0] + IN_TURN)
        self._adapter.learned_dirty[0] = 1
        said, _ = self._speaking(self._rows())
        self._adapter.grown[said] = np.log1p(self._popularity.facts[said, EVENTS])
        self._adapter.dirty[said] = 1

    def _speaking(self, rows: NDArray[np.int32]) -> tuple[NDArray[np.int32], int]:
        """Return the rows that say something: a block's, then others whose turn it is; and how many are the block's."""
        scale, (first, last) = self._content.scale, self._adapter.turn
        own = rows[scale[rows] > 0]
        others = np.setdiff1d(np.arange(first, last, dtype=np.int32), rows, assume_unique=True)
        return np.concatenate([own, others[scale[others] > 0]]), len(own)

    def _copy(self) -> Block:
        part, n, rows = self._part, int(self._part.filled[1]), self._rows()
        history, target = part.history[1, :n], part.target[1, :n]
        places = np.searchsorted(rows, history)
        return Block(
            rows=rows,
            own=part.vector[rows] - self._adapter.lift[rows],
            square=part.square[rows],
            history=np.where(history == NOBODY, len(rows), places),
            age=part.age[1, :n].copy(),
            context=self._contexts(n),
            target=np.searchsorted(rows, target),
            log_share=part.log_share[1, :n].copy(),
            pooling=tuple(array.copy() for array in _pooling(part)),
            said=self._said(rows),
        )

    def _contexts(self, n: int) -> NDArray[np.int64]:
        surface, session = self._part.prompts.context[1, :n].astype(np.int64).T
        # a session under way is what the others are told from: its prompt stays 0
        rows: NDArray[np.int64] = np.full((n, 2), PROMPTS)
        rows[surface > 0, 0] = surface[surface > 0] - 1
        rows[session > 0, 1] = SURFACES + session[session > 0]
        return rows

    def _said(self, rows: NDArray[np.int32]) -> Said | None:
        c, a = self._content, self._adapter
        if c.items[0] == 0:
            return None
        said, count = self._speaking(rows)
        return Said(
            rows=said,
            places=np.searchsorted(rows, said[:count]),
            coded=c.coded[said],
            scale=c.scale[said],
            mean=(c.total / c.items[0]).astype(np.float32),
            grown=a.grown[said],
            weights=tuple(array.copy() for array in _weights(a)),
        )


def _pooling(part: Interest) -> tuple[NDArray[np.float32], ...]:
    return (
        part.matrix,
        part.query,
        part.place,
        part.rate,
        part.prompts.vector,
        part.matrix_square,
        part.query_square,
        part.place_square,
        part.rate_square,
        part.prompts.square,
    )


def _weights(a: Adapter) -> tuple[NDArray[np.float32], ...]:
    return (a.down, a.up, a.gate, a.down_square, a.up_square, a.gate_square)
