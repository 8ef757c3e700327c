"""Drift: whether what users choose has become easier or harder to predict, told by river's ADWIN on the loss.

ADWIN keeps a window of values and cuts off its older part once the means of the two parts differ by more than chance
explains, at the confidence DELTA. It takes values in [0, 1] that are independent of each other, so what it is fed is
`min(loss, WORST) / WORST`, in means of BLOCK events. An item that was not on the shortlist counts as WORST: left out, a
model that no longer finds what is chosen would look as good as ever.

Why blocks: one user's events come together, so neighbouring losses are alike. Fed one by one, ADWIN fired 11, 6 and 15
times on three recorded logs, by eights 0, 1 and 2 times. The price is delay: where the loss rises by 1 nat it takes
some 1,000 events to say so instead of 400, by 2 nats 500 instead of 150.

ADWIN says that the loss has moved. It cuts its window at coarse places only, so from where to where is told by the
split of the latest events that leaves the least squares to either side's mean.

Source: Bifet and Gavaldà 2007, "Learning from time-changing data with adaptive windowing".
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# what `river.drift.ADWIN` wraps; the package around it loads scipy.stats and all data sets, some three seconds
from river._river_rust.drift import AdaptiveWindowing

BLOCK = 8
"""Events whose mean loss is one value to ADWIN."""
WORST = 10.0
"""The greatest loss that is told apart, in nats: a probability of 1 in 22,000."""
DELTA = 0.002
"""ADWIN's confidence, river's default. It bounds the chance of a false alarm at one check, and from far above."""
_KEPT = 100
_RECENT_BLOCKS = 4_096


@dataclass(frozen=True, slots=True)
class LossDrift:
    """The loss moved, up or down. Means are in nats, each event's loss cut at WORST."""

    seq: int
    """The event at which it was noticed."""
    before: float
    """Mean from the last drift, or 32,768 events ago, until it moved."""
    after: float
    """Mean since then."""
    window: int
    """Events measured since then."""

    def __str__(self) -> str:
        return f"the loss moved from {self.before:.2f} to {self.after:.2f} at event {self.seq:,}"


class DriftDetector:
    """Watches the loss of the events given to it, since it was made. Depends on them alone, not on how they are cut.

    After a drift it begins anew, as `river.drift.ADWIN` does.
    """

    def __init__(self) -> None:
        self.fired = 0
        self.drifts: deque[LossDrift] = deque(maxlen=_KEPT)
        """The latest drifts, oldest first."""
        self._open = np.zeros(0)
        self._begin()

    def add(self, loss: NDArray[np.float64], seq: NDArray[np.int64]) -> None:
        """Take in the losses of events in order, in nats, shape (n,); NaN where the item was not on the shortlist.

        `seq` are the numbers of the events, shape (n,).
        """
        # fmin passes over NaN: it gives WORST for it
        waiting = np.concatenate((self._open, np.fmin(loss, WORST)))
        n = len(waiting) // BLOCK
        self._open = waiting[n * BLOCK :]
        if not n:
            return
        means = waiting[: n * BLOCK].reshape(n, BLOCK).mean(axis=1)
        for at, value in enumerate((means / WORST).tolist()):
            self._recent.append(value)
            if self._adwin.update(value):
                # counted from the end: the first block may have begun in an earlier call
                self._fire(int(seq[(at + 1) * BLOCK - len(waiting) - 1]))

    def _fire(self, seq: int) -> None:
        before, after, blocks = _split(np.array(self._recent))
        self.fired += 1
        self.drifts.append(LossDrift(seq, before * WORST, after * WORST, blocks * BLOCK))
        self._begin()

    def _begin(self) -> None:
        self._adwin = AdaptiveWindowing(delta=DELTA)
        self._recent: deque[float] = deque(maxlen=_RECENT_BLOCKS)


def _split(values: NDArray[np.float64]) -> tuple[float, float, int]:
    """Return the means before and after the place that parts `values`, shape (≥ 2,), best, and how many come after."""
    n = np.arange(1, len(values))  # (places,)
    rest = len(values) - n
    total = np.cumsum(values)
    before, after = total[:-1] / n, (total[-1] - total[:-1]) / rest
    # what the squares lose by the split, up to a factor
    at = int(np.argmax((before - after) ** 2 * n * rest))
    return float(before[at]), float(after[at]), int(rest[at])
