"""Influence: what one user may add to others' lists, how it refills, and what becomes of what is beyond it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from logs import SMALL, START_MS, chunk_of, columns_of, random_log

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.popularity import EVENTS
from millstream.online_learning.step import Step
from millstream.schemas.columns import InteractionColumns
from millstream.schemas.records import Kind

OWN = {"histories", "touched", "influence", "consumed_rows", "consumed_cells", "consumed_slab"}
"""Tables that only their user's lists read, or that none does."""
CAPPED = replace(SMALL, shared_repeats=4, shared_repeat_s=3_600, shared_choices=20, shared_choice_s=60)
HOUR_MS = 3_600_000


def learned(columns: InteractionColumns, config: LearningConfig = CAPPED) -> Step:
    step = Step(config)
    step.apply(chunk_of(columns), lists=False)
    return step


def counted(step: Step, item: str) -> int:
    return int(step.model.popularity.facts[step.items.row(item), EVENTS])


def at_hours(*hours: float) -> list[int]:
    return [START_MS + int(hour * HOUR_MS) for hour in hours]


def test_repeats_of_one_item_count_for_others_up_to_the_budget() -> None:
    """Of ten clicks in a row four count; the user's own history has all ten; another user has a budget of their own."""
    step = learned(columns_of([*["u"] * 10, "v"], ["a"] * 11))
    assert counted(step, "a") == 5
    h = step.model.histories
    assert (h.times[0, 0], h.events[0]) == (10, 10)
    assert h.quiet[:2, 0].tolist() == [1, 0]


def test_the_budget_refills_with_time() -> None:
    """Spent at once, it gives one more an hour later, and all of it when it has had the time."""
    times = at_hours(0, 0, 0, 0, 0, 1.1, 1.2, 30, 30, 30, 30, 30)
    assert counted(learned(columns_of(["u"] * 12, ["a"] * 12, ts_ms=times)), "a") == 4 + 1 + 4


def test_an_event_takes_its_weight_from_the_budget() -> None:
    """Two purchases of weight 3 use up a budget of 4: one was left for the second."""
    kinds = [Kind.purchase] * 4
    step = learned(columns_of(["u"] * 4, ["a"] * 4, kinds=kinds))
    assert counted(step, "a") == 2
    assert step.model.popularity.value[0, 0] == pytest.approx(6.0, rel=0.01)


def test_all_items_of_a_user_share_a_budget_too() -> None:
    """Thirty items within a minute: the first twenty count."""
    items = [f"i{n}" for n in range(30)]
    step = learned(columns_of(["u"] * 30, items))
    assert [counted(step, item) for item in items] == [1] * 20 + [0] * 10


def test_a_budget_of_none_lets_everything_count() -> None:
    """Both may be switched off."""
    free = replace(CAPPED, shared_repeats=0, shared_choices=0)
    assert counted(learned(columns_of(["u"] * 40, ["a"] * 40), free), "a") == 40


@pytest.mark.parametrize("kind", [Kind.click, Kind.purchase])
@pytest.mark.parametrize("exclude", [False, True], ids=["keeping", "excluding"])
def test_what_is_not_shared_changes_nothing_that_other_users_are_ranked_with(kind: Kind, exclude: bool) -> None:
    """One choice too many: only its user's own tables change, the blend and the open block do not."""
    log = random_log(300, users=20, items=30, seed=2)
    pushing = columns_of(["u"] * 5, ["i3"] * 5, ts_ms=at_hours(*[10_000.0] * 5), kinds=[Kind.purchase] * 4 + [kind])
    step = learned(log, replace(CAPPED, exclude_consumed=exclude))
    step.apply(chunk_of(replace(pushing, offsets=np.arange(300, 305)).cut(0, 4)), lists=False)
    before = {name: table.digest() for name, table in step.arena.tables.items()}
    step.apply(chunk_of(replace(pushing, offsets=np.arange(300, 305)).cut(4, 5)), lists=False)
    after = {name: table.digest() for name, table in step.arena.tables.items()}
    assert {name for name in before if before[name] != after[name]} <= OWN
    assert before["histories"] != after["histories"]


def test_what_is_chosen_next_is_not_joined_to_an_item_that_was_pushed() -> None:
    """After four clicks an edge leads on from the item; after a fifth there is none to be had by it."""
    for pushes, edges in ((4, 1), (5, 0)):
        step = learned(columns_of(["u"] * (pushes + 1), ["a"] * pushes + ["b"]))
        assert step.model.covisitation.length[:2].tolist() == [edges, edges]


def test_a_clock_that_jumps_back_finds_a_full_budget() -> None:
    """After a time in the far future, as after another input that was read first, the present counts as it would."""
    times = [*at_hours(10**5), START_MS, *at_hours(*[4.1] * 6)]
    step = learned(columns_of(["u"] * 8, ["a"] * 8, ts_ms=times))
    assert counted(step, "a") == 1 + 1 + 4


@pytest.mark.parametrize("ts_ms", [-(10**12), 0, 2**32 * 1_000, 10**15])
def test_any_time_has_a_budget(ts_ms: int) -> None:
    """Before the epoch, at it, and beyond the seconds that fit: the first choices count and the tenth does not."""
    assert 1 <= counted(learned(columns_of(["u"] * 10, ["a"] * 10, ts_ms=[ts_ms] * 10)), "a") <= 10
