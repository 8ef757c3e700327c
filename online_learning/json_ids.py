"""The ids of a vocabulary as JSON strings, end to end in one array, where compiled code reads them by row."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

_encoder = msgspec.json.Encoder()


class JsonIds:
    """Grows with the list of ids it was made for, which only ever grows at its end. One owner."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.text: NDArray[np.uint8] = np.zeros(1024, np.uint8)
        """JSON strings, quotes included; row r's is between `ends[r]` and `ends[r + 1]`."""
        self.ends: NDArray[np.int64] = np.zeros(64, np.int64)
        self.longest = 2
        """Bytes of the longest string."""
        self._ids = ids
        self._held = 0

    def catch_up(self) -> None:
        """Take in the ids added since last time."""
        for row in range(self._held, len(self._ids)):
            encoded = _encoder.encode(self._ids[row])
            begin, end = int(self.ends[row]), int(self.ends[row]) + len(encoded)
            if end > len(self.text):
                self.text = np.concatenate([self.text, np.zeros(max(end, len(self.text)), np.uint8)])
            if row + 2 > len(self.ends):
                self.ends = np.concatenate([self.ends, np.zeros(len(self.ends), np.int64)])
            self.text[begin:end] = np.frombuffer(encoded, np.uint8)
            self.ends[row + 1] = end
            self.longest = max(self.longest, len(encoded))
        self._held = len(self._ids)
