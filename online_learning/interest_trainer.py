"""Training of the interest vectors in torch, a block at a time, beside the step.

When a block of events is full, the rows it needs are copied out and trained on a thread of the trainer's own, while the
step fills the next block; what was learned is written back when that one is full, and waited for if it is late. So
which weights an event sees depends on the count of events alone, never on how fast a thread was.

Torch takes seconds to load, so it is loaded on that thread too (`interest_loss`), unless it is there already.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .interest import BLOCK, NOBODY, Interest
from .popularity import ALL_TIME, EVENTS, Popularity

T = TypeVar("T")

_ENDS_WITHIN_S = 10.0
"""A block takes milliseconds, loading torch some seconds."""


@dataclass(frozen=True, slots=True)
class Block:
    """Copies of all that training a block reads."""

    rows: NDArray[np.int32]
    """Item rows that occur, shape (m,)."""
    vector: NDArray[np.float32]
    square: NDArray[np.float32]
    history: NDArray[np.int64]
    """Places in `rows`, m for nobody; shape (n, PLACES)."""
    age: NDArray[np.float32]
    target: NDArray[np.int64]
    """Places in `rows`, shape (n,)."""
    log_share: NDArray[np.float32]
    """ln of each target's share of all events, shape (n,)."""
    pooling: tuple[NDArray[np.float32], ...]


@dataclass(frozen=True, slots=True)
class Learned:
    """What a block's training wrote: the same rows, and the pooling."""

    rows: NDArray[np.int32]
    vector: NDArray[np.float32]
    square: NDArray[np.float32]
    pooling: tuple[NDArray[np.float32], ...]


class InterestTrainer:
    """Trains `part` of one step. The step calls it between two events, and is the only one that does."""

    def __init__(self, part: Interest, popularity: Popularity) -> None:
        self._part = part
        self._popularity = popularity
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._under_way: Future[Learned] | None = None

    def turn(self) -> None:
        """If the open block is full: write back what the one before taught, and begin to train it."""
        part = self._part
        if part.filled[0] < BLOCK:
            return
        self._finish()
        events = self._popularity.facts[part.target[0], EVENTS]
        part.log_share[0] = np.log(np.maximum(events, 1) / max(1.0, self._popularity.total[ALL_TIME]))
        for array in (part.history, part.age, part.target, part.log_share, part.filled):
            array[1] = array[0]
        part.filled[0] = 0
        part.block_dirty[:] = 1
        self.resume()

    def settle(self) -> None:
        """Write back at once what the closed block taught; afterwards there is none until the next turn."""
        self._finish()
        if self._part.filled[1] > 0:
            self._part.filled[1] = 0
            self._part.block_dirty[1] = 1

    def resume(self) -> None:
        """Begin to train the closed block, if there is one: after a load, what was under way begins again."""
        if self._part.filled[1] > 0:
            block = self._copy()
            self._under_way = self._submit(lambda: _train(block))

    def _finish(self) -> None:
        if self._under_way is None:
            return
        learned = self._under_way.result()
        self._under_way = None
        part = self._part
        part.vector[learned.rows] = learned.vector
        part.square[learned.rows] = learned.square
        part.dirty[learned.rows] = 1
        for array, value in zip(_pooling(part), learned.pooling, strict=True):
            array[:] = value
        part.pooling_dirty[0] = 1

    def _submit(self, job: Callable[[], T]) -> Future[T]:
        if self._thread is None:
            # a daemon, and awaited for a while at the end: what hangs in torch must not keep a worker alive
            self._thread = threading.Thread(target=_work, args=(self._jobs,), name="millstream-interest", daemon=True)
            self._thread.start()
            weakref.finalize(self, _end, self._jobs, self._thread)
        future: Future[T] = Future()
        self._jobs.put(lambda: _settle(future, job))
        return future

    def _copy(self) -> Block:
        part, n = self._part, int(self._part.filled[1])
        history, target = part.history[1, :n], part.target[1, :n]
        rows = np.unique(np.concatenate([history.ravel(), target]))
        rows = rows[rows != NOBODY]
        places = np.searchsorted(rows, history)
        return Block(
            rows=rows,
            vector=part.vector[rows],
            square=part.square[rows],
            history=np.where(history == NOBODY, len(rows), places),
            age=part.age[1, :n].copy(),
            target=np.searchsorted(rows, target),
            log_share=part.log_share[1, :n].copy(),
            pooling=tuple(array.copy() for array in _pooling(part)),
        )


def _pooling(part: Interest) -> tuple[NDArray[np.float32], ...]:
    return (
        part.matrix,
        part.query,
        part.place,
        part.rate,
        part.matrix_square,
        part.query_square,
        part.place_square,
        part.rate_square,
    )


def _work(jobs: SimpleQueue[Callable[[], None] | None]) -> None:
    while (job := jobs.get()) is not None:
        job()


def _end(jobs: SimpleQueue[Callable[[], None] | None], thread: threading.Thread) -> None:
    """End the thread, at the latest when the interpreter ends: one that ends within torch aborts the process."""
    jobs.put(None)
    if thread is not threading.current_thread():
        thread.join(_ENDS_WITHIN_S)


def _settle(future: Future[T], job: Callable[[], T]) -> None:
    try:
        future.set_result(job())
    except BaseException as error:  # the step's to raise, when it asks
        future.set_exception(error)


def _train(block: Block) -> Learned:
    from .interest_loss import train  # torch takes seconds to load

    return train(block)
