"""The state arena: every part keeps its state in named, row-addressed arrays that live here.

Snapshots, the state hash and byte counts are made once, here, and not part by part. An array is reserved at its cap
when it is declared: the operating system hands out memory only for rows that were touched, so nothing is ever moved
and kernels may hold on to what they were given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .compiled import entry

MASK_128 = (1 << 128) - 1


@dataclass(slots=True)
class Table:
    """Arrays that share one row addressing, and one dirty mark a row.

    A writer sets `dirty[row] = 1` whenever it changes any array at `row`; the marks are cleared by `digest`.
    """

    name: str
    rows: int
    used: Callable[[], int]
    """How many rows, from the first, may hold anything: what is dumped."""
    of: str
    """The vocabulary whose rows these are; empty: none's."""
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    dirty: NDArray[np.uint8] = field(init=False)
    _row_hash: NDArray[np.uint64] = field(init=False)
    _sum: int = 0

    def __post_init__(self) -> None:
        self.dirty = np.zeros(self.rows, np.uint8)
        self._row_hash = np.zeros((self.rows, 2), np.uint64)

    def array(self, name: str, dtype: DTypeLike, *shape: int) -> NDArray[Any]:
        """Declare and return a zeroed array of shape (rows, *shape)."""
        self.arrays[name] = np.zeros((self.rows, *shape), dtype)
        return self.arrays[name]

    def clear(self, rows: NDArray[np.int64]) -> None:
        """Set all arrays to 0 at `rows`."""
        for array in self.arrays.values():
            array[rows] = 0
        self.dirty[rows] = 1

    def digest(self) -> int:
        """Return the sum mod 2^128 of the hashes of all (table, array, row, bytes); a row of zeros counts 0.

        Costs a pass over the rows touched since the last call.
        """
        touched = np.flatnonzero(self.dirty)
        if len(touched):
            before = self._row_hash[touched].copy()
            after = np.zeros_like(before)
            for name, array in self.arrays.items():
                words = _as_bytes(array)
                hash_rows(words, touched, _salt(self.name, name), after)
            self._row_hash[touched] = after
            self._sum = (self._sum + _sum_128(after) - _sum_128(before)) & MASK_128
            self.dirty[touched] = 0
        return self._sum


@dataclass(slots=True)
class Arena:
    """All tables of one state, in the order they were declared."""

    tables: dict[str, Table] = field(default_factory=dict)

    def table(self, name: str, rows: int, used: Callable[[], int], *, of: str = "") -> Table:
        """Declare a table of `rows` rows of which the first `used()` may hold anything; a name is declared once.

        A table `of` a vocabulary has its rows: when an id is forgotten, the row is cleared here too.
        """
        if name in self.tables:
            raise ValueError(f"table {name!r} is declared twice; give each part's table its own name")
        self.tables[name] = Table(name, rows, used, of)
        return self.tables[name]

    def clear(self, of: str, rows: NDArray[np.int64]) -> None:
        """Set every array of the tables `of` a vocabulary to 0 at `rows`."""
        for table in self.tables.values():
            if table.of == of:
                table.clear(rows)

    def digest(self) -> int:
        """Return the sum of all tables' digests mod 2^128."""
        return sum(table.digest() for table in self.tables.values()) & MASK_128

    def dump(self) -> dict[str, NDArray[Any]]:
        """Return a copy of every array up to its last used row, by `table/array`."""
        copies: dict[str, NDArray[Any]] = {}
        for table in self.tables.values():
            used = table.used()
            for name, array in table.arrays.items():
                copies[f"{table.name}/{name}"] = array[:used].copy()
        return copies

    def load(self, copies: dict[str, NDArray[Any]]) -> None:
        """Fill a fresh arena from `dump`'s copies and mark every row as touched.

        Raises `ValueError` naming the array when one is missing, unknown, or of another type or shape.
        """
        expected = {f"{table.name}/{name}" for table in self.tables.values() for name in table.arrays}
        if expected != copies.keys():
            odd = ", ".join(sorted(expected ^ copies.keys()))
            raise ValueError(f"the snapshot's arrays differ from this version's: {odd}")
        for table in self.tables.values():
            for name, array in table.arrays.items():
                saved = copies[f"{table.name}/{name}"]
                if saved.dtype != array.dtype or saved.shape[1:] != array.shape[1:] or len(saved) > table.rows:
                    raise ValueError(
                        f"{table.name}/{name} in the snapshot is {saved.dtype}{saved.shape}, "
                        f"this configuration holds {array.dtype}{array.shape}; start with the settings it was made with"
                    )
                array[: len(saved)] = saved
                table.dirty[: len(saved)] = 1

    def used_bytes(self) -> dict[str, int]:
        """Return the bytes in use, by table."""
        return {
            table.name: table.used() * sum(array[:1].nbytes for array in table.arrays.values())
            for table in self.tables.values()
        }


def _as_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    return array.reshape(len(array), -1).view(np.uint8)


def _salt(table: str, array: str) -> np.uint64:
    digest = hashlib.blake2b(f"{table}/{array}".encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little") | 1)


def _sum_128(pairs: NDArray[np.uint64]) -> int:
    """Sum (low, high) pairs exactly, mod 2^128."""
    low, high = (sum(int(part) for part in _halves(pairs[:, side])) for side in (0, 1))
    return (low + (high << 64)) & MASK_128


def _halves(column: NDArray[np.uint64]) -> tuple[int, int]:
    """Return the two addends of a uint64 column's exact sum: 32-bit halves cannot overflow a 64-bit accumulator."""
    mask, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    return int((column & mask).sum()), int((column >> shift).sum()) << 32


@entry
def hash_rows(words: NDArray[np.uint8], rows: NDArray[np.int64], salt: np.uint64, out: NDArray[np.uint64]) -> None:
    """Add to `out[n]` (two uint64 lanes) the hash of the bytes `words[rows[n]]`; a row of zeros adds nothing.

    Two multiply-xorshift lanes over the bytes, 8 at a time (constants of SplitMix64 and MurmurHash3's finaliser).
    """
    width = words.shape[1]
    for n in range(len(rows)):
        row = rows[n]
        a = np.uint64(salt) ^ (np.uint64(row) * np.uint64(0x9E3779B97F4A7C15))
        b = np.uint64(salt) * np.uint64(0xD6E8FEB86659FD93) + np.uint64(row)
        anything = np.uint64(0)
        at = 0
        while at < width:
            word = np.uint64(0)
            for byte in range(min(8, width - at)):
                word |= np.uint64(words[row, at + byte]) << np.uint64(8 * byte)
            anything |= word
            a = (a ^ word) * np.uint64(0xFF51AFD7ED558CCD)
            a ^= a >> np.uint64(33)
            b = (b + word) * np.uint64(0xC4CEB9FE1A85EC53)
            b ^= b >> np.uint64(29)
            at += 8
        if anything != np.uint64(0):
            out[n, 0] += a
            out[n, 1] += b
