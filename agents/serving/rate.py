"""How often a caller may ask: a token bucket each, so that one that runs wild does not slow the others."""

from __future__ import annotations

import time
from collections.abc import Callable

_MOST_CALLERS = 10_000


class RateLimit:
    """Allows each caller `per_s` requests a second, and as many at once after a pause. One event loop owns it.

    Callers beyond ten thousand push out the one that came first, whose bucket then is full again.
    """

    def __init__(self, per_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._most = max(1.0, per_s)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_s(self, caller: str) -> float:
        """Return 0 and count the request, or return how many seconds to wait before the next."""
        now_s = self._clock()
        tokens, at_s = self._buckets.get(caller, (self._most, now_s))
        tokens = min(self._most, tokens + (now_s - at_s) * self._per_s)
        if tokens < 1.0:
            return (1.0 - tokens) / self._per_s
        if caller not in self._buckets and len(self._buckets) >= _MOST_CALLERS:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[caller] = (tokens - 1.0, now_s)
        return 0.0
