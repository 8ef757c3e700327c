"""Similar items: the kernel against sums made from a plain walk of the edges, and whose turn it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from logs import random_log

from millstream.online_learning.changed import Changed
from millstream.online_learning.config import LearningConfig
from millstream.online_learning.covisitation import LONG_HALF_LIFE, LONG_MASS, TICK
from millstream.online_learning.similar import SIMILAR
from millstream.online_learning.slab import UNIT
from millstream.online_learning.step import Step
from millstream.schemas.columns import Chunk

EVENTS = 800
TOLD_TO = 2e-5
"""A list tells scores to five digits behind the point."""


def learned() -> Step:
    step = Step(LearningConfig(max_users=64, max_items=128, list_length=10))
    log = random_log(EVENTS, users=20, items=60, seed=5)
    step.apply(Chunk("interactions", 0, 0, EVENTS, log), lists=False)
    return step


def cosines(step: Step, item: int) -> dict[str, float]:
    """What each edge of an item comes to, by the id at its end."""
    c, tick = step.model.covisitation, step.seq // TICK

    def faded(value: float, touch: int) -> float:
        return float(value * 0.5 ** ((tick - touch) * TICK / LONG_HALF_LIFE))

    def mass(row: int) -> float:
        return faded(float(c.mass[row, LONG_MASS]), int(c.mass_touch[row]))

    found = {}
    for place in range(int(c.length[item])):
        unit, at = int(c.start[item]) + place // UNIT, place % UNIT
        other = int(c.neighbour[unit, at])
        strength = faded(float(c.long[unit, at]), int(c.touch[unit]))
        found[step.items.ids[other]] = strength / math.sqrt(mass(item) * mass(other))
    return found


def test_the_list_is_the_best_by_cosine() -> None:
    """Each place scores what its edge comes to, no edge left out scores more, and the reason is the item itself."""
    step = learned()
    lists = {slate.user_id: slate for slate in step.similar.changed(1_000).slates(0)}
    assert lists.keys() == set(step.items.ids)
    for row, item_id in enumerate(step.items.ids):
        slate, expected = lists[item_id], cosines(step, row)
        best = sorted(expected.values(), reverse=True)[:10]
        np.testing.assert_allclose([item.score for item in slate.items], best, atol=TOLD_TO)
        for item in slate.items:
            assert item.score == pytest.approx(expected[item.item_id], abs=TOLD_TO)
            assert [(each.signal, each.evidence) for each in item.reasons] == [("together", item_id)]
        assert (slate.list, slate.version.position) == (SIMILAR, EVENTS)


def test_making_lists_changes_no_state() -> None:
    """The state hash is the same before and after, and the next call has nothing left to do."""
    step = learned()
    before = step.state_hash()
    assert len(step.similar.changed(1_000).user_ids) == len(step.items)
    assert step.similar.changed(1_000).user_ids == []
    assert step.state_hash() == before


def test_items_take_turns() -> None:
    """With more changed items than one call takes, every one comes before any comes again."""
    changed = Changed(10)
    changed.note(np.array([1, 3, 5, 7, -1], np.int32))
    assert changed.take(2).tolist() == [1, 3]
    changed.note(np.array([1, 3], np.int32))
    assert changed.take(2).tolist() == [5, 7]
    assert changed.take(3).tolist() == [1, 3]
    assert changed.take(3).tolist() == []


def test_lists_made_again_are_those_that_were_made() -> None:
    """By id instead of by what changed; the items that have a list at all are named."""
    step = learned()
    items = step.similar.names()
    assert set(items) == {step.items.ids[row] for row in np.flatnonzero(step.model.covisitation.length)}
    before = {slate.user_id: slate for slate in step.similar.changed(1_000).slates(0)}
    assert step.similar.of([*items[:5], "unknown"]).slates(0) == [before[item] for item in items[:5]]
    assert step.similar.changed(1_000).slates(0) == []
