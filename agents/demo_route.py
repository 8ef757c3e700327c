"""The way a demo's events take to the lists: a route. Through Kafka and a worker, or straight into the step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from millstream.online_learning.drift import LossDrift

Figures = Mapping[str, float | int | None]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a route is. Counts are since its start; figures have the keys of the worker's status."""

    learned: int = 0
    lists: int = 0
    """Lists that Redis judged newer than what it had."""
    dead_letters: int = 0
    """Events that are not learned: rejected, or of an id that was learned before."""
    quality: Figures = field(default_factory=dict)
    popularity: Figures = field(default_factory=dict)
    drifts: int = 0
    """How often the loss was found to have moved."""
    last_drift: LossDrift | None = None
    effort: str = ""
    state_hash: str = ""
    """Known when it has finished."""


class Route(Protocol):
    """One run's way from events to lists. Used within `async with`; leaving it ends what it started."""

    sent: int
    """Events handed over so far."""

    async def offer(self) -> None:
        """Hand over the log's events at the rate offered; return when all are. Raises what stands in the way."""

    async def standing(self) -> Standing:
        """Return how far it is; raises when it has come to a halt."""

    async def finish(self) -> Standing:
        """End in order after the last event; return where it came to, state hash included."""
