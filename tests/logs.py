"""Small logs for the tests of the learning core, and a step small enough to fill to its caps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.simulated_catalogue import CatalogueConfig
from millstream.online_learning.simulator import Simulator, SimulatorConfig
from millstream.online_learning.step import INTERACTIONS
from millstream.schemas.columns import Chunk, InteractionColumns
from millstream.schemas.records import Kind

START_MS = 1_700_000_000_000
SMALL = LearningConfig(max_users=2_000, max_items=1_000)


def columns_of(
    users: Sequence[str],
    items: Sequence[str],
    *,
    ts_ms: Sequence[int] | None = None,
    kinds: Sequence[Kind] | None = None,
    offsets: Sequence[int] | None = None,
) -> InteractionColumns:
    """Columns of these events: clicks a second apart with offsets from 0, where nothing else is said."""
    n = len(users)
    times = np.array(ts_ms if ts_ms is not None else range(START_MS, START_MS + 1_000 * n, 1_000), np.int64)
    return InteractionColumns(
        user_ids=list(users),
        item_ids=list(items),
        kinds=np.array(kinds if kinds is not None else [Kind.click] * n, np.int8),
        ts_ms=times,
        values=np.full(n, np.nan),
        as_of_ms=times,
        offsets=np.array(offsets if offsets is not None else range(n), np.int64),
    )


def chunk_of(columns: InteractionColumns, *, start: int | None = None, partition: int = 0) -> Chunk:
    """The columns as one chunk that ends with its last event."""
    first = int(columns.offsets[0]) if start is None else start
    return Chunk(INTERACTIONS, partition, first, int(columns.offsets[-1]) + 1, columns)


def simulated(events: int, *, seed: int = 3, users: int = 400, items: int = 300) -> InteractionColumns:
    """A stretch of a small simulated shop: repeats, carts, purchases, new items."""
    catalogue = CatalogueConfig(items=items, topics=6, new_item_every_s=5.0)
    return Simulator(SimulatorConfig(seed=seed, users=users, catalogue=catalogue, concurrent_sessions=40)).events(
        events
    )


def turning_over(
    events: int, *, users: int, items: int, user_life: int, item_life: int, seed: int = 3, at_once: int = 10_000
) -> Iterator[InteractionColumns]:
    """A simulated shop, `at_once` events at a time, where ids are of so many events' life, each in its own turn.

    Then another takes the place of a user or an item, under a new id, alike in all else: at any time there are at most
    `users` and `items`, and over `events` about `events / life` times as many.
    """
    catalogue = CatalogueConfig(items=items, topics=6, new_item_every_s=5.0)
    shop = Simulator(SimulatorConfig(seed=seed, users=users, catalogue=catalogue, concurrent_sessions=users // 8))
    phases = np.random.default_rng(seed).random(max(users, items))
    for first in range(0, events, at_once):
        columns = shop.events(min(at_once, events - first))
        yield replace(
            columns,
            user_ids=_in_turn(columns.user_ids, columns.offsets / user_life, phases),
            item_ids=_in_turn(columns.item_ids, columns.offsets / item_life, phases),
        )


def _in_turn(ids: list[str], lives: NDArray[np.float64], phases: NDArray[np.float64]) -> list[str]:
    rows = np.array([int(id_[1:]) for id_ in ids])
    return [f"{id_}.{turn}" for id_, turn in zip(ids, (lives + phases[rows]).astype(np.int64).tolist(), strict=True)]


def random_log(events: int, *, users: int, items: int, seed: int, distinct: bool = False) -> InteractionColumns:
    """Skewed choices with gaps from nothing to a day; with `distinct` no user chooses an item twice."""
    rng = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, items + 1)
    user = rng.integers(0, users, events)
    item = rng.choice(items, events, p=weights / weights.sum())
    gaps = rng.choice([0, 1, 900, 40_000, 2_000_000, 86_400_000], events, p=[0.2, 0.2, 0.3, 0.2, 0.09, 0.01])
    pairs = list(zip(user.tolist(), item.tolist(), (START_MS + np.cumsum(gaps)).tolist(), strict=True))
    if distinct:
        pairs = list({(u, i): (u, i, at) for u, i, at in reversed(pairs)}.values())[::-1]
        pairs.sort(key=lambda event: event[2])
    return columns_of([f"u{u}" for u, _, _ in pairs], [f"i{i}" for _, i, _ in pairs], ts_ms=[at for _, _, at in pairs])
