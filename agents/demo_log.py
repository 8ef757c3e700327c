"""Which events the demo replays: MovieLens 100K, a log of the user's own, or simulated shoppers."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from millstream.online_learning.simulator import Simulator
from millstream.schemas.columns import InteractionColumns
from millstream.schemas.recorded import read_events, read_items
from millstream.schemas.records import Item
from millstream.streams.movielens import movielens

LIKED = 4.0
"""Ratings of MovieLens below this are no recommendation to anyone, and are left out."""
SIMULATED_EVENTS = 60_000
_SPREAD_OVER = 100


@dataclass(frozen=True, slots=True)
class DemoLog:
    """The events of one run, in time order, and what is needed to show and to judge them."""

    name: str
    columns: InteractionColumns
    catalogue: Sequence[Item]
    exclude_consumed: bool
    """Whether an item is recommended to nobody who had it already: films yes, groceries no."""
    rejected: int = 0
    """Lines of the file that gave no event."""
    evaluate: str | None = None
    """The command that measures this very log without Kafka; None for simulated events, which have no file."""

    @property
    def titles(self) -> dict[str, str]:
        """Item id to title; items without one are shown by their id."""
        return {item.item_id: item.title for item in self.catalogue if item.title}


def movielens_log(limit: int | None, say: Callable[[str], None], min_rating: float | None = None) -> DemoLog:
    """Return MovieLens 100K's ratings of `min_rating` (else 4) and more; fetched if need be. Raises `Unavailable`."""
    files = movielens(say)
    minimum = LIKED if min_rating is None else min_rating
    log = file_log(files.events, files.items, minimum, exclude_consumed=True, limit=limit)
    return DemoLog(
        name=f"MovieLens 100K, {len(log.columns):,} ratings of {minimum:g} or more",
        columns=log.columns,
        catalogue=log.catalogue,
        exclude_consumed=True,
        evaluate=log.evaluate,
    )


def file_log(
    events: Path, items: Path | None, min_rating: float | None, *, exclude_consumed: bool, limit: int | None
) -> DemoLog:
    """Return a recorded log. Raises `UnreadableLog`; lines that give no event are counted, as live they would be."""
    log = read_events(events, min_rating=min_rating, limit=limit)
    catalogue = read_items(items) if items is not None else {}
    options = [
        str(events),
        *(("--items", str(items)) if items is not None else ()),
        *(("--min-rating", f"{min_rating:g}") if min_rating is not None else ()),
        *(("--exclude-consumed",) if exclude_consumed else ()),
    ]
    return DemoLog(
        name=events.name,
        columns=log.columns,
        catalogue=list(catalogue.values()),
        exclude_consumed=exclude_consumed,
        rejected=len(log.rejects),
        evaluate=f"millstream evaluate {shlex.join(options)}",
    )


def simulated_log(limit: int | None) -> DemoLog:
    """Return simulated shoppers' events: the same ones every time."""
    simulator = Simulator()
    columns = simulator.events(SIMULATED_EVENTS if limit is None else limit)
    return DemoLog(
        name=f"{len(columns):,} events of simulated shoppers",
        columns=columns,
        catalogue=list(simulator.items()),
        exclude_consumed=False,
    )


def user_to_watch(user_ids: Sequence[str]) -> str | None:
    """Return the user whose events are spread over most of the log, so that there is something to see all along.

    Ties go to the one with more events, then to the lesser id. None for an empty log.
    """
    if not user_ids:
        return None
    names, rows = np.unique(np.array(user_ids, dtype=object).astype(str), return_inverse=True)
    parts = np.arange(len(rows)) * _SPREAD_OVER // len(rows)
    active = np.unique(rows * _SPREAD_OVER + parts) // _SPREAD_OVER
    spread = np.bincount(active, minlength=len(names))
    events = np.bincount(rows, minlength=len(names))
    return str(names[np.lexsort((-events, -spread))[0]])
