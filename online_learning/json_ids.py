"""The ids of a vocabulary as JSON strings in one array, where compiled code reads them by row."""

from __future__ import annotations

from typing import Protocol
from weakref import WeakSet

import msgspec
import numpy as np
from numpy.typing import NDArray

from .vocabulary import Vocabulary

_encoder = msgspec.json.Encoder()


class Reader(Protocol):
    """Something that holds rows and is to be written with the ids that they have now."""

    def write(self) -> object:
        """Write it, once."""


class JsonIds:
    """Follows the vocabulary it was made for. One owner.

    A row that goes to another id keeps its place in the text if the new string fits there; otherwise it gets a new one,
    at least twice as long, so that all that is left behind is no longer than what is in use.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.text: NDArray[np.uint8] = np.zeros(1024, np.uint8)
        """JSON strings, quotes included; row r's is between `begins[r]` and `ends[r]`."""
        self.begins: NDArray[np.int64] = np.zeros(64, np.int64)
        self.ends: NDArray[np.int64] = np.zeros(64, np.int64)
        self.longest = 2
        """Bytes of the longest string."""
        self._vocabulary = vocabulary
        self._room: NDArray[np.int64] = np.zeros(64, np.int64)
        self._held = 0
        self._used = 0
        self._readers: WeakSet[Reader] = WeakSet()

    def catch_up(self) -> None:
        """Take in the rows given since last time. The text of a row that is no id's any more stays until then."""
        ids = self._vocabulary.ids
        for row in self._vocabulary.given_again:
            if row < self._held and ids[row]:
                self._put(row, ids[row])
        self._vocabulary.given_again.clear()
        for row in range(self._held, len(ids)):
            if row == len(self.ends):
                more = np.zeros(len(self.ends), np.int64)
                self.begins, self.ends, self._room = (
                    np.concatenate([array, more]) for array in (self.begins, self.ends, self._room)
                )
            self._put(row, ids[row])
        self._held = len(ids)

    def expect(self, reader: Reader) -> None:
        """Let `reader` be written before any row it holds can go to another id; forget it with its last owner."""
        self._readers.add(reader)

    def settle(self) -> None:
        """Write what is still to be written: rows are about to become free."""
        for reader in list(self._readers):
            reader.write()
        self._readers.clear()

    def _put(self, row: int, id_: str) -> None:
        encoded = _encoder.encode(id_)
        if len(encoded) > self._room[row]:
            self.begins[row] = self._used
            self._room[row] = max(len(encoded), 2 * int(self._room[row]))
            self._used += int(self._room[row])
            if self._used > len(self.text):
                self.text = np.concatenate([self.text, np.zeros(max(self._used, len(self.text)), np.uint8)])
        begin = int(self.begins[row])
        self.text[begin : begin + len(encoded)] = np.frombuffer(encoded, np.uint8)
        self.ends[row] = begin + len(encoded)
        self.longest = max(self.longest, len(encoded))
