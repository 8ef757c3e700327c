"""What each signal of the blend counts for, read out of a snapshot.

In a pair of contexts a signal weighs `W + W_history + W_gap` (see `blend`): what one unit of it adds to the score.
Units differ between signals, so weights compare only times their signal's standard deviation over shortlists. The net,
which sees the same signals, and the items' biases add to the sum and are not in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .blend import BY_GAP, BY_HISTORY, GAPS, HISTORIES, SHARED, blend
from .signal import GROUPS
from .signals import PARTS
from .snapshot import Dump
from .starting_weights import starting_weights
from .vocabulary import Vocabulary

TABLES = ("blend", "blend_net", "blend_bias", "blend_scale")
"""What `read_weights` needs of a snapshot."""
CONTEXTS = (
    "shared",
    "history_0",
    "history_1",
    "history_2_to_4",
    "history_5_to_15",
    "history_16_up",
    "gap_none",
    "gap_0",
    "gap_under_1_min",
    "gap_under_30_min",
    "gap_under_1_day",
    "gap_1_day_up",
)
"""The rows of `Blend.weight`, by name."""
PAIRS = (
    (BY_HISTORY, BY_GAP),
    *((BY_HISTORY + events, BY_GAP + gap) for events in range(1, HISTORIES) for gap in range(1, GAPS)),
)
"""The contexts that occur together: without an event there is no gap, with one there is."""


@dataclass(frozen=True, slots=True)
class SignalWeight:
    """The weights of one signal."""

    name: str
    part: str
    group: str
    """What a reason calls it."""
    weight: NDArray[np.float64]
    """What a unit adds to the score: shared, and beyond it in each context, by `CONTEXTS`; shape (contexts,)."""
    deviation: float | None
    """Standard deviation of the signal over about the last 1,000 shortlists; None where none was learned from."""

    @property
    def counts(self) -> NDArray[np.float64] | None:
        """What one standard deviation of the signal adds to the score, by `CONTEXTS`; shape (contexts,)."""
        return None if self.deviation is None else self.weight * self.deviation

    @property
    def span(self) -> tuple[float, float] | None:
        """The lowest and highest that `W + W_history + W_gap`, times the deviation, comes to over `PAIRS`."""
        counts = self.counts
        if counts is None:
            return None
        sums = [float(counts[SHARED] + counts[history] + counts[gap]) for history, gap in PAIRS]
        return min(sums), max(sums)


@dataclass(frozen=True, slots=True)
class BlendWeights:
    """All signals' weights at one moment."""

    seq: int
    """Events the model contained."""
    trained: int
    """Events the blend learned from."""
    signals: tuple[SignalWeight, ...]
    """By falling magnitude of the farther end of `span`; of the shared weight where nothing was learned."""


def read_weights(dump: Dump) -> BlendWeights:
    """Return the weights in `dump`, which holds `TABLES`. Raises `ValueError` where another version made it."""
    arena = Arena()
    items = Vocabulary("items", max(1, len(dump.items)), dump.items)
    b = blend(arena, items, starting_weights())
    dump.fill(arena)
    trained = int(b.trained[0])
    weights = b.weight.astype(np.float64).T
    deviations = np.sqrt(b.variance.astype(np.float64)).tolist() if trained else [None] * len(weights)
    named = [(part, signal) for part, signals in PARTS.items() for signal in signals]
    found = [
        SignalWeight(signal.name, part, GROUPS[signal.group], weight, deviation)
        for (part, signal), weight, deviation in zip(named, weights, deviations, strict=True)
    ]
    return BlendWeights(dump.seq, trained, tuple(sorted(found, key=_magnitude, reverse=True)))


def _magnitude(signal: SignalWeight) -> float:
    span = signal.span or (float(signal.weight[SHARED]),)
    return max(map(abs, span))
