"""What was measured lately: values, each until it is some seconds old."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable


class Recent:
    """One thread adds, another may look."""

    def __init__(self, window_s: float, most: int = 100_000, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._window_s = window_s
        self._clock_s = clock_s
        self._values: deque[tuple[float, float]] = deque(maxlen=most)

    def add(self, value: float) -> None:
        """Take in a value of now."""
        self._values.append((self._clock_s(), value))

    def values(self) -> list[float]:
        """Return those of the last seconds, oldest first."""
        since_s = self._clock_s() - self._window_s
        return [value for at_s, value in self._values.copy() if at_s >= since_s]
