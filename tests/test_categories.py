"""Categories: both signals recomputed from the log and the catalogue, and what the catalogue may say."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from logs import SMALL, chunk_of, columns_of
from oracles import World, categories_of, signals_of, world

from millstream.online_learning.categories import HALF_LIFE_EVENTS, SIGNALS
from millstream.online_learning.config import LearningConfig
from millstream.online_learning.step import NOBODY, Step
from millstream.schemas.columns import catalogue_chunk
from millstream.schemas.records import Item

NAMES = [signal.name for signal in SIGNALS]


@pytest.fixture(scope="module")
def learned() -> World:
    return world()


def of(learned: World, item: int) -> list[str]:
    return categories_of(int(learned.step.items.ids[item][1:]))


def test_the_signals_are_those_of_the_log(learned: World) -> None:
    """The share of each category in the history, newest most, and what category follows the last item's."""
    after: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    newest: dict[int, int] = {}
    last = learned.log[-1].seq
    for event in learned.log:
        if event.user in newest:
            for source in of(learned, newest[event.user]):
                for target in of(learned, event.item):
                    after[source][target] += 2.0 ** (-(last - event.seq) / HALF_LIFE_EVENTS)
        newest[event.user] = event.item
    pasts = learned.pasts()

    def expected(user: int, item: int, _: int) -> list[float]:
        mine = of(learned, item)
        weights = 0.9 ** np.arange(len(pasts[user].own))
        affinity = defaultdict(float)
        for own, weight in zip(pasts[user].own, weights / weights.sum(), strict=True):
            for name in of(learned, own.item):
                affinity[name] += weight
        sources = of(learned, pasts[user].own[0].item)
        pairs = [after[a][b] / sum(after[a].values()) for a in sources for b in mine]
        mean_affinity = np.mean([affinity[name] for name in mine]) if mine else 0.0
        return [float(np.log1p(100 * mean_affinity)), float(np.log1p(300 * np.mean(pairs))) if pairs else 0.0]

    assert any(len(of(learned, item)) == 3 for item in range(60))
    learned.check(NAMES, expected, 1e-3)


def test_without_a_catalogue_both_signals_are_zero() -> None:
    """Nothing is known, nothing is said, nothing is counted."""
    step = Step(SMALL)
    step.apply(chunk_of(columns_of(["u", "u", "v"], ["a", "b", "a"])), lists=False)
    rows = signals_of(step, 0, step.last_ms)
    assert all(row[name] == 0.0 for row in rows.values() for name in NAMES)
    assert not step.model.categories.after.any()


def test_the_catalogue_is_taken_in_once_a_category_three_an_item_within_the_cap() -> None:
    """A name twice counts once, a fourth is left out, so is a name beyond the cap; a new entry replaces the old one."""
    step = Step(LearningConfig(max_users=9, max_items=2, max_categories=4))
    step.apply(catalogue_chunk([Item(item_id="a", categories=["x", "x", "y", "z", "w"])]))
    part = step.model.categories
    assert part.of[0].tolist() == [1, 2, 3]
    two = [Item(item_id="b", categories=["u", "v", "x"]), Item(item_id="not admitted", categories=["x"])]
    step.apply(catalogue_chunk(two, start=1))
    assert part.of[1].tolist() == [4, 1, 0]
    step.apply(catalogue_chunk([Item(item_id="a", categories=["y"])], start=3))
    assert part.of[0].tolist() == [2, 0, 0]
    assert step.categories.ids == ["x", "y", "z", "u"]
    assert not step.relist([NOBODY]).slates(0)[0].items


def test_a_long_silence_leaves_shares_as_they_were() -> None:
    """Counts fade together: what follows what is a share, however small the counts have become."""
    step = Step(SMALL)
    step.apply(catalogue_chunk([Item(item_id="a", categories=["x"]), Item(item_id="b", categories=["y"])]))
    step.apply(chunk_of(columns_of(["u", "u", "v"], ["a", "b", "a"])), lists=False)
    before = signals_of(step, step.users.rows(["v"])[0], step.last_ms)
    assert before[1]["category_next"] == pytest.approx(np.log(301), rel=1e-5)
    step.seq += 10**7
    assert signals_of(step, step.users.rows(["v"])[0], step.last_ms)[1]["category_next"] == before[1]["category_next"]
    more = columns_of(["u", "u"], ["a", "b"], offsets=[3, 4])
    step.apply(chunk_of(more), lists=False)
    total = step.model.categories.total
    assert step.model.categories.after.sum(axis=1) == pytest.approx(total, rel=1e-5)
