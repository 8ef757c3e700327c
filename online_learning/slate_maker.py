"""From ranked rows to slates: ids for rows, versions, and for each place the reasons that its score is the sum of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from millstream.schemas.records import Slate, Version
from millstream.schemas.slates import EncodedSlate, assemble_slate, read_slate

from .json_ids import JsonIds
from .kernel import Lists
from .signal import GROUPS
from .slate_writer import room, write_lists


@dataclass(frozen=True, slots=True)
class Ranked:
    """Lists with what their versions need; parallel to the rows of `lists`."""

    user_ids: list[str]
    generation: int
    positions: NDArray[np.int64]
    as_of_ms: NDArray[np.int64]
    lists: dict[str, Lists]
    """By the list's name, in the order they are published in; each has a row a user."""
    item_ids: JsonIds
    """Item ids by row."""

    def encoded(self, generated_ts_ms: int) -> list[EncodedSlate]:
        """Return one slate a user and list, all a function of the state they were made in but `generated_ts_ms`."""
        self.item_ids.catch_up()
        return [slate for name, lists in self.lists.items() for slate in self._encoded(name, lists, generated_ts_ms)]

    def slates(self, generated_ts_ms: int) -> list[Slate]:
        """Return the same slates as objects."""
        return [read_slate(each) for each in self.encoded(generated_ts_ms)]

    def _encoded(self, list_name: str, lists: Lists, generated_ts_ms: int) -> list[EncodedSlate]:
        ids = self.item_ids
        count, length = lists.item.shape
        out = np.empty((count, room(length, ids.longest)), np.uint8)
        written = np.empty(count, np.int64)
        write_lists(lists.item, lists.contribution, lists.via, ids.text, ids.ends, out, written)
        return [
            assemble_slate(
                out[row, :end].tobytes(),
                list_name=list_name,
                user_id=user_id,
                version=Version(self.generation, position, seq),
                as_of_ms=as_of_ms,
                generated_ts_ms=generated_ts_ms,
            )
            for row, (user_id, position, as_of_ms, seq, end) in enumerate(
                zip(
                    self.user_ids,
                    self.positions.tolist(),
                    self.as_of_ms.tolist(),
                    lists.seq.tolist(),
                    written.tolist(),
                    strict=True,
                )
            )
        ]


def reserve_lists(count: int, length: int) -> Lists:
    """Reserve `count` empty lists of `length` places."""
    return Lists(
        item=np.full((count, length), -1, np.int32),
        score=np.zeros((count, length), np.float32),
        contribution=np.zeros((count, length, len(GROUPS)), np.float32),
        via=np.full((count, length), -1, np.int32),
        seq=np.zeros(count, np.int64),
    )
