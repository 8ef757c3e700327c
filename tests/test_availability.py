"""What the catalogue withdraws is on no list made from then on, and the lists that hold it are found."""

from __future__ import annotations

import numpy as np
import pytest
from logs import chunk_of, random_log

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.step import NOBODY, Step
from millstream.schemas.columns import catalogue_chunk
from millstream.schemas.records import Item

CONFIG = LearningConfig(max_users=64, max_items=64, neighbours_per_item=16, list_length=10, lists=("main", "buy"))
LOG = chunk_of(random_log(400, users=20, items=30, seed=3))
ALL = (0,)


@pytest.fixture
def step() -> Step:
    step = Step(CONFIG)
    step.shown.own(ALL)
    step.apply(LOG)
    return step


def withdraw(step: Step, *items: str, available: bool = False) -> None:
    at = step.catalogue.get(("items", 0), 0)
    step.apply(catalogue_chunk([Item(item_id=item, available=available) for item in items], start=at))


def lists(step: Step) -> dict[tuple[str, str], list[str]]:
    """Everybody's lists made now, by name and user, similar items' and the popular one among them."""
    made = [step.relist([*filter(None, step.users.ids), NOBODY]), step.similar.of(step.similar.names())]
    return {
        (slate.list, slate.user_id): [item.item_id for item in slate.items]
        for ranked in made
        for slate in ranked.slates(0)
    }


def test_what_is_withdrawn_is_on_no_list_until_it_is_back(step: Step) -> None:
    """And the lists are then what they were: what was counted meanwhile is counted."""
    before = lists(step)
    off = {before["main", NOBODY][0], before["main", NOBODY][3]}
    withdraw(step, *off)
    without = lists(step)
    assert not any(off.intersection(items) for items in without.values())
    assert all(without.values())
    withdraw(step, *off, available=True)
    assert lists(step) == before


def test_a_list_made_again_without_an_event_is_a_newer_one(step: Step) -> None:
    """Or the one that holds what was withdrawn would stay."""
    before = step.relist(["u1", NOBODY]).encoded(0)
    again = step.relist(["u1", NOBODY]).encoded(0)
    assert [each.version for each in again] == [each.version for each in before]
    withdraw(step, "i1")
    for earlier, later in zip(before, step.relist(["u1", NOBODY]).encoded(0), strict=True):
        assert later.version > earlier.version
    similar = step.similar.of(["i1"]).encoded(0)
    withdraw(step, "i2")
    assert step.similar.of(["i1"]).encoded(0)[0].version > similar[0].version


def test_it_is_part_of_the_state(step: Step) -> None:
    """In the hash, in a snapshot, and an item that is forgotten takes it along."""
    before = step.state_hash()
    withdraw(step, "i1")
    assert step.state_hash() != before
    again = Step.load(CONFIG, step.dump())
    assert again.state_hash() == step.state_hash()
    assert again.model.availability.off[again.items.row("i1")]


def holders(step: Step, items: set[str]) -> set[str]:
    """Users whose newest lists hold any of the items, by looking at the lists."""
    users = [user for user in step.users.ids if user]
    lists = step.relist(users).slates(0)
    return {slate.user_id for slate in lists if items.intersection(item.item_id for item in slate.items)}


def looked_through(step: Step) -> set[str]:
    found: set[str] = set()
    while step.shown.is_looking:
        found.update(step.shown.take_holders())
    return found


@pytest.mark.parametrize("seed", range(5))
def test_those_and_only_those_whose_lists_hold_it_are_found(step: Step, seed: int) -> None:
    """On a catalogue of fewer than 65,535 items; nobody twice."""
    rng = np.random.default_rng(seed)
    off = {f"i{number}" for number in rng.choice(30, 3, replace=False)}
    expected = holders(step, off)
    assert expected
    withdraw(step, *off)
    assert looked_through(step) == expected
    assert looked_through(step) == set()
    step.relist(sorted(expected))
    withdraw(step, *off)
    assert looked_through(step) == set()


def test_lists_that_others_made_are_read_once(step: Step) -> None:
    """Those of partitions that came to us; those that left are somebody else's to mend."""
    users = {user for user in step.users.ids if user}
    expected = holders(step, {"i1"})
    made = {slate.user_id: [item.item_id for item in slate.items] for slate in step.relist(sorted(users)).slates(0)}
    assert step.shown.unknown(100) == []
    step.shown.own(())
    withdraw(step, "i1")
    assert looked_through(step) == set()
    assert step.shown.unknown(100) == []
    step.shown.own(ALL)
    held = set()
    while unknown := step.shown.unknown(7):
        assert len(unknown) <= 7
        held.update(step.shown.read(unknown, [made[user] for user in unknown]))
        users -= set(unknown)
    assert not users
    assert held == expected
    withdraw(step, "i2")
    assert looked_through(step) == {user for user, items in made.items() if "i2" in items}


def test_nothing_is_read_while_nothing_is_withdrawn(step: Step) -> None:
    """A shop without a catalogue pays for none of it."""
    step.shown.own(())
    step.shown.own(ALL)
    assert step.shown.unknown(100) == []
    withdraw(step, "i1")
    assert step.shown.unknown(100)


def test_a_list_made_while_the_others_were_read_counts(step: Step) -> None:
    """What was read of the user is older."""
    step.shown.own(())
    step.shown.own(ALL)
    withdraw(step, "i1")
    unknown = step.shown.unknown(1)
    step.relist(unknown)
    assert step.shown.read(unknown, [["i1"]]) == []


def test_items_whose_lists_held_it_have_changed(step: Step) -> None:
    """So that theirs are made again."""
    before = {slate.user_id: [item.item_id for item in slate.items] for slate in step.similar.changed(100).slates(0)}
    assert step.similar.changed(100).user_ids == []
    withdraw(step, "i1")
    changed = step.similar.changed(100)
    assert {item for item, similar in before.items() if "i1" in similar} <= set(changed.user_ids)
    assert not any("i1" in [item.item_id for item in slate.items] for slate in changed.slates(0))
