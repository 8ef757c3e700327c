"""Saying that a system is gone, once, and that it is back, once, however often it is tried in between."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Outage:
    """The state of one connection as its user sees it. One writer, or several that agree.

    After `lost`, `resting` holds for `rest_s`: whoever must answer at once leaves the system alone meanwhile, and after
    that `may_try` lets one of them through each `rest_s`, until one comes back.
    """

    def __init__(self, system: str, *, rest_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._system = system
        self._rest_s = rest_s
        self._clock = clock
        self._lost_at_s: float | None = None
        self._rest_until_s = float("-inf")

    @property
    def is_lost(self) -> bool:
        """Whether the last try failed."""
        return self._lost_at_s is not None

    @property
    def resting(self) -> bool:
        """Whether to leave the system alone for now."""
        return self._lost_at_s is not None and self._clock() < self._rest_until_s

    def may_try(self) -> bool:
        """Return whether to try now. While the system is lost, one caller in `rest_s` is told yes, the others no."""
        if self._lost_at_s is None:
            return True
        now_s = self._clock()
        if now_s < self._rest_until_s:
            return False
        self._rest_until_s = now_s + self._rest_s
        return True

    def lost(self, why: object) -> None:
        """Note a failed try; the first of a row is logged, with what failed."""
        now_s = self._clock()
        self._rest_until_s = now_s + self._rest_s
        if self._lost_at_s is None:
            self._lost_at_s = now_s
            _log.warning("%s does not answer: %s; trying until it does", self._system, why)

    def back(self) -> None:
        """Note a try that worked; the first after a failure is logged, with how long it took."""
        if self._lost_at_s is not None:
            _log.warning("%s is back after %.1f s", self._system, self._clock() - self._lost_at_s)
            self._lost_at_s = None
