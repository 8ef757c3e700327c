"""One in a hundred users pushes one item as hard as they can: what becomes of the others' lists."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from logs import chunk_of, columns_of

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.simulated_catalogue import CatalogueConfig
from millstream.online_learning.simulator import Simulator, SimulatorConfig
from millstream.online_learning.step import Step
from millstream.schemas.columns import InteractionColumns
from millstream.schemas.records import Kind

USERS, EVENTS, ITEMS = 400, 4_000, 200
PUSHERS = [f"pusher{n}" for n in range(USERS // 100)]
PLACES = 10
CONFIG = LearningConfig(max_users=1_000, max_items=1_000, list_length=PLACES)
UNCAPPED = replace(CONFIG, shared_repeats=0, shared_choices=0)


def shop() -> InteractionColumns:
    """Half a day of a small shop: an event each ten seconds, a session of a quarter of an hour."""
    catalogue = CatalogueConfig(items=ITEMS, topics=6, new_item_every_s=1_800.0)
    config = SimulatorConfig(seed=5, users=USERS, catalogue=catalogue, concurrent_sessions=40, event_step_ms=10_000.0)
    return Simulator(config).events(EVENTS)


LOG = shop()


def middling_item() -> str:
    """The item that as many items are chosen more often than as are chosen less often."""
    items, counts = np.unique(LOG.item_ids, return_counts=True)
    return str(items[np.argsort(counts, kind="stable")[len(items) // 2]])


PUSHED = middling_item()


def with_pushers(*, alternating: bool) -> InteractionColumns:
    """The log with two purchases of the pushed item after each event: 2,000 by each pusher.

    `alternating`: and before each of them one of whatever item was chosen last, so that the two should be joined.
    """
    users, items, ts_ms, kinds = list[str](), list[str](), list[int](), list[Kind]()
    for at, (user, item) in enumerate(zip(LOG.user_ids, LOG.item_ids, strict=True)):
        events = [(user, item, LOG.kinds[at])]
        for turn in (2 * at, 2 * at + 1):
            pushed = [item, PUSHED] if alternating else [PUSHED]
            events += [(PUSHERS[turn % len(PUSHERS)], what, Kind.purchase) for what in pushed]
        for who, what, kind in events:
            users.append(who)
            items.append(what)
            kinds.append(kind)
            ts_ms.append(int(LOG.ts_ms[at]))
    return columns_of(users, items, ts_ms=ts_ms, kinds=kinds)


def share_of_places(columns: InteractionColumns, config: LearningConfig) -> float:
    """The pushed item's share of the places on all other users' lists after the log, in percent."""
    step = Step(config)
    step.apply(chunk_of(columns), lists=False)
    others = [user for user in step.users.ids if user not in PUSHERS]
    slates = step.relist(others).slates(0)
    places = [item.item_id for slate in slates for item in slate.items]
    assert len(places) == PLACES * len(others)
    return 100.0 * places.count(PUSHED) / len(places)


@pytest.mark.parametrize("alternating", [False, True], ids=["pushing alone", "joining it to what sells"])
def test_one_user_in_a_hundred_hardly_moves_the_lists_of_the_others(alternating: bool) -> None:
    """At most half a percentage point with the cap; without it, the same log moves them by more than that."""
    pushed = with_pushers(alternating=alternating)
    risen = share_of_places(pushed, CONFIG) - share_of_places(LOG, CONFIG)
    risen_uncapped = share_of_places(pushed, UNCAPPED) - share_of_places(LOG, UNCAPPED)
    assert risen <= 0.5
    assert risen_uncapped > 1.0
