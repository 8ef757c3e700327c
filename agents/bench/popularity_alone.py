"""The baseline of `bench learn`: the same loop over the same log that only counts, and lists what was chosen most."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from millstream.online_learning.evaluation import CHUNK_EVENTS
from millstream.online_learning.kinds import TEACHING
from millstream.schemas.columns import InteractionColumns


class PopularityAlone:
    """All-time counts, the items kept in order: an event moves its item past all it overtakes in one exchange."""

    def __init__(self) -> None:
        self.order: list[str] = []
        """Item ids by falling count."""
        self._place: dict[str, int] = {}
        self._count: dict[str, int] = {}
        self._first: dict[int, int] = {}  # by count, the place of the first item that has it
        self._with: dict[int, int] = {}  # by count, how many items have it

    def rank(self, item_id: str) -> float | None:
        """Return 1 + #(above) + #(tied with it) / 2, None for an item never chosen."""
        count = self._count.get(item_id)
        return None if count is None else self._first[count] + (1 + self._with[count]) / 2

    def count(self, item_id: str) -> None:
        """Count one choice."""
        count = self._count.get(item_id, 0)
        if count == 0:
            place = first = self._place[item_id] = len(self.order)
            self.order.append(item_id)
        else:
            place, first = self._place[item_id], self._first[count]
            other = self.order[first]
            self.order[first], self.order[place] = item_id, other
            self._place[item_id], self._place[other] = first, place
            self._first[count] = first + 1
            self._with[count] -= 1
        self._count[item_id] = count + 1
        self._with[count + 1] = self._with.get(count + 1, 0) + 1
        if self._with[count + 1] == 1:
            self._first[count + 1] = first


def popularity_alone(columns: InteractionColumns, *, length: int, exclude: bool, lists: bool) -> int:
    """Rank and count every choice; with `lists` also list after each, for its user. Return how many lists were made.

    With `exclude`, what the user already chose is left out of the list.
    """
    popular, consumed, made = PopularityAlone(), dict[str, set[str]](), 0
    for first in range(0, len(columns), CHUNK_EVENTS):
        chunk = columns.cut(first, min(len(columns), first + CHUNK_EVENTS))
        for user_id, item_id, teaching in zip(
            chunk.user_ids, chunk.item_ids, TEACHING[chunk.kinds].tolist(), strict=True
        ):
            if not teaching:
                continue
            popular.rank(item_id)
            popular.count(item_id)
            if exclude:
                consumed.setdefault(user_id, set()).add(item_id)
            if lists:
                made += bool(list(itertools.islice(_offered(popular, consumed.get(user_id)), length)))
    return made


def _offered(popular: PopularityAlone, had: set[str] | None) -> Iterator[str]:
    return iter(popular.order) if had is None else (item_id for item_id in popular.order if item_id not in had)
