"""Similar items: what the users who chose an item chose besides, by the edges that ranking walks.

Item j is as similar to i as their LONG edge is strong beside how often both are chosen (the cosine of implicit
feedback; Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001):

    s_ij = LONG_ij / sqrt(M_i · M_j),  M the sum of all LONG edges of an item, all as of now

Making a list changes no state. Which items have changed since their list was made is kept beside the state, not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .availability import Availability
from .changed import Changed
from .compiled import entry, inlined, kernel
from .covisitation import LONG_MASS, LONG_PER_TICK, TICK, Covisitation, ticks
from .decay import halved
from .json_ids import JsonIds
from .kernel import Lists
from .ranking import Model
from .shown import SHORT_VALUES, short
from .signal import TINY, TOGETHER
from .slab import UNIT
from .slate_maker import Ranked, reserve_lists
from .vocabulary import Vocabulary

SIMILAR = "similar"
"""The name of an item's list."""


class AsOf(NamedTuple):
    """What the version of a list made now says."""

    seq: int
    generation: int
    revision: int
    last_ms: int
    """Timestamp of the last record learned."""


class SimilarLists:
    """Makes the lists of items, and knows which have changed since theirs was made. The step's thread owns it.

    An item's list stands under its own id. Making one changes no state.
    """

    def __init__(
        self, model: Model, items: Vocabulary, item_ids: JsonIds, list_length: int, as_of: Callable[[], AsOf]
    ) -> None:
        self._model = model
        self._items = items
        self._item_ids = item_ids
        self._list_length = list_length
        self._as_of = as_of
        self._changed = Changed(items.capacity)
        self._places: NDArray[np.uint16] = np.zeros((items.capacity, list_length), np.uint16)
        self._known = np.zeros(items.capacity, np.bool_)
        """Whose lists were made here, so that `_places` says what they hold."""

    def note(self, rows: NDArray[np.int32]) -> None:
        """Mark the items of a slice, whose edges have changed; rows below 0 are nobody's."""
        self._changed.note(rows)

    def withdraw(self, rows: Sequence[int]) -> None:
        """Mark the items whose lists hold these, and those of whose lists it is not known here what they hold."""
        if not rows:
            return
        n = len(self._items)
        withdrawn = np.zeros(SHORT_VALUES, np.bool_)
        withdrawn[short(np.array(rows, np.int32))] = True
        unknown = ~self._known[:n] & (self._model.covisitation.length[:n] > 0)
        self._changed.note(np.flatnonzero(unknown | withdrawn[self._places[:n]].any(axis=1)))

    def changed(self, most: int) -> Ranked:
        """Return the lists of at most `most` items whose edges changed since theirs were made, by row and round."""
        rows = self._changed.take(most)
        return self._made(rows[self._items.is_held[rows]])

    def of(self, item_ids: Sequence[str]) -> Ranked:
        """Return the lists of these as of now. Ids not known are passed over."""
        rows = [row for id_ in item_ids if (row := self._items.row(id_)) is not None]
        return self._made(np.array(rows, np.int64))

    def names(self) -> list[str]:
        """Return the items that have a list."""
        has_edges = self._items.is_held & (self._model.covisitation.length[: self._items.capacity] > 0)
        return [self._items.ids[row] for row in np.flatnonzero(has_edges).tolist()]

    def _made(self, rows: NDArray[np.int64]) -> Ranked:
        m, as_of = self._model, self._as_of()
        lists = reserve_lists(len(rows), self._list_length)
        list_similar(m.covisitation, m.limbo.item, m.availability, rows, as_of.seq, lists)
        lists.seq[:] = as_of.revision
        self._places[rows], self._known[rows] = short(lists.item), True
        return Ranked(
            user_ids=[self._items.ids[row] for row in rows.tolist()],
            generations=np.full(len(rows), as_of.generation),
            positions=np.full(len(rows), as_of.seq),
            as_of_ms=np.full(len(rows), as_of.last_ms),
            lists={SIMILAR: lists},
            item_ids=self._item_ids,
        )


@entry
def list_similar(
    c: Covisitation,
    in_limbo: NDArray[np.bool_],
    a: Availability,
    items: NDArray[np.int64],
    seq: int,
    lists: Lists,
) -> None:
    """Write into row n of `lists` what is similar to `items[n]` as of event `seq`. Ties go to the lower row."""
    tick = seq // TICK
    for row in range(len(items)):
        lists.seq[row] = seq
        mine = _mass(c, items[row], tick)
        first, length, held = c.start[items[row]], c.length[items[row]], 0
        for place in range(length):
            unit, at = first + place // UNIT, place % UNIT
            other = c.neighbour[unit, at]
            if in_limbo[other] or a.off[other]:
                continue
            strength = c.long[unit, at] * halved(ticks(tick, c.touch[unit]) * LONG_PER_TICK)
            held = _offer(lists, row, held, other, strength / np.sqrt(mine * _mass(c, other, tick) + TINY))
        lists.item[row, held:] = -1
        for place in range(held):
            lists.contribution[row, place] = 0.0
            lists.contribution[row, place, TOGETHER] = lists.score[row, place]
            lists.evidence[row, place] = -1
            lists.evidence[row, place, TOGETHER] = items[row]


@inlined
def _mass(c: Covisitation, item: int, tick: int) -> np.float32:
    """Return the sum of the item's LONG edges at `tick`."""
    return np.float32(c.mass[item, LONG_MASS] * halved(ticks(tick, c.mass_touch[item]) * LONG_PER_TICK))


@kernel
def _offer(lists: Lists, row: int, held: int, item: int, score: np.float32) -> int:
    """Put an item where it belongs among the `held` best of the row; return how many there are then."""
    items, scores = lists.item[row], lists.score[row]
    at = held
    while at > 0 and (score > scores[at - 1] or (score == scores[at - 1] and item < items[at - 1])):
        at -= 1
    if at == len(items):
        return held
    held = min(held + 1, len(items))
    for later in range(held - 1, at, -1):
        items[later] = items[later - 1]
        scores[later] = scores[later - 1]
    items[at] = item
    scores[at] = score
    return held
