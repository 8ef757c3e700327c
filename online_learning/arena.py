"""The state arena: every part keeps its state in named, row-addressed arrays that live here.

Snapshots, the state hash and byte counts are made once, here, and not part by part. An array is reserved at its cap
when it is declared: the operating system hands out memory only for rows that were touched, so nothing is ever moved
and kernels may hold on to what they were given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .digest import MASK_128, TableDigest, hash_text
from .marks import HASH, Marks

Layout = Mapping[str, Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]]
"""By table and array: the type, and the shape of all rows that may hold anything."""

_HASHED_AT_ONCE = 16_384
"""Rows, which are copied for it."""


@dataclass(slots=True)
class Table:
    """Arrays that share one row addressing, and one mark a row (`marks`)."""

    name: str
    rows: int
    used: Callable[[], int]
    """How many rows, from the first, may hold anything: what is dumped. It never falls."""
    of: str
    """The vocabulary whose rows these are; empty: none's."""
    later: bool
    """Whether there are snapshots from before there was this table: it is empty then."""
    apart: bool = False
    """Whether what it holds came from another device than the processor: its digest is no part of the state's."""
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    widened: set[str] = field(default_factory=set)
    """Arrays of which there are snapshots with fewer columns: the last ones then stay as they began."""
    marks: Marks = field(init=False)
    dirty: NDArray[np.uint8] = field(init=False)
    """The marks that a writer sets: `dirty[row] = 1` whenever it changes any array at `row`."""
    _digest: TableDigest = field(init=False)

    def __post_init__(self) -> None:
        self.marks = Marks(self.rows)
        self.dirty = self.marks.dirty
        self._digest = TableDigest(self.name, self.rows)

    def array(self, name: str, dtype: DTypeLike, *shape: int, widened: bool = False) -> NDArray[Any]:
        """Declare and return a zeroed array of shape (rows, *shape)."""
        self.arrays[name] = np.zeros((self.rows, *shape), dtype)
        if widened:
            self.widened.add(name)
        return self.arrays[name]

    def can_hold(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
        """Whether an array of a snapshot can be read into the one of this name."""
        array = self.arrays[name]
        if dtype != array.dtype or len(shape) != array.ndim or shape[0] > len(array):
            return False
        if name in self.widened:
            return shape[1:-1] == array.shape[1:-1] and shape[-1] <= array.shape[-1]
        return shape[1:] == array.shape[1:]

    def clear(self, rows: NDArray[np.int64]) -> None:
        """Set all arrays to 0 at `rows`."""
        for array in self.arrays.values():
            array[rows] = 0
        self.dirty[rows] = 1

    def digest(self) -> int:
        """Return the sum mod 2^128 of the hashes of all rows (`TableDigest`).

        Costs a pass over the rows touched since the last call.
        """
        touched = self.marks.take(HASH)
        for first in range(0, len(touched), _HASHED_AT_ONCE):
            rows = touched[first : first + _HASHED_AT_ONCE]
            self._digest.update(rows, {name: array[rows] for name, array in self.arrays.items()})
        return self._digest.value


@dataclass(slots=True)
class Arena:
    """All tables of one state, in the order they were declared."""

    tables: dict[str, Table] = field(default_factory=dict)
    was_narrower: bool = False
    """Whether it was filled from a snapshot with fewer columns: its digest is not that snapshot's then."""

    def table(
        self,
        name: str,
        rows: int,
        used: Callable[[], int],
        *,
        of: str = "",
        later: bool = False,
        apart: bool = False,
    ) -> Table:
        """Declare a table of `rows` rows of which the first `used()` may hold anything; a name is declared once.

        A table `of` a vocabulary has its rows: when an id is forgotten, the row is cleared here too.
        """
        if name in self.tables:
            raise ValueError(f"table {name!r} is declared twice; give each part's table its own name")
        self.tables[name] = Table(name, rows, used, of, later, apart)
        return self.tables[name]

    def clear(self, of: str, rows: NDArray[np.int64]) -> None:
        """Set every array of the tables `of` a vocabulary to 0 at `rows`."""
        for table in self.tables.values():
            if table.of == of:
                table.clear(rows)

    def digest(self) -> int:
        """Return the sum of all tables' digests mod 2^128, but of those `apart`."""
        return sum(table.digest() for table in self.tables.values() if not table.apart) & MASK_128

    def hash_apart(self) -> str | None:
        """Return 32 hex digits over the tables `apart`; None where there are none."""
        apart = [table for table in self.tables.values() if table.apart]
        return hash_text(sum(table.digest() for table in apart)) if apart else None

    def dump(self) -> dict[str, NDArray[Any]]:
        """Return a copy of every array up to its last used row, by `table/array`."""
        copies: dict[str, NDArray[Any]] = {}
        for table in self.tables.values():
            used = table.used()
            for name, array in table.arrays.items():
                copies[f"{table.name}/{name}"] = array[:used].copy()
        return copies

    def load(self, copies: Mapping[str, NDArray[Any]]) -> None:
        """Fill a fresh arena from `dump`'s copies and mark every row as touched.

        Raises `ValueError` naming the array when one is missing, unknown, or of another type or shape.
        """
        layout = layout_of(copies)
        self.expect(layout)
        for table, arrays in layout.items():
            for name, (_, shape) in arrays.items():
                self.put(table, slice(0, shape[0]), {name: copies[f"{table}/{name}"]})
        self.mark(layout)

    def expect(self, layout: Layout) -> None:
        """Raise `ValueError` naming the array where a snapshot's are not this arena's, or have more rows."""
        here = {f"{table.name}/{name}" for table in self.tables.values() for name in table.arrays}
        there = {f"{table}/{name}" for table, arrays in layout.items() for name in arrays}
        later = {f"{table.name}/{name}" for table in self.tables.values() if table.later for name in table.arrays}
        if not here - later <= there <= here:
            odd = (here ^ there) - later
            raise ValueError(f"the snapshot's arrays differ from this version's: {', '.join(sorted(odd))}")
        for table, arrays in layout.items():
            for name, (dtype, shape) in arrays.items():
                array = self.tables[table].arrays[name]
                if not self.tables[table].can_hold(name, dtype, shape):
                    raise ValueError(
                        f"{table}/{name} in the snapshot is {dtype}{shape}, "
                        f"this configuration holds {array.dtype}{array.shape}; start with the settings it was made with"
                    )

    def put(self, table: str, rows: slice | NDArray[np.int64], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Set what rows of a table hold, as `expect` has found right; `mark` comes after the last of them."""
        for name, values in arrays.items():
            array = self.tables[table].arrays[name]
            if name in self.tables[table].widened:
                self.was_narrower |= values.shape[-1] < array.shape[-1]
                array = array[..., : values.shape[-1]]
            if _anything(values) or _anything(array[rows]):  # memory that only ever held zeros stays unused
                array[rows] = values

    def mark(self, layout: Layout) -> None:
        """Mark every row that a snapshot may hold something of as touched."""
        for table, arrays in layout.items():
            self.tables[table].dirty[: max(shape[0] for _, shape in arrays.values())] = 1

    def layout(self) -> Layout:
        """Return of each array the type, and the shape of the rows that may hold anything."""
        return {
            table.name: {name: (array.dtype, (table.used(), *array.shape[1:])) for name, array in table.arrays.items()}
            for table in self.tables.values()
        }

    def used_bytes(self) -> dict[str, int]:
        """Return the bytes in use, by table."""
        return {
            table.name: table.used() * sum(array[:1].nbytes for array in table.arrays.values())
            for table in self.tables.values()
        }


def _anything(array: NDArray[Any]) -> bool:
    """Whether any byte of it is not 0; soon known where the first are not."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return bool(flat.view(np.uint64 if flat.nbytes % 8 == 0 else np.uint8).any())


def layout_of(copies: Mapping[str, NDArray[Any]]) -> Layout:
    """Return the layout of arrays by `table/array`."""
    layout: dict[str, dict[str, tuple[np.dtype[Any], tuple[int, ...]]]] = {}
    for name, array in copies.items():
        table, _, column = name.partition("/")
        layout.setdefault(table, {})[column] = (array.dtype, array.shape)
    return layout
