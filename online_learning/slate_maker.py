"""From ranked rows to slates: ids for rows, versions, and for each place the reasons that its score is the sum of."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millstream.schemas.records import Slate, Version
from millstream.schemas.slates import EncodedSlate, assemble_slate, read_slate

from .json_ids import JsonIds
from .kernel import NOWHERE, Events, Lists, learn_events
from .measured import reserve_measured
from .ranking import Bench, Model
from .signal import GROUPS
from .slate_writer import room, write_lists


@dataclass(slots=True, weakref_slot=True, eq=False)
class Ranked:
    """Lists with what their versions need; parallel to the rows of `lists`.

    They may be encoded at any time: should a row that they hold be about to go to another id, they are written first.
    """

    user_ids: list[str]
    generations: NDArray[np.int64]
    positions: NDArray[np.int64]
    as_of_ms: NDArray[np.int64]
    lists: dict[str, Lists]
    """By the list's name, in the order they are published in; each has a row a user."""
    item_ids: JsonIds
    """Item ids by row."""
    texts: dict[str, list[bytes]] | None = None
    """By the list's name, the items of each row as JSON; once written."""

    def __post_init__(self) -> None:
        if self.texts is None:
            self.item_ids.expect(self)

    def write(self) -> dict[str, list[bytes]]:
        """Write the lists' items with the ids that their rows have; the first time counts. Return `texts`."""
        if self.texts is None:
            self.item_ids.catch_up()
            self.texts = {name: self._written(lists) for name, lists in self.lists.items()}
        return self.texts

    def encoded(self, generated_ts_ms: int) -> list[EncodedSlate]:
        """Return one slate a user and list, all a function of the state they were made in but `generated_ts_ms`."""
        return [
            assemble_slate(
                text,
                list_name=name,
                user_id=user_id,
                version=Version(generation, position, seq),
                as_of_ms=as_of_ms,
                generated_ts_ms=generated_ts_ms,
            )
            for name, texts in self.write().items()
            for text, user_id, generation, position, as_of_ms, seq in zip(
                texts,
                self.user_ids,
                self.generations.tolist(),
                self.positions.tolist(),
                self.as_of_ms.tolist(),
                self.lists[name].seq.tolist(),
                strict=True,
            )
        ]

    def slates(self, generated_ts_ms: int) -> list[Slate]:
        """Return the same slates as objects."""
        return [read_slate(each) for each in self.encoded(generated_ts_ms)]

    def _written(self, lists: Lists) -> list[bytes]:
        ids = self.item_ids
        count, length = lists.item.shape
        out = np.empty((count, room(length, ids.longest)), np.uint8)
        written = np.empty(count, np.int64)
        parts, evidence = lists.contribution, lists.evidence
        write_lists(lists.item, parts, evidence, lists.propensity, ids.text, ids.begins, ids.ends, out, written)
        return [out[row, :end].tobytes() for row, end in enumerate(written.tolist())]


def joined(parts: list[Ranked]) -> Ranked:
    """Return the lists of parts that follow one another, at least one, as one."""
    if len(parts) == 1:
        return parts[0]
    names = list(parts[0].lists)
    return Ranked(
        user_ids=[user_id for part in parts for user_id in part.user_ids],
        generations=np.concatenate([part.generations for part in parts]),
        positions=np.concatenate([part.positions for part in parts]),
        as_of_ms=np.concatenate([part.as_of_ms for part in parts]),
        lists={name: _end_to_end([part.lists[name] for part in parts]) for name in names},
        item_ids=parts[0].item_ids,
        texts={name: [text for part in parts for text in part.write()[name]] for name in names},
    )


def _end_to_end(parts: list[Lists]) -> Lists:
    return Lists(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def reserve_lists(count: int, length: int) -> Lists:
    """Reserve `count` empty lists of `length` places."""
    return Lists(
        item=np.full((count, length), -1, np.int32),
        score=np.zeros((count, length), np.float32),
        contribution=np.zeros((count, length, len(GROUPS)), np.float32),
        evidence=np.full((count, length, len(GROUPS)), -1, np.int32),
        propensity=np.full((count, length), np.nan, np.float32),
        seq=np.zeros(count, np.int64),
    )


def list_all(model: Model, benches: Sequence[Bench], looked: Events, exclude: bool, lists: Lists, buys: Lists) -> None:
    """Make the lists of what is no event (`kernel.looks`), on as many threads as there are benches.

    Ranking reads the model and writes to its bench and its own lists, so what comes out is the same on any number.
    """
    bounds = np.linspace(0, len(looked.user), len(benches) + 1).astype(np.int64).tolist()

    def list_some(work: Bench, first: int, last: int) -> None:
        some: list[Any] = [column[first:last] for column in looked]
        unmeasured = reserve_measured(last - first)
        learn_events(model, work, Events(*some), 0, NOWHERE, 0, exclude, 1, 0, unmeasured, lists, buys)

    if len(benches) == 1:
        list_some(benches[0], 0, len(looked.user))
        return
    with ThreadPoolExecutor(len(benches)) as pool:
        list(pool.map(list_some, benches, bounds, bounds[1:]))
