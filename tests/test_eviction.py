"""Eviction: rows go to new ids for ever, and the new id inherits nothing; nothing of it depends on how logs are cut."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import START_MS, chunk_of, columns_of, turning_over
from references import assert_boards_hold_the_best, assert_nothing_is_left, item_references, user_references

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.eviction import cap_for, period
from millstream.online_learning.forgetting import ItemTurnover
from millstream.online_learning.kinds import REFRESHING
from millstream.online_learning.snapshot import Dump
from millstream.online_learning.step import NOBODY, Step
from millstream.schemas.columns import Chunk, InteractionColumns, catalogue_chunk
from millstream.schemas.records import Item, Kind, Slate

TINY = LearningConfig(
    max_users=48,
    max_items=80,
    history_length=12,
    max_neighbours=32,
    neighbours_per_item=16,
    max_consumed=32,
    consumed_per_user=16,
)
KEEPING = replace(TINY, max_users=160, max_items=240)
EXCLUDING = replace(KEEPING, exclude_consumed=True)
EVERY = period(KEEPING)
ROUND = 2 * EVERY * (ItemTurnover.COLLECTING + ItemTurnover.SWEEPING)
"""Events that a round of items takes; one of users takes fewer."""
both = pytest.mark.parametrize("config", [KEEPING, EXCLUDING], ids=["keeping", "excluding"])


def log_of(events: int, *, seed: int = 3) -> InteractionColumns:
    """More users and items than the caps, one in eight events a dismissal, a hide or an impression."""
    (columns,) = turning_over(
        events, users=140, items=200, user_life=events // 6, item_life=events // 4, seed=seed, at_once=events
    )
    rng = np.random.default_rng(seed)
    odd = rng.choice([Kind.impression, Kind.dismiss, Kind.hide], events)
    return replace(columns, kinds=np.where(rng.random(events) < 0.125, odd, columns.kinds).astype(np.int8))


LOG = log_of(2_400)
WHOLE = chunk_of(LOG)


def pieces(chunk: Chunk, places: Iterable[int]) -> list[Chunk]:
    bounds = [0, *sorted(set(places) - {0, len(chunk)}), len(chunk)]
    return [chunk.cut(first, last) for first, last in pairwise(bounds)]


LAST = {LOG.user_ids[at]: at + 1 for at in np.flatnonzero(REFRESHING[LOG.kinds]).tolist()}


def lists_of(step: Step, chunks: Iterable[Chunk]) -> dict[str, Slate]:
    """Apply the chunks; return the list made after each user's last event, where the user had a row then."""
    held: dict[str, Slate] = {}
    for chunk in chunks:
        for slate in step.apply(chunk).slates(7):
            if slate.version.position == LAST[slate.user_id]:
                held[slate.user_id] = slate
    return held


_uncut: dict[bool, tuple[str, dict[str, Slate]]] = {}


def uncut(config: LearningConfig) -> tuple[str, dict[str, Slate]]:
    if config.exclude_consumed not in _uncut:
        step = Step(config)
        lists = lists_of(step, [WHOLE])
        _uncut[config.exclude_consumed] = (step.state_hash(), lists)
    return _uncut[config.exclude_consumed]


@both
def test_rows_go_round_and_nothing_that_is_left_names_a_free_one(config: LearningConfig) -> None:
    """At every tenth turn: no reference to a free row, nothing in the rows of what was forgotten; boards are full."""
    step = Step(config)
    known: set[str] = set()
    for at, chunk in enumerate(pieces(WHOLE, range(0, len(LOG), EVERY))):
        step.apply(chunk, lists=False)
        known.update(step.items.ids, step.users.ids)
        if at % 10 == 0:
            assert_nothing_is_left(step)
            assert_boards_hold_the_best(step)
    assert (len(step.users), len(step.items)) == (config.max_users, config.max_items)
    assert len(known) > 1.6 * (config.max_users + config.max_items)


@both
@settings(deadline=None, max_examples=15)
@given(places=st.sets(st.integers(1, len(LOG) - 1), max_size=60))
def test_where_a_log_is_cut_changes_neither_state_nor_lists(config: LearningConfig, places: set[int]) -> None:
    """Any cut gives the same state hash and the same last lists, however many rows change hands within a chunk."""
    step = Step(config)
    lists = lists_of(step, pieces(WHOLE, places))
    final, whole_lists = uncut(config)
    assert step.state_hash() == final
    assert lists == whole_lists


@both
def test_event_by_event_gives_what_one_chunk_gives(config: LearningConfig) -> None:
    """The finest cut of all."""
    step = Step(config)
    lists = lists_of(step, pieces(WHOLE, range(len(LOG))))
    assert (step.state_hash(), lists) == uncut(config)


@both
@pytest.mark.parametrize("place", [1_201, *range(1_204, 1_204 + ROUND, 3 * EVERY)])
def test_a_state_loaded_in_the_middle_of_a_round_goes_on_the_same(config: LearningConfig, place: int) -> None:
    """At any part of a round: the same hash, the same lists at once, the same end."""
    step = Step(config)
    lists = lists_of(step, [WHOLE.cut(0, place)])
    loaded = Step.load(config, step.dump())
    assert loaded.state_hash() == step.state_hash()
    users = [*step.users.ids, NOBODY]
    assert loaded.relist(users).slates(0) == step.relist(users).slates(0)
    lists |= lists_of(loaded, [WHOLE.cut(place, len(LOG))])
    assert (loaded.state_hash(), lists) == uncut(config)


def test_the_hash_kept_up_to_date_is_that_of_a_state_made_from_scratch() -> None:
    """Asked for at every turn, through whole rounds, it is what a loaded copy comes to; each state has its own."""
    step, hashes = Step(EXCLUDING), []
    for chunk in pieces(WHOLE, range(0, 1_200, EVERY))[:-1]:
        step.apply(chunk, lists=False)
        hashes.append(step.state_hash())
    assert Step.load(EXCLUDING, step.dump()).state_hash() == hashes[-1]
    assert len(set(hashes)) == len(hashes)


def test_the_hash_knows_how_far_a_round_is() -> None:
    """Limbo, and each part of a round, are state: they decide which row the next id gets, and when."""
    step = Step(KEEPING)
    step.apply(WHOLE.cut(0, 1_204), lists=False)
    dump = step.dump()
    saved = dump.header["eviction"]["items"]
    assert saved["limbo"]
    for change in ({"part": saved["round"]["part"] + 1}, {"wanted": 99}, {"old": 7.5}):
        eviction = {**dump.header["eviction"], "items": {**saved, "round": saved["round"] | change}}
        other = Dump({**dump.header, "eviction": eviction}, dump.arrays, dump.users, dump.items)
        assert Step.load(KEEPING, other).state_hash() != step.state_hash()


def test_a_snapshot_of_before_there_was_eviction_loads() -> None:
    """It says nothing of rounds; at its caps, the first turn begins one."""
    step = Step(KEEPING)
    step.apply(WHOLE.cut(0, 40), lists=False)
    dump = step.dump()
    del dump.header["eviction"]
    loaded = Step.load(KEEPING, dump)
    assert loaded.state_hash() == step.state_hash()
    loaded.apply(WHOLE.cut(40, len(LOG)), lists=False)
    assert loaded.state_hash() == uncut(KEEPING)[0]


def test_below_its_reserve_a_vocabulary_is_left_alone() -> None:
    """With room for all, every id keeps its row, and the state is that of caps never met."""
    users, items = len(set(LOG.user_ids)), len(set(LOG.item_ids))
    step = Step(replace(KEEPING, max_users=cap_for(users), max_items=cap_for(items)))
    step.apply(WHOLE, lists=False)
    assert step.users.ids == list(dict.fromkeys(LOG.user_ids))
    assert step.items.ids == list(dict.fromkeys(LOG.item_ids))
    wide = Step(replace(KEEPING, max_users=10 * users, max_items=10 * items))
    wide.apply(WHOLE, lists=False)
    assert wide.users.ids == step.users.ids


def fed(step: Step, users: list[str], items: list[str], kind: Kind = Kind.click) -> None:
    """Learn these events, one a second."""
    at = step.seq
    times = [START_MS + 1_000 * (at + n) for n in range(len(users))]
    columns = columns_of(users, items, ts_ms=times, kinds=[kind] * len(users), offsets=range(at, at + len(users)))
    step.apply(chunk_of(columns), lists=False)


def test_users_who_were_not_there_for_longest_go_first() -> None:
    """Who came again stays, whoever was first seen earlier."""
    step = Step(TINY)
    users = [f"u{n}" for n in range(46)]
    fed(step, [*users[:44], *users[:44:2], *users[44:]], ["i"] * 68)
    fed(step, ["u45"] * ROUND, ["i"] * ROUND)
    assert set(users) - set(step.users.ids) == {"u1", "u3", "u5"}


def test_items_whose_count_is_the_least_go_first_and_those_never_chosen_before_them() -> None:
    """Use and age in one figure: 8 choices long ago outweigh one a little later; a mere name of the catalogue goes."""
    step = Step(TINY)
    step.apply(catalogue_chunk([Item(item_id="named", categories=["c"])]))
    items = ["much", *(f"i{n}" for n in range(74))]
    fed(step, ["u"] * 82, ["much"] * 7 + items)
    fed(step, ["u"] * ROUND, ["i73"] * ROUND)
    assert {"named", *items} - set(step.items.ids) == {"named", "i0", "i1", "i2", "i3"}


def test_a_new_id_inherits_nothing_of_the_old_one() -> None:
    """What an item was to users (chosen, consumed, hidden, followed by others), the next in its row is not."""
    step = Step(replace(TINY, exclude_consumed=True, list_length=80))
    fed(step, ["u", "u"], ["old", "x"])
    fed(step, ["w"], ["old"], Kind.hide)
    row = step.items.row("old")
    fed(step, ["z"] * 75, ["y", *(f"i{n}" for n in range(74))])
    fed(step, ["z", "w", "u"] * ROUND, ["i73"] * 3 * ROUND)
    assert step.items.row("old") is None
    fed(step, ["n"], ["new"])
    assert step.items.row("new") == row
    places = {place.split(" of ")[0].split(" ")[0] for place, item in item_references(step) if item == row}
    assert places <= {"history", "consumed", "board", "recency", "target"}
    assert [place for place, item in item_references(step) if item == row and "by" in place] == [
        f"consumed by {step.users.row('n')}"
    ]
    fed(step, ["n"], ["i70"])  # so that the new one is followed by something
    again = {slate.user_id: {item.item_id: item for item in slate.items} for slate in listed(step, ["u", "w"])}
    for user_id, items in again.items():
        assert "new" in items, user_id
        assert not any(reason.signal == "yours" for reason in items["new"].reasons)
    assert_nothing_is_left(step)


def test_a_user_in_the_row_of_another_is_a_stranger() -> None:
    """No history, no dismissals, nobody's neighbour: the list of the first event is that of a new user."""
    step = Step(TINY)
    fed(step, ["old"] * 5 + ["o"] * 5, ["a", "b", "c", "d", "e"] * 2)
    fed(step, ["old"], ["e"], Kind.hide)
    row = step.users.row("old")
    fed(step, [f"u{n}" for n in range(44)], ["a", "b"] * 22)
    fed(step, ["u43"] * ROUND, ["a"] * ROUND)
    assert step.users.row("old") is None
    assert [place for place, user in user_references(step) if user == row] == []
    fed(step, ["new"], ["a"])
    assert step.users.row("new") == row
    assert int(step.model.histories.events[row]) == 1
    (slate,) = listed(step, ["new"])
    assert "e" in {item.item_id for item in slate.items}
    assert {reason.evidence for item in slate.items for reason in item.reasons} <= {"", "a"}


def test_lists_are_of_the_ids_they_were_made_with_however_late_they_are_written() -> None:
    """Held back while their items are forgotten and their rows given again, they read as if written at once."""
    at_once, later = Step(KEEPING), Step(KEEPING)
    written, held = [], []
    for chunk in pieces(WHOLE, range(0, len(LOG), 100)):
        written.append(at_once.apply(chunk).slates(7))
        held.append(later.apply(chunk))
    assert [applied.slates(7) for applied in held] == written
    assert later.state_hash() == at_once.state_hash()


def test_what_is_listed_is_known() -> None:
    """No list names an item that was forgotten before its event, nor gives one as a reason; no name is empty."""
    step = Step(EXCLUDING)
    for chunk in pieces(WHOLE, range(len(LOG))):
        before = set(step.items.ids) | set(chunk.columns.item_ids)
        for slate in step.apply(chunk).slates(0):
            named = {item.item_id for item in slate.items}
            assert named <= before - {""}
            assert {reason.evidence for item in slate.items for reason in item.reasons} <= before | {""}
            assert len(named) == len(slate.items)


def listed(step: Step, users: list[str]) -> list[Slate]:
    return step.relist(users).slates(0)
