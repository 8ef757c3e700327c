"""The popular list of each category: its items alone, best first for somebody unknown, with their reasons."""

from __future__ import annotations

import numpy as np
import pytest
from logs import chunk_of, columns_of, random_log

from millstream.online_learning.category_lists import CATEGORY, H1000
from millstream.online_learning.config import LearningConfig
from millstream.online_learning.popularity import counted
from millstream.online_learning.scratch import CAP
from millstream.online_learning.step import NOBODY, Step
from millstream.schemas.columns import catalogue_chunk
from millstream.schemas.records import Item

CONFIG = LearningConfig(max_users=64, max_items=1_024, neighbours_per_item=16, list_length=10)
ITEMS = [
    Item(item_id=f"i{number}", categories=[f"c{number % 7}", "all"] if number < 500 else ["rare"])
    for number in range(700)
]


@pytest.fixture
def step() -> Step:
    step = Step(CONFIG)
    step.apply(catalogue_chunk(ITEMS))
    step.apply(chunk_of(random_log(3_000, users=20, items=500, seed=3)))
    return step


def items_of(step: Step, name: str) -> list[str]:
    slate = step.in_category.of([name]).slates(0)[0]
    assert (slate.list, slate.user_id) == (CATEGORY, name)
    for item in slate.items:
        assert sum(reason.contribution for reason in item.reasons) == pytest.approx(item.score, rel=1e-4)
    assert [item.score for item in slate.items] == sorted((item.score for item in slate.items), reverse=True)
    return [item.item_id for item in slate.items]


@pytest.mark.parametrize("name", ["c0", "c3", "c6", "all"])
def test_it_holds_the_best_of_its_items(step: Step, name: str) -> None:
    """Of the CAP chosen most lately, by the score that somebody unknown would have them."""
    of = {item.item_id for item in ITEMS if name in item.categories}
    rows = [row for row, id_ in enumerate(step.items.ids) if id_ in of and step.model.popularity.facts[row, 3] > 0]
    by_count = {row: counted(step.model.popularity, row, H1000, step.seq, step.last_ms) for row in rows}
    most = sorted(rows, key=lambda row: (-by_count[row], row))[:CAP]
    found = items_of(step, name)
    assert len(found) == 10
    assert {step.items.row(item) for item in found} <= set(most)
    popular = [item.item_id for item in step.relist([NOBODY]).slates(0)[0].items if item.item_id in of]
    if name == "all":  # what everybody is shown is, as far as it goes, what the category shows
        assert found[:5] == popular[:5]
    assert items_of(step, "rare") == []  # nobody has chosen any


def test_what_is_withdrawn_or_moved_is_not_on_it(step: Step) -> None:
    """And the categories it was in, and is in, are those to be made again."""
    step.in_category.changed(100)
    first, second, third = items_of(step, "c3")[:3]
    at = step.catalogue["items", 0]
    moved = [Item(item_id=first, available=False, categories=["c3"]), Item(item_id=second, categories=["c1"])]
    step.apply(catalogue_chunk(moved, start=at))
    assert set(step.in_category.changed(100).user_ids) == {"c3", "all", "c1"}
    assert items_of(step, "c3")[0] == third
    assert second in items_of(step, "c1")


def test_those_that_changed_take_turns(step: Step) -> None:
    """Each once, until an item of theirs is chosen; a later list is a newer one."""
    made: list[str] = []
    while part := step.in_category.changed(3).slates(0):
        made += [slate.user_id for slate in part]
    assert sorted(made) == sorted({*step.in_category.names()} - {"rare"})  # of which nothing was chosen
    before = step.in_category.of(["c2"]).encoded(0)[0].version
    end = step.positions["interactions", 0]
    step.apply(chunk_of(columns_of(["u1"], ["i2"], offsets=[end], ts_ms=[step.last_ms + 1]), start=end))
    changed = step.in_category.changed(100)
    assert set(changed.user_ids) == {"c2", "all"}
    assert all(slate.version > before for slate in changed.encoded(0))
    assert step.state_hash() == step.state_hash()


def test_a_list_changes_no_state(step: Step) -> None:
    """Whoever asks, and however often."""
    before = step.state_hash()
    step.in_category.of([*step.in_category.names(), "nowhere"])
    assert step.state_hash() == before
    assert step.in_category.of(["nowhere"]).slates(0) == []
    assert not np.isnan(step.bench.scores).any()
