"""What is trained in torch beside the step: the interest vectors and, where it is on, the session transformer.

Both are trained in the same blocks. Whatever waits for one waits for both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .interest import BLOCK, drop_targets
from .interest_trainer import InterestTrainer
from .ranking import Model
from .session import drop_session, is_read
from .session_trainer import SessionTrainer


class Trainers:
    """Trains parts of the model of one step. The step calls it between two events, and is the only one that does."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._interest = InterestTrainer(model.interest, model.adapter, model.content, model.popularity)
        self._session = SessionTrainer(model.session, model.interest) if is_read(model.session) else None

    def turn(self, items: int) -> None:
        """If the open block is full: write back what the one before taught, and begin to train it.

        `items` is how many item rows are given out.
        """
        if self._model.interest.filled[0] < BLOCK:
            return
        if self._session is not None:
            self._session.settle()  # trained on vectors as they were: before these are written back
        self._interest.turn(items)
        if self._session is not None:
            self._session.turn()

    def settle(self) -> None:
        """Write back at once what the closed block taught; afterwards there is none until the next turn.

        To be called before the content of any item changes: a block is trained on what was said when it was closed.
        """
        if self._session is not None:
            self._session.settle()
        self._interest.settle()

    def resume(self) -> None:
        """Begin to train the closed block, if there is one: after a load, what was under way begins again."""
        self._interest.resume()
        if self._session is not None:
            self._session.resume()

    def forget(self, gone: NDArray[np.bool_]) -> None:
        """Take the items that are `gone`, shape (items,), out of what is to be trained on; after `settle`."""
        if self._session is not None:
            drop_session(self._model.session, self._model.interest, gone)
            self._session.forget(gone)
        drop_targets(self._model.interest, gone)
