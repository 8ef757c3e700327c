"""A copy of a step, made while it learns: what a snapshot is written from, without stopping the stream.

Rows are copied on another thread while events go on, so some change after they were copied; their marks say which, and
they are copied again, over and over as fewer are left, as memory is moved with a running machine (Clark et al. 2005,
"Live migration of virtual machines": pre-copy). Only the last few are copied between two events, with the positions;
from these on, all that was copied belongs to one moment.

The state hash is kept here too, from the copies: at a moment it is that of the step, and costs the step nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arena import Layout
from .digest import IdsDigest, TableDigest, hash_text
from .marks import COPY
from .snapshot import IDS_AT_ONCE, Point, next_turn, stretches
from .snapshot_file import SnapshotWriter, rows_at_once
from .snapshot_store import Store, writing
from .step import Step
from .vocabulary import Vocabulary

Where = slice | NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows to be copied, by table and by vocabulary, a number of them at once."""

    tables: Mapping[str, Sequence[Where]]
    vocabularies: Mapping[str, Sequence[Where]]
    bytes: int
    """What the rows of the tables hold."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What rows held when they were copied."""

    tables: list[tuple[str, Where, dict[str, NDArray[Any]]]]
    vocabularies: list[tuple[str, Where, list[str]]]


@dataclass(frozen=True, slots=True)
class Moment:
    """The last of what is copied, all at one moment between two events, and what a snapshot says of it."""

    copied: Copied
    header: dict[str, Any]
    layout: Layout
    rest: int
    """The hash of what is in no table."""


class LiveCopy:
    """Follows one step. `follow`, `everything`, `changed` and `moment` are called on the step's own thread.

    `copy` and `take_in` may run on another thread meanwhile, one at a time.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._vocabularies = {each.name: each for each in (step.users, step.items, step.categories)}
        self._tables = {name: TableDigest(name, table.rows) for name, table in step.arena.tables.items()}
        self._ids = {name: IdsDigest(name) for name in self._vocabularies}
        self.follow()

    def is_of(self, step: Step) -> bool:
        """Whether it is a copy of this one."""
        return self._step is step

    def follow(self) -> None:
        """Begin to keep what changes from now on."""
        for table in self._step.arena.tables.values():
            table.marks.follow(COPY)
        for vocabulary in self._vocabularies.values():
            vocabulary.marks.follow(COPY)

    def everything(self) -> Changes:
        """Return all rows that may hold anything."""
        arena = self._step.arena
        tables = {
            name: list(stretches(table.used(), rows_at_once(table.arrays))) for name, table in arena.tables.items()
        }
        ids = {name: list(stretches(len(held), IDS_AT_ONCE)) for name, held in self._vocabularies.items()}
        return Changes(tables, ids, sum(arena.used_bytes().values()))

    def changed(self) -> Changes:
        """Return the rows that changed since this was last asked, or since `follow`."""
        tables = {}
        total = 0
        for name, table in self._step.arena.tables.items():
            rows = table.marks.take(COPY)
            if len(rows):
                tables[name] = list(_pieces(rows, rows_at_once(table.arrays)))
                total += len(rows) * sum(array[:1].nbytes for array in table.arrays.values())
        ids = {
            name: list(_pieces(rows, IDS_AT_ONCE))
            for name, vocabulary in self._vocabularies.items()
            if len(rows := vocabulary.marks.take(COPY))
        }
        return Changes(tables, ids, total)

    def moment(self, meta: dict[str, Any]) -> Moment:
        """Copy what changed since `changed` was last asked, with what belongs to it."""
        step, changes = self._step, self.changed()
        copied = Copied(
            [(table, rows, self._rows(table, rows)) for table, pieces in changes.tables.items() for rows in pieces],
            [
                (name, rows, _ids(self._vocabularies[name], rows))
                for name, pieces in changes.vocabularies.items()
                for rows in pieces
            ],
        )
        return Moment(copied, step.header(meta), step.arena.layout(), step.rest())

    def copy(self, changes: Changes) -> Iterator[Copied]:
        """Yield what rows hold now, a piece at a time."""
        for table, pieces in changes.tables.items():
            for rows in pieces:
                yield Copied([(table, rows, self._rows(table, rows))], [])
        for name, pieces in changes.vocabularies.items():
            for rows in pieces:
                yield Copied([], [(name, rows, _ids(self._vocabularies[name], rows))])

    def take_in(self, copied: Copied, out: SnapshotWriter | None) -> None:
        """Take what was copied into the hash, and write it."""
        for table, rows, arrays in copied.tables:
            self._tables[table].update(_numbers(rows), arrays)
            if out is not None:
                out.rows(table, rows, arrays)
        for name, rows, ids in copied.vocabularies:
            self._ids[name].update(_numbers(rows).tolist(), ids)
            if out is not None:
                out.ids(name, rows, ids)

    def state_hash(self, moment: Moment) -> str:
        """Return the step's state hash at a moment whose copies were taken in, the last of all."""
        apart = {name for name, table in self._step.arena.tables.items() if table.apart}
        tables = sum(digest.value for name, digest in self._tables.items() if name not in apart)
        return hash_text(tables + sum(digest.value for digest in self._ids.values()) + moment.rest)

    def _rows(self, table: str, rows: Where) -> dict[str, NDArray[Any]]:
        arrays = self._step.arena.tables[table].arrays
        # a stretch is a view, rows by number are a copy already
        return {name: array[rows].copy() if isinstance(rows, slice) else array[rows] for name, array in arrays.items()}


def _ids(vocabulary: Vocabulary, rows: Where) -> list[str]:
    return vocabulary.ids[rows] if isinstance(rows, slice) else [vocabulary.ids[row] for row in rows.tolist()]


def _numbers(rows: Where) -> NDArray[np.int64]:
    return np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows


def _pieces(rows: NDArray[np.int64], at_once: int) -> Iterator[NDArray[np.int64]]:
    return (rows[first : first + at_once] for first in range(0, len(rows), at_once))


def write_whole(step: Step, store: Store, header: dict[str, Any]) -> Point:
    """Write a whole snapshot of a step that stands still, as the newest; `header` goes beside what the step says."""
    copy = LiveCopy(step)
    point = Point.at(next_turn(store), step.seq)
    with writing(store, point.name) as file:
        out = SnapshotWriter(file)
        for copied in copy.copy(copy.everything()):
            copy.take_in(copied, out)
        moment = copy.moment({})
        out.end({**moment.header, **header}, moment.layout)
    return point
