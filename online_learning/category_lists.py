"""Popular lists of categories: what somebody nothing is known of is shown who asks for one category.

The items of a category that were chosen most lately (the popularity count of half-life 1,000 events, then all-time) are
scored as for an unknown user, by the same signals and blend as every list; so the reasons sum to the score here too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .availability import Availability
from .categories import EACH, Categories
from .changed import Changed
from .compiled import entry
from .given import list_given
from .heap import offer
from .json_ids import JsonIds
from .kernel import Lists
from .popularity import EVENTS, Popularity, counted
from .ranking import Bench, Model
from .scratch import CAP
from .similar import AsOf
from .slate_maker import Ranked, reserve_lists
from .vocabulary import Vocabulary

CATEGORY = "category"
"""The name of a category's list."""
H1000 = 1
_PER_EVENT = np.float32(1e-9)


class CategoryLists:
    """Makes the lists of categories, and knows which have changed since theirs was made. The step's thread owns it.

    A category's list stands under its own name. Making one changes no state.
    """

    def __init__(
        self,
        model: Model,
        bench: Bench,
        items: Vocabulary,
        categories: Vocabulary,
        item_ids: JsonIds,
        list_length: int,
        as_of: Callable[[], AsOf],
    ) -> None:
        self._model = model
        self._bench = bench
        self._items = items
        self._categories = categories
        self._item_ids = item_ids
        self._list_length = list_length
        self._as_of = as_of
        self._changed = Changed(categories.capacity)

    def note(self, rows: NDArray[np.int32] | Sequence[int]) -> None:
        """Mark the categories of items that were chosen or described; item rows below 0 are nobody's."""
        items = np.asarray(rows, np.int64)
        self._changed.note(self._model.categories.of[items[items >= 0]].reshape(-1) - 1)

    def changed(self, most: int) -> Ranked:
        """Return the lists of at most `most` categories that changed since theirs were made, in turns."""
        return self._made(self._changed.take(most))

    def of(self, names: Sequence[str]) -> Ranked:
        """Return the lists of these as of now. Names not known are passed over."""
        rows = [row for name in names if (row := self._categories.row(name)) is not None]
        return self._made(np.array(rows, np.int64))

    def names(self) -> list[str]:
        """Return the categories."""
        return self._categories.ids[:]

    def _made(self, rows: NDArray[np.int64]) -> Ranked:
        as_of, n = self._as_of(), len(rows)
        lists = reserve_lists(n, self._list_length)
        for row, category in enumerate(rows.tolist()):
            self._list(category, as_of, lists, row)
        lists.seq[:] = as_of.revision
        return Ranked(
            user_ids=[self._categories.ids[row] for row in rows.tolist()],
            generations=np.full(n, as_of.generation),
            positions=np.full(n, as_of.seq),
            as_of_ms=np.full(n, as_of.last_ms),
            lists={CATEGORY: lists},
            item_ids=self._item_ids,
        )

    def _list(self, category: int, as_of: AsOf, lists: Lists, row: int) -> None:
        m, nobody = self._model, len(self._model.histories.held) - 1
        best, count, found = np.zeros(CAP, np.int32), np.zeros(CAP, np.float32), np.zeros(3)
        n = best_of(
            m.popularity,
            m.categories,
            m.availability,
            category,
            len(self._items),
            as_of.seq,
            as_of.last_ms,
            best,
            count,
        )
        list_given(m, self._bench, nobody, best[:n], True, as_of.last_ms, as_of.seq, False, False, lists, row, found)


@entry
def best_of(
    p: Popularity,
    g: Categories,
    a: Availability,
    category: int,
    items: int,
    seq: int,
    now_ms: int,
    out: NDArray[np.int32],
    count: NDArray[np.float32],
) -> int:
    """Write the items of a category that were chosen most lately, of the first `items` rows; return how many.

    `out` has room for CAP of them, `count` is scratch of the same shape.
    """
    held = 0
    for item in range(items):
        if p.facts[item, EVENTS] > 0 and not a.off[item]:
            for at in range(EACH):
                if g.of[item, at] == category + 1:
                    value = counted(p, item, H1000, seq, now_ms) + _PER_EVENT * p.facts[item, EVENTS]
                    held = offer(out, count, held, CAP, item, np.float32(value))
    return held
