"""The shortlist: its walk against brute force, its selections against a sort, who is on it and who never is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import SMALL, chunk_of, random_log
from numpy.typing import NDArray

from millstream.online_learning.covisitation import (
    LONG_HALF_LIFE,
    NEAR_HALF_LIVES,
    NEXT,
    QUICK,
    REACH,
    REVERSE,
    SESSION_HALF_LIFE,
    SESSION_MS,
    SHORT,
    TICK,
)
from millstream.online_learning.shortlist import (
    AFTER_1,
    AFTER_2,
    AFTER_3,
    BACK,
    CAP,
    LISTED,
    LONG9,
    LONG98,
    LONG_MAX,
    NEXT_SHARE,
    QUICK_SUM,
    SESSION_SUM,
    SHORT_SUM,
    Scratch,
    _best_met,
    bar,
    scratch,
    shortlist,
    slot_of,
    walk,
)
from millstream.online_learning.slab import UNIT
from millstream.online_learning.step import Step

USERS, ITEMS = 30, 400
Row = dict[int, tuple[dict[str, float], dict[int, float]]]


@pytest.fixture(scope="module")
def step() -> Step:
    """A step that has learned 3,000 events of 30 users; nothing below changes it."""
    step = Step(SMALL)
    step.apply(chunk_of(random_log(3_000, users=USERS, items=ITEMS, seed=1)), lists=False)
    return step


def row_of(step: Step, item: int) -> Row:
    """An item's edges as of now: far strengths by name, near ones by relation."""
    c, tick = step.model.covisitation, step.seq // TICK
    edges: Row = {}
    for at in range(int(c.length[item])):
        cell = (int(c.start[item]) + at // UNIT, at % UNIT)
        age, near_age = ((tick - int(touch[cell])) * TICK for touch in (c.touch, c.near_touch))
        far = {
            "long": float(c.long[cell]) * 2.0 ** (-age / LONG_HALF_LIFE),
            "session": float(c.session[cell]) * 2.0 ** (-age / SESSION_HALF_LIFE),
        }
        near = {r: float(c.near[cell][r]) * 2.0 ** (-near_age / h) for r, h in enumerate(NEAR_HALF_LIVES)}
        edges[int(c.neighbour[cell])] = (far, near)
    return edges


def masses(step: Step, item: int) -> tuple[float, float, dict[int, float]]:
    c, tick = step.model.covisitation, step.seq // TICK
    age, near_age = (tick - int(c.mass_touch[item])) * TICK, (tick - int(c.near_mass_touch[item])) * TICK
    near = {r: float(c.near_mass[item, r]) * 2.0 ** (-near_age / h) for r, h in enumerate(NEAR_HALF_LIVES)}
    long, session = float(c.mass[item, 0]), float(c.mass[item, 1])
    return long * 2.0 ** (-age / LONG_HALF_LIFE), session * 2.0 ** (-age / SESSION_HALF_LIFE), near


def queries(step: Step, user: int, now_ms: int) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[int, int]]:
    """Every query over the history, edge by edge: far and near sums, and the place of the largest LONG term."""
    h = step.model.histories
    far, near = np.zeros((SMALL.max_items, 4)), np.zeros((SMALL.max_items, 8))
    via: dict[int, int] = {}
    for place in range(int(h.held[user])):
        source = int(h.item[user, place])
        long, session, near_mass = masses(step, source)
        in_session = float(np.exp(-max(0, now_ms - int(h.ts_ms[user, place])) / SESSION_MS))
        for j, (edge, close) in row_of(step, source).items():
            term = edge["long"] / np.sqrt(long)
            far[j, LONG98] += 0.98**place * term
            far[j, LONG9] += 0.9**place * term
            if 0.98**place * term > far[j, LONG_MAX]:
                far[j, LONG_MAX], via[j] = 0.98**place * term, place
            if in_session > 1e-3:
                far[j, SESSION_SUM] += in_session * edge["session"] / (session + 1e-9)
            if place >= REACH:
                continue
            near[j, SHORT_SUM] += 0.7**place * close[SHORT] / np.sqrt(near_mass[SHORT] + 1e-9)
            near[j, QUICK_SUM] += 0.7**place * close[QUICK] / (near_mass[QUICK] + 1e-9)
            share = close[SHORT] / (near_mass[SHORT] + 1e-9)
            if place == 0:
                near[j, NEXT_SHARE] = close[NEXT] / (near_mass[NEXT] + 1e-9)
                near[j, BACK] = close[REVERSE] / (near_mass[REVERSE] + 1e-9)
                near[j, AFTER_1] = share
            elif place == 1:
                near[j, AFTER_2] = share
            else:
                near[j, AFTER_3] += share / 3
    return far, near, via


def walked(step: Step, s: Scratch, user: int, now_ms: int) -> None:
    walk(s, step.model.covisitation, step.model.histories, np.int32(user), now_ms, step.seq)


@pytest.mark.parametrize("user", [0, 7, 29])
@pytest.mark.parametrize("later_ms", [0, 60_000, 86_400_000])
def test_the_walk_adds_up_every_query_as_defined(step: Step, user: int, later_ms: int) -> None:
    """Sums, the largest term and its place equal a loop over all edges of the history, within 1 %."""
    s = scratch(SMALL.max_items)
    now_ms = step.last_ms + later_ms
    walked(step, s, (user + 1) % USERS, now_ms)  # what another ranking left behind must not show
    walked(step, s, user, now_ms)
    far, near, via = queries(step, user, now_ms)
    slots = range(1, int(s.slots[1]) + 1)
    met = s.met[slots.start : slots.stop].tolist()
    assert sorted(met) == sorted(np.flatnonzero(far[:, LONG98]).tolist())
    assert [int(s.slot[item]) for item in met] == list(slots)
    np.testing.assert_allclose(s.far[list(slots)], far[met], rtol=0.01, atol=1e-6)
    np.testing.assert_allclose(s.near[list(slots)], near[met], rtol=0.01, atol=1e-6)
    for slot, j in zip(slots, met, strict=True):
        runners_up = sorted((place for place in {via[j], int(s.via[slot])}), reverse=True)
        if len(runners_up) > 1:  # only where two terms are as good as equal
            assert s.far[slot, LONG_MAX] == pytest.approx(far[j, LONG_MAX], rel=1e-4)


@settings(deadline=None, max_examples=60)
@given(
    values=st.lists(st.integers(0, 6), min_size=1, max_size=120),
    most=st.integers(1, 80),
    already=st.sets(st.integers(0, 119), max_size=20),
    barred=st.sets(st.integers(0, 119), max_size=20),
)
def test_the_best_by_a_query_are_those_of_a_sort(
    values: list[int], most: int, already: set[int], barred: set[int]
) -> None:
    """The highest values win, ties go to the lower row; zeros, barred and listed items are passed over."""
    s = scratch(120)
    n = len(values)
    for item in np.random.default_rng(n).permutation(n):
        s.far[slot_of(s, item), LONG98] = values[item]
    s.slots[1] = s.slots[0]
    for item in sorted(already):
        s.standing[slot_of(s, item)] = LISTED
    for item in sorted(barred):
        bar(s, item)
    free = [item for item in range(n) if values[item] > 0 and item not in already | barred]
    expected = sorted(free, key=lambda item: (-values[item], item))[:most]
    count = _best_met(s, s.far, LONG98, most, 0)
    assert sorted(s.items[:count].tolist()) == sorted(expected)
    assert all(s.standing[s.slot[item]] == LISTED for item in expected)


def test_the_shortlist_never_exceeds_its_cap() -> None:
    """Near the cap only what fits is taken."""
    s = scratch(400)
    for item in range(400):
        s.far[slot_of(s, item), LONG98] = 1.0
    s.slots[1] = s.slots[0]
    assert _best_met(s, s.far, LONG98, 300, CAP - 3) == CAP
    assert s.items[CAP - 3 :].tolist() == [0, 1, 2] or sorted(s.items[CAP - 3 :].tolist()) == [0, 1, 2]
    assert _best_met(s, s.far, LONG98, 300, CAP) == CAP


def listed(step: Step, s: Scratch, user: int, *, own: bool) -> list[int]:
    m = step.model
    n = shortlist(s, m.histories, m.popularity, m.recency, np.int32(user), own)
    return s.items[:n].tolist()


@pytest.mark.parametrize("user", [0, 7, 29])
def test_own_items_come_first_and_no_item_twice(step: Step, user: int) -> None:
    """With `own`, the history stands at the front in its order; the most popular item is on every list."""
    s = scratch(SMALL.max_items)
    walked(step, s, user, step.last_ms)
    items = listed(step, s, user, own=True)
    h, p = step.model.histories, step.model.popularity
    assert items[: h.held[user]] == h.item[user, : h.held[user]].tolist()
    assert len(set(items)) == len(items) <= CAP
    assert int(p.best[0, 0]) in items
    assert set(step.model.recency.item[: step.model.recency.held[0]].tolist()) <= set(items)


@pytest.mark.parametrize("user", [0, 7, 29])
def test_barred_items_are_never_listed(step: Step, user: int) -> None:
    """Barring the history and the most popular items takes exactly them away, whatever proposed them."""
    s = scratch(SMALL.max_items)
    walked(step, s, user, step.last_ms)
    h, p = step.model.histories, step.model.popularity
    barred = {*h.item[user, : h.held[user]].tolist(), *p.best[0, :10].tolist()}
    for item in sorted(barred):
        bar(s, item)
    items = listed(step, s, user, own=False)
    assert items
    assert not barred & set(items)


def test_a_user_without_history_is_offered_what_is_popular_and_recent(step: Step) -> None:
    """Nobody's row meets nothing on the walk, and still gets a shortlist."""
    s = scratch(SMALL.max_items)
    nobody = step.users.capacity
    walked(step, s, nobody, step.last_ms)
    assert s.slots[1] == 0
    items = listed(step, s, nobody, own=True)
    assert set(step.model.popularity.best[0, :30].tolist()) <= set(items)
