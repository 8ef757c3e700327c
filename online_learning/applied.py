"""What the step gives back for a chunk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from millstream.schemas.records import Slate
from millstream.schemas.slates import EncodedSlate

from .measured import Measured
from .slate_maker import Ranked


@dataclass(frozen=True, slots=True)
class Applied:
    """What one chunk did: `events` learned, `seq` afterwards, the touched users' lists, what was measured of all."""

    input: str
    partition: int
    start: int
    end: int
    events: int
    seq: int
    ranked: Ranked | None
    measured: Measured | None
    duplicate: NDArray[np.bool_] | None = None
    """Which of the chunk's events had been learned before, and were passed over; None: none."""

    def encoded(self, generated_ts_ms: int) -> list[EncodedSlate]:
        """Return the refreshed list of each touched user, ready to publish, in the order of their last events."""
        return [] if self.ranked is None else self.ranked.encoded(generated_ts_ms)

    def slates(self, generated_ts_ms: int) -> list[Slate]:
        """Return the same lists as objects."""
        return [] if self.ranked is None else self.ranked.slates(generated_ts_ms)
