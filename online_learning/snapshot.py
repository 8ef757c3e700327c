"""Snapshots: state and the positions it contains. One that is whole, and what changed since, and since that.

A name holds the event number it was made at and a running number, of which the newest has the greatest. Each file is
there whole or not at all (`snapshot_store`), and guarded by checksums (`snapshot_file`). One that holds changes only is
read behind the one it names, and that behind another, back to a whole one; so any of them can be gone back to.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .arena import Arena, Layout, layout_of
from .snapshot_file import (
    Ids,
    Rows,
    SnapshotFile,
    SnapshotWriter,
    UnreadableSnapshot,
    damaged,
    rows_at_once,
)
from .snapshot_store import Folder, Store, writing
from .snapshot_zip import FIRST_BYTES, read_zip

USERS, ITEMS, CATEGORIES = "users", "items", "categories"
_NAME = re.compile(r"state-(\d{16})(?:-(\d{6}))?\.snapshot")
IDS_AT_ONCE = 8_192


class Saved(Protocol):
    """State that was kept, to go on from."""

    @property
    def header(self) -> dict[str, Any]:
        """What it says of the state beside tables and ids."""

    @property
    def users(self) -> list[str]:
        """User ids by row."""

    @property
    def items(self) -> list[str]:
        """Item ids by row."""

    @property
    def categories(self) -> list[str]:
        """Categories by row."""

    def fill(self, arena: Arena) -> None:
        """Fill the tables that a fresh `arena` declares; others are left out. Raises `ValueError` as `Arena.load`."""


@dataclass(frozen=True, slots=True)
class Dump:
    """A copy of all state: arrays by `table/array`, the ids of the vocabularies by row, and the header."""

    header: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    users: list[str]
    items: list[str]
    categories: list[str] = field(default_factory=list)

    @property
    def seq(self) -> int:
        """Events the state contains."""
        return int(self.header["seq"])

    def fill(self, arena: Arena) -> None:
        """Fill the tables that a fresh `arena` declares; others are left out. Raises `ValueError` as `Arena.load`."""
        arena.load({name: array for name, array in self.arrays.items() if _table(name) in arena.tables})


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """A snapshot that can be gone back to, by its file."""

    turn: int
    """Its running number; 0 in format 1."""
    seq: int
    """Events it contains."""
    name: str

    @classmethod
    def at(cls, turn: int, seq: int) -> Point:
        """Return the point of a new file."""
        return cls(turn, seq, f"state-{seq:016d}-{turn:06d}.snapshot")


class Stored:
    """The files of one point, a whole one first. Raises `UnreadableSnapshot` where one is missing or not whole.

    What the rows and ids are is read, and their checksums looked at, when it is asked for.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.files = _chain(store, name)
        self.header: dict[str, Any] = {key: value for key, value in self.newest.header.items() if key != "after"}
        self._ids: dict[str, list[str]] | None = None

    @property
    def newest(self) -> SnapshotFile:
        """The file of the point itself."""
        return self.files[-1]

    @property
    def users(self) -> list[str]:
        """User ids by row."""
        return self._read_ids()[USERS]

    @property
    def items(self) -> list[str]:
        """Item ids by row."""
        return self._read_ids()[ITEMS]

    @property
    def categories(self) -> list[str]:
        """Categories by row."""
        return self._read_ids()[CATEGORIES]

    def fill(self, arena: Arena) -> None:
        """Fill the tables that a fresh `arena` declares; others are left out. Raises `ValueError` as `Arena.load`."""
        layout = {table: kept for table, kept in self.newest.layout.items() if table in arena.tables}
        arena.expect(layout)
        for frame in self._rows(layout):
            arena.put(frame.table, frame.rows, frame.arrays)
        arena.mark(layout)

    def dump(self, tables: Collection[str] | None = None) -> Dump:
        """Return a copy in memory, with `tables` only the arrays of these."""
        layout = {name: kept for name, kept in self.newest.layout.items() if tables is None or name in tables}
        arrays = {
            f"{table}/{name}": np.zeros(shape, dtype)
            for table, kept in layout.items()
            for name, (dtype, shape) in kept.items()
        }
        for frame in self._rows(layout):
            for name, values in frame.arrays.items():
                arrays[f"{frame.table}/{name}"][frame.rows] = values
        return Dump(self.header, arrays, self.users, self.items, self.categories)

    def _rows(self, layout: Layout) -> Iterable[Rows]:
        for file in self.files:
            if any(_rows_of(file.layout.get(table, {})) != _rows_of(kept) for table, kept in layout.items()):
                raise damaged(file.place, "its arrays are others than those of what comes after it")
            yield from (frame for frame in file.frames(layout) if isinstance(frame, Rows))

    def _read_ids(self) -> dict[str, list[str]]:
        if self._ids is None:
            ids: dict[str, list[str]] = {USERS: [], ITEMS: [], CATEGORIES: []}
            for file in self.files:
                for frame in file.frames(()):
                    if isinstance(frame, Ids):
                        known = ids[frame.vocabulary]
                        known += [""] * (max(frame.rows, default=-1) + 1 - len(known))
                        for row, id_ in zip(frame.rows, frame.ids, strict=True):
                            known[row] = id_
            self._ids = ids
        return self._ids


@dataclass(slots=True)
class Chain:
    """What the next file comes after: the newest one's name and checksum, and how much stands since the whole one."""

    after: tuple[str, int] | None = None
    """None: the next one has to be whole."""
    whole: str = ""
    """The name of the whole one it begins with."""
    whole_bytes: int = 0
    changes_bytes: int = 0

    @classmethod
    def of(cls, stored: Stored) -> Chain:
        """Return the chain that a snapshot read back ends."""
        files = stored.files
        changes_bytes = sum(file.bytes for file in files[1:])
        return cls((stored.newest.name, stored.newest.crc), files[0].name, files[0].bytes, changes_bytes)

    @property
    def is_long(self) -> bool:
        """Whether what changed takes half as much as the whole: from then on reading it back would take too long."""
        return self.after is None or 2 * self.changes_bytes > self.whole_bytes

    def goes_on(self, store: Store) -> bool:
        """Whether changes may follow; not where another worker has removed what they follow (`forget`)."""
        return not self.is_long and self.whole in store.names()

    def add(self, after: tuple[str, int], file_bytes: int, whole: bool) -> None:
        """Note a file that was written."""
        self.after = after
        if whole:
            self.whole, self.whole_bytes, self.changes_bytes = after[0], file_bytes, 0
        else:
            self.changes_bytes += file_bytes


def points(store: Store) -> list[Point]:
    """Return the snapshots of a store, oldest first. Raises `OSError`."""
    found = ((_NAME.fullmatch(name), name) for name in store.names())
    return sorted(Point(int(match[2] or 0), int(match[1]), name) for match, name in found if match)


def open_snapshot(store: Store, name: str) -> Saved:
    """Return a snapshot to go on from. Raises `UnreadableSnapshot`, at once or when it is used."""
    return Stored(store, name) if not _is_zip(store, name) else _dump(store, name, None)


def read_snapshot(path: Path, tables: Collection[str] | None = None) -> Dump:
    """Return a copy of a snapshot, with `tables` only the arrays of these. Raises `UnreadableSnapshot`."""
    return read_dump(Folder(path.parent), path.name, tables)


def read_dump(store: Store, name: str, tables: Collection[str] | None = None) -> Dump:
    """Return a copy of a snapshot, with `tables` only the arrays of these. Raises `UnreadableSnapshot`."""
    return _dump(store, name, tables) if _is_zip(store, name) else Stored(store, name).dump(tables)


def list_snapshots(directory: Path) -> list[Path]:
    """Return the snapshot files of a folder, oldest first."""
    return [directory / point.name for point in points(Folder(directory))]


def read_newest(directory: Path) -> Dump | None:
    """Return the newest snapshot, or None where there is none. Raises `UnreadableSnapshot` if it cannot be read."""
    paths = list_snapshots(directory)
    return read_snapshot(paths[-1]) if paths else None


def write_snapshot(dump: Dump, directory: Path, keep: int) -> Path:
    """Write `dump` as a snapshot that is whole; afterwards the `keep` newest such remain. Return its path."""
    store = Folder(directory)
    point = Point.at(next_turn(store), dump.seq)
    ids = {USERS: dump.users, ITEMS: dump.items, CATEGORIES: dump.categories}
    layout = layout_of(dump.arrays)
    with writing(store, point.name) as file:
        out = SnapshotWriter(file)
        for table, kept in layout.items():
            arrays = {name: dump.arrays[f"{table}/{name}"] for name in kept}
            for rows in stretches(min(map(len, arrays.values())), rows_at_once(arrays)):
                out.rows(table, rows, {name: array[rows] for name, array in arrays.items()})
        for vocabulary, held in ids.items():
            for rows in stretches(len(held), IDS_AT_ONCE):
                out.ids(vocabulary, rows, held[rows])
        out.end(dump.header, layout)
    forget(store, keep)
    return directory / point.name


def next_turn(store: Store) -> int:
    """Return the running number of the next file."""
    return 1 + max((point.turn for point in points(store)), default=0)


def forget(store: Store, keep: int) -> None:
    """Remove all that came before the `keep` newest whole snapshots; what cannot be read is left alone."""
    whole = []
    for point in reversed(points(store)):
        try:
            if _is_zip(store, point.name) or SnapshotFile(store, point.name).after is None:
                whole.append(point)
        except UnreadableSnapshot:
            continue
        if len(whole) == keep:
            for older in points(store):
                if older < point:
                    store.remove(older.name)
            return


def stretches(rows: int, at_once: int) -> Iterable[slice]:
    """Yield stretches of so many rows, one after the other."""
    return (slice(first, min(rows, first + at_once)) for first in range(0, rows, at_once))


def _chain(store: Store, name: str) -> list[SnapshotFile]:
    files: list[SnapshotFile] = []
    while True:
        file = SnapshotFile(store, name)
        if files and files[0].after is not None and file.crc != files[0].after[1]:
            raise damaged(files[0].place, f"{name} is not the file it comes after")
        files.insert(0, file)
        if file.after is None:
            return files
        name = file.after[0]


def _is_zip(store: Store, name: str) -> bool:
    try:
        with store.open(name) as file:
            return file.read(len(FIRST_BYTES)) == FIRST_BYTES
    except OSError as error:
        raise damaged(f"{store.address}/{name}", error) from error


def _dump(store: Store, name: str, tables: Collection[str] | None) -> Dump:
    try:
        with store.open(name) as file:
            return Dump(*read_zip(f"{store.address}/{name}", file, tables))
    except OSError as error:
        raise damaged(f"{store.address}/{name}", error) from error


def _rows_of(arrays: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> dict[str, object]:
    """Return the type of each array of a table and the shape of one row."""
    return {name: (dtype, shape[1:]) for name, (dtype, shape) in arrays.items()}


def _table(name: str) -> str:
    """Return the table that the array `table/array` is of."""
    return name.partition("/")[0]
