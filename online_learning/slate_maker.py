"""From ranked rows to slates: ids for rows, and for each place the reasons that its score is the sum of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from millstream.schemas.records import Reason, ScoredItem, Slate, Version

from .kernel import Lists
from .signal import GROUPS

TOGETHER, YOURS = "together", "yours"


@dataclass(frozen=True, slots=True)
class Ranked:
    """Lists with what their versions need; parallel to the rows of `lists`."""

    list_name: str
    user_ids: list[str]
    generation: int
    positions: NDArray[np.int64]
    as_of_ms: NDArray[np.int64]
    lists: Lists
    item_ids: Sequence[str]
    """Item id by row: the vocabulary's own list, which only ever grows at its end."""

    def slates(self, generated_ts_ms: int) -> list[Slate]:
        """Return one slate a user. All but `generated_ts_ms` is a function of the state the lists were made in.

        Reasons name the group of signals, its part of the score, and for TOGETHER the item of the user's history that
        speaks most for it.
        """
        ids = self.item_ids
        lists = self.lists
        slates = []
        for user_id, position, as_of_ms, seq, items, contributions, via in zip(
            self.user_ids,
            self.positions.tolist(),
            self.as_of_ms.tolist(),
            lists.seq.tolist(),
            lists.item.tolist(),
            np.round(lists.contribution.astype(np.float64), 5).tolist(),
            lists.via.tolist(),
            strict=True,
        ):
            places = tuple(
                _place(ids[item], parts, ids[source] if source >= 0 else "")
                for item, parts, source in zip(items, contributions, via, strict=True)
                if item >= 0
            )
            slates.append(
                Slate(
                    slate_id=f"{user_id}@{self.generation}.{position}.{seq}",
                    list=self.list_name,
                    user_id=user_id,
                    items=places,
                    version=Version(self.generation, position, seq),
                    as_of_ms=as_of_ms,
                    generated_ts_ms=generated_ts_ms,
                )
            )
        return slates


def _place(item_id: str, parts: list[float], source: str) -> ScoredItem:
    """Return a place with the reasons that say something; TOGETHER names the item of the history that it is from."""
    evidence = {TOGETHER: source, YOURS: item_id}
    reasons = [
        Reason(group, part, evidence.get(group, "")) for group, part in zip(GROUPS, parts, strict=True) if part != 0.0
    ]
    return ScoredItem(item_id, sum(parts), tuple(reasons))


def reserve_lists(count: int, length: int) -> Lists:
    """Reserve `count` empty lists of `length` places."""
    return Lists(
        item=np.full((count, length), -1, np.int32),
        score=np.zeros((count, length), np.float32),
        contribution=np.zeros((count, length, len(GROUPS)), np.float32),
        via=np.full((count, length), -1, np.int32),
        seq=np.zeros(count, np.int64),
    )
