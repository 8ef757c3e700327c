"""Effort: how many events train the blend when the stream outruns the machine. Every counter sees every event.

Work that waits is measured in seconds at the present pace. Much of it halves the share of events that train, down to
one in twenty; little of it doubles the share again. What was chosen is in the order records, so a replay repeats it.
"""

from __future__ import annotations

from typing import Literal

FULL = 1
LEAST = 20
"""At least one event in twenty trains: 5 %."""
_MUCH_S = 0.015
_LITTLE_S = 0.004


class Effort:
    """Chooses `train_every` chunk by chunk. The mode `full` keeps it full."""

    def __init__(self, mode: Literal["adaptive", "full"] = "adaptive") -> None:
        self.train_every = FULL
        self._adaptive = mode == "adaptive"

    def choose(self, waiting_s: float) -> int:
        """Return `train_every` for the next chunk, given how long what waits would take at the present pace."""
        if self._adaptive:
            if waiting_s > _MUCH_S:
                self.train_every = min(LEAST, 2 * self.train_every)
            elif waiting_s < _LITTLE_S:
                self.train_every = max(FULL, self.train_every // 2)
        return self.train_every
