"""Hashes of state, kept up to date row by row: a sum mod 2^128, so the order in which rows are told does not matter.

The hash of a row of a table is the sum over its arrays of a hash of (table, array, row, bytes); of a row of zeros it is
0. That of an id is a hash of (vocabulary, row, id). What a row counted before is taken off when it is told again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import entry

MASK_128 = (1 << 128) - 1


class TableDigest:
    """The sum over all rows of one table, as they were last told."""

    def __init__(self, table: str, rows: int) -> None:
        self.value = 0
        self._table = table
        self._row_hash = np.zeros((rows, 2), np.uint64)

    def update(self, rows: NDArray[np.int64], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Tell what `rows` hold now: every array of the table at these rows, each of shape (len(rows), …)."""
        if not len(rows):
            return
        after = np.zeros((len(rows), 2), np.uint64)
        for name, array in arrays.items():
            hash_rows(_as_words(array), rows, _salt(self._table, name), after)
        before = self._row_hash[rows]
        if after.any() or before.any():  # else it would take memory for rows that hold nothing
            self.value = (self.value + _sum_128(after) - _sum_128(before)) & MASK_128
            self._row_hash[rows] = after


class IdsDigest:
    """The sum over all ids of one vocabulary, as they were last told."""

    def __init__(self, vocabulary: str) -> None:
        self.value = 0
        self._vocabulary = vocabulary
        self._ids: list[str] = []

    def update(self, rows: Sequence[int], ids: Sequence[str]) -> None:
        """Tell which id each of `rows` has now; an empty one counts 0."""
        if len(rows):
            self._ids += [""] * (max(rows) + 1 - len(self._ids))
        for row, id_ in zip(rows, ids, strict=True):
            self.value = (self.value + self._hash(row, id_) - self._hash(row, self._ids[row])) & MASK_128
            self._ids[row] = id_

    def _hash(self, row: int, id_: str) -> int:
        return hash_128(f"{self._vocabulary}/{row}/{id_}") if id_ else 0


def hash_128(text: str, more: bytes = b"") -> int:
    """Return a 128-bit hash of a text, and of some bytes after it."""
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    digest.update(more)
    return int.from_bytes(digest.digest(), "little")


def hash_text(total: int) -> str:
    """Return 32 hex digits of a sum of hashes."""
    return f"{total & MASK_128:032x}"


def _as_words(array: NDArray[Any]) -> NDArray[np.uint64]:
    """Return the bytes of each row as little-endian words, the last one filled up with zeros."""
    rows = np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8)
    width = rows.shape[1]
    if width % 8:
        padded = np.zeros((len(rows), -(-width // 8) * 8), np.uint8)
        padded[:, :width] = rows
        rows = padded
    return rows.view("<u8").astype(np.uint64, copy=False)


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
def hash_rows(words: NDArray[np.uint64], rows: NDArray[np.int64], salt: np.uint64, out: NDArray[np.uint64]) -> None:
    """Add to `out[n]` (two lanes) the hash of `words[n]`, which row `rows[n]` holds; of zeros it is 0.

    Two multiply-xorshift lanes (constants of SplitMix64 and MurmurHash3's finaliser).
    """
    for n in range(len(rows)):
        row = np.uint64(rows[n])
        a = np.uint64(salt) ^ (row * np.uint64(0x9E3779B97F4A7C15))
        b = np.uint64(salt) * np.uint64(0xD6E8FEB86659FD93) + row
        anything = np.uint64(0)
        for at in range(words.shape[1]):
            word = words[n, at]
            anything |= word
            a = (a ^ word) * np.uint64(0xFF51AFD7ED558CCD)
            a ^= a >> np.uint64(33)
            b = (b + word) * np.uint64(0xC4CEB9FE1A85EC53)
            b ^= b >> np.uint64(29)
        if anything != np.uint64(0):
            out[n, 0] += a
            out[n, 1] += b
