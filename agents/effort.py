"""Effort: how many events train the blend when the stream outruns the machine. Every counter sees every event.

Work that waits is measured in seconds at the present pace. Much of it halves the share of events that train, down to
one in twenty; little of it doubles the share again. All workers train alike, so the one that leads chooses for them
all: the slowest one's work counts as well as its own. What was chosen is in the order records, so a replay repeats it.

A batch costs every worker something however little is in it. Where others are still behind at the least effort, the
leader pauses before each batch, so that there are fewer of them with more in each.
"""

from __future__ import annotations

from typing import Literal

FULL = 1
LEAST = 20
"""At least one event in twenty trains: 5 %."""
_MUCH_S = 0.015
_LITTLE_S = 0.004
OTHERS_MUCH_S = 0.08
OTHERS_LITTLE_S = 0.02
"""Of others more may wait: their work comes a batch at a time, and what they say of it is some moments old."""


SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.0125, 0.1


class Effort:
    """Chooses `train_every` chunk by chunk, and how long batches wait. The mode `full` keeps the first full."""

    def __init__(self, mode: Literal["adaptive", "full"] = "adaptive") -> None:
        self.train_every = FULL
        self.pause_s = 0.0
        """How long the next batch waits for more to come."""
        self._adaptive = mode == "adaptive"
        self._own_s = 0.0
        self._others_say = False

    def choose(self, waiting_s: float) -> int:
        """Return `train_every` for the next chunk, given how long what waits would take at the present pace."""
        self._own_s = waiting_s
        if waiting_s > _MUCH_S:
            self._less()
        elif waiting_s < _LITTLE_S and not self._others_say:
            self._more()
        return self.train_every

    def others(self, waiting_s: float | None) -> None:
        """Take in how long the slowest other worker's work would take; None: nobody says that any waits.

        While somebody does, the share rises no faster than they say so.
        """
        self._others_say = waiting_s is not None
        if waiting_s is None:
            self.pause_s = 0.0
        elif waiting_s > OTHERS_MUCH_S:
            if self._adaptive and self.train_every < LEAST:
                self._less()
            else:
                self.pause_s = min(LONGEST_PAUSE_S, max(SHORTEST_PAUSE_S, 2 * self.pause_s))
        elif waiting_s < OTHERS_LITTLE_S:
            if self.pause_s > 0:
                self.pause_s = 0.0 if self.pause_s <= SHORTEST_PAUSE_S else self.pause_s / 2
            elif self._own_s < _LITTLE_S:
                self._more()

    def _less(self) -> None:
        if self._adaptive:
            self.train_every = min(LEAST, 2 * self.train_every)

    def _more(self) -> None:
        self.train_every = max(FULL, self.train_every // 2)
