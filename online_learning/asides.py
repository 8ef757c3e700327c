"""Asides: events that are about no item, and so are taken in between two others. Written by the step alone.

An `alias` merges two users. Words (`query`, `say`) are heard, where the event brings what was understood of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from millstream.schemas.columns import InteractionColumns
from millstream.schemas.records import Kind

from .arena import Arena
from .forgetting import give_back_rows
from .merging import merge
from .ranking import Bench, Model
from .said import hear
from .vocabulary import NO_ID, NOT_ADMITTED, Vocabulary


class Asides:
    """What they do to one model."""

    def __init__(
        self, model: Model, bench: Bench, arena: Arena, users: Vocabulary, items: Vocabulary, *, exclude: bool
    ) -> None:
        self._model = model
        self._bench = bench
        self._arena = arena
        self._users = users
        self._items = items
        self._exclude = exclude

    @staticmethod
    def places(columns: InteractionColumns) -> NDArray[np.int64]:
        """Return which events are asides, rising."""
        aliases = np.flatnonzero(columns.kinds == Kind.alias)
        return aliases if columns.words is None else np.union1d(aliases, columns.words.rows)

    def take(self, columns: InteractionColumns, user: int) -> NDArray[np.int32]:
        """Take in the first event if it is one, `user` is its user's row; return the rows of all events' items.

        No other event here is an aside.
        """
        names = columns.item_ids
        if columns.kinds[0] == Kind.alias:
            self._merge(names[0], columns.user_ids[0])
            names = [NO_ID, *names[1:]]
        elif columns.words is not None and user != NOT_ADMITTED:
            words, scratch = columns.words, self._bench.scratch
            hear(
                self._model.said,
                self._model.content,
                self._model.histories,
                self._model.availability,
                user,
                words.coded[0],
                words.scale[0],
                words.intent[0],
                columns.ts_ms[0],
                len(self._items),
                scratch.liking,
                scratch.heap[0],
                scratch.heap_key[0],
            )
        return self._items.rows(names)

    def _merge(self, old_id: str, user_id: str) -> None:
        """Let all that is remembered of the user `old` be the other's from now on."""
        old, user = self._users.row(old_id), self._users.row(user_id)
        if old is None or user is None or old == user:
            return
        merge(self._model, old, user, self._exclude)
        rows = np.array([old])
        give_back_rows(self._model.consumed, self._model.impressions, rows)
        self._arena.clear(self._users.name, rows)
