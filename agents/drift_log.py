"""Says in the worker's log when the learner's loss has moved: once a drift, as a warning where it got worse."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from millstream.online_learning.drift import LossDrift

_log = logging.getLogger(__name__)


class DriftLog:
    """What has been said so far. Loses none as long as it hears of them before the detector forgets the oldest."""

    def __init__(self) -> None:
        self.fired = 0
        self.last: LossDrift | None = None

    def note(self, fired: int, drifts: Sequence[LossDrift]) -> None:
        """Say which drifts are new, given how many there were in all and the latest of them, oldest first."""
        new = drifts[-(fired - self.fired) :] if fired > self.fired else ()
        for drift in new:
            _log.log(logging.WARNING if drift.after > drift.before else logging.INFO, "drift: %s", drift)
            self.last = drift
        self.fired = fired
