"""The log of the benches: simulated shoppers, many of them at once, so that no list can stand for many events."""

from __future__ import annotations

from millstream.online_learning.simulated_catalogue import CatalogueConfig
from millstream.online_learning.simulator import Simulator, SimulatorConfig
from millstream.schemas.columns import InteractionColumns

from .report import WrongResult

USERS = 100_000
ITEMS = 20_000
LEAST_DISTINCT = 250
WINDOW = 1_000
LEAST_ITEMS = 120
"""Of a catalogue: five in each of the simulator's topics."""
_CONCURRENT_SESSIONS = 800
"""So that 1,000 events in a row have at least 250 users also within one partition of four."""


def shoppers_log(events: int) -> InteractionColumns:
    """Return the first so many events of 100,000 shoppers among 20,000 items; the same ones every time."""
    config = SimulatorConfig(
        users=USERS, catalogue=CatalogueConfig(items=ITEMS), concurrent_sessions=_CONCURRENT_SESSIONS
    )
    return Simulator(config).events(events)


def shoppers_among(items: int) -> Simulator:
    """Return the same shoppers in a busy shop of so many items: 100 events a second, so some 8 s between two clicks."""
    return Simulator(
        SimulatorConfig(
            users=USERS,
            catalogue=CatalogueConfig(items=items),
            concurrent_sessions=_CONCURRENT_SESSIONS,
            event_step_ms=10.0,
        )
    )


def distinct_users(user_ids: list[str]) -> int:
    """Return the least number of users in any 1,000 events in a row, from the first on; all of them in a shorter log.

    Raises `WrongResult` below 250: with few users a worker that is behind makes few lists, and looks fast.
    """
    starts = range(0, max(1, len(user_ids) - WINDOW + 1), WINDOW)
    least = min(len(set(user_ids[start : start + WINDOW])) for start in starts)
    if least < LEAST_DISTINCT and len(user_ids) >= WINDOW:
        raise WrongResult(f"{least} users in {WINDOW:,} events in a row; a fair log has at least {LEAST_DISTINCT}")
    return least
