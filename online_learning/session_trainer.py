"""Training of the session transformer in torch, beside the step, in the blocks of the interest vectors.

What a block teaches counts from the end of the next one on, as theirs does (`interest_trainer`). Of a user's events in
a block, one sequence is trained on: the history before the last of them, all places at once, each telling what came
next where that is an event of this block. Beside them, REPLAYED sequences of earlier blocks are trained on again,
drawn from a ring by the number of the block.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .background import Background
from .interest import NOBODY, Interest
from .session import LENGTH, REPLAY, Session
from .torch_process import TRAINING

REPLAYED = 32
_SEED = 20_261_129


@dataclass(frozen=True, slots=True)
class Sequences:
    """Histories, oldest first, and what is to be told at each place; S of them."""

    items: NDArray[np.int32]
    """1 + the item, and 1 + the one to be told there, 0 for none; shape (S, 2, LENGTH)."""
    said: NDArray[np.uint8]
    """Kind and gap, shape (S, 2, LENGTH)."""
    share: NDArray[np.float32]
    """ln of the share of all events of the item to be told, shape (S, LENGTH)."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """Copies of all that training reads."""

    sequences: Sequences
    """Those of the block, then what is replayed."""
    new: int
    """How many are the block's."""
    rows: NDArray[np.int32]
    """Item rows that occur, shape (m,)."""
    known: NDArray[np.float32]
    """Their interest vectors, shape (m, WIDTH)."""
    item: NDArray[np.float32]
    square: NDArray[np.float32]
    row: NDArray[np.float32]
    row_square: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Taught:
    """What training wrote."""

    rows: NDArray[np.int32]
    item: NDArray[np.float32]
    square: NDArray[np.float32]
    row: NDArray[np.float32]
    row_square: NDArray[np.float32]
    new: Sequences


class SessionTrainer:
    """Trains `part` of one step, from the closed block of `interest`. One caller: `Trainers`."""

    def __init__(self, part: Session, interest: Interest) -> None:
        self._part = part
        self._interest = interest
        self._background = Background("millstream-session")
        self._under_way: Future[Taught] | None = None

    def turn(self) -> None:
        """Write back what the block before taught, and begin to train the one just closed."""
        self.settle()
        for array in (self._part.kind, self._part.gap):
            array[1] = array[0]
        self._part.block_dirty[1] = 1
        self.resume()

    def resume(self) -> None:
        """Begin to train the closed block, if there is one: after a load, what was under way begins again."""
        if self._interest.filled[1] > 0:
            lesson = self._lesson()
            self._under_way = self._background.submit(lambda: TRAINING.train("session_loss", lesson))

    def settle(self) -> None:
        """Write back at once what the block under way teaches."""
        if self._under_way is None:
            return
        taught = self._under_way.result()
        self._under_way = None
        part = self._part
        part.item[taught.rows] = taught.item
        part.square[taught.rows] = taught.square
        part.dirty[taught.rows] = 1
        part.row[:] = taught.row
        part.row_square[:] = taught.row_square
        part.row_dirty[0] = 1
        self._keep(taught.new)

    def forget(self, gone: NDArray[np.bool_]) -> None:
        """Drop the sequences kept that hold an item that is `gone`, shape (items,); after `settle`."""
        held = self._part.replay
        rows = np.flatnonzero((gone[held - 1] & (held > 0)).any(axis=(1, 2)))
        self._put(rows, Sequences(held[rows] * 0, self._part.replay_said[rows] * 0, self._part.replay_share[rows] * 0))

    def _keep(self, new: Sequences) -> None:
        part, count = self._part, len(new.items)
        self._put((part.turns[1] + np.arange(count)) % REPLAY, new)
        part.turns[0] += 1
        part.turns[1] += count
        part.turns_dirty[0] = 1

    def _put(self, rows: NDArray[np.int64], sequences: Sequences) -> None:
        part = self._part
        part.replay[rows] = sequences.items
        part.replay_said[rows] = sequences.said
        part.replay_share[rows] = sequences.share
        part.replay_dirty[rows] = 1

    def _lesson(self) -> Lesson:
        part, v = self._part, self._interest
        n = int(v.filled[1])
        new = sequences_of(
            v.history[1, :n, :LENGTH], v.target[1, :n], v.log_share[1, :n], part.kind[1, :n], part.gap[1, :n]
        )
        kept = min(REPLAY, int(part.turns[1]))
        drawn = np.random.default_rng((_SEED, int(part.turns[0]))).integers(0, max(1, kept), min(REPLAYED, kept))
        whole = Sequences(
            np.concatenate([new.items, part.replay[drawn]]),
            np.concatenate([new.said, part.replay_said[drawn]]),
            np.concatenate([new.share, part.replay_share[drawn]]),
        )
        rows = np.unique(whole.items)
        rows = (rows[rows > 0] - 1).astype(np.int32)
        return Lesson(
            sequences=whole,
            new=len(new.items),
            rows=rows,
            known=v.vector[rows],
            item=part.item[rows],
            square=part.square[rows],
            row=part.row.copy(),
            row_square=part.row_square.copy(),
        )


def sequences_of(
    history: NDArray[np.int32],
    target: NDArray[np.int32],
    log_share: NDArray[np.float32],
    kind: NDArray[np.uint8],
    gap: NDArray[np.uint8],
) -> Sequences:
    """Return the sequences of a block: its events told once each, as few sequences as that takes.

    An event whose history is another's with that one's target in front comes after it: it tells both, LENGTH at most.
    `history`, shape (n, LENGTH), is newest first, NOBODY beyond its end.
    """
    n = len(target)
    before = np.full(n, -1)
    covers = np.zeros(n, np.int64)  # how many events after it, up to the sequence that tells it
    later: dict[bytes, list[int]] = {}
    for at in range(n - 1, -1, -1):
        follows = later.get(np.append(target[at], history[at, :-1]).tobytes())
        if follows:
            after = follows.pop()
            before[after] = at
            covers[at] = covers[after] + 1
        later.setdefault(history[at].tobytes(), []).append(at)
    ends = np.flatnonzero(covers % LENGTH == 0)
    items = np.zeros((len(ends), 2, LENGTH), np.int32)
    said = np.zeros((len(ends), 2, LENGTH), np.uint8)
    share = np.zeros((len(ends), LENGTH), np.float32)
    for row, end in enumerate(ends.tolist()):
        held = int(np.count_nonzero(history[end] != NOBODY))
        items[row, 0, :held] = history[end, :held][::-1] + 1
        said[row, 0, :held] = kind[end, :held][::-1]
        said[row, 1, :held] = gap[end, :held][::-1]
        at = end
        for place in range(held - 1, -1, -1):
            items[row, 1, place] = target[at] + 1
            share[row, place] = log_share[at]
            at = before[at]
            if at < 0:
                break
    return Sequences(items, said, share)
