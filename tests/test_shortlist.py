"""The shortlist: its walk against brute force, its selections against a sort, who is on it and who never is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import SMALL, chunk_of, random_log
from numpy.typing import NDArray

from millstream.online_learning.arena import Arena
from millstream.online_learning.availability import Availability, availability
from millstream.online_learning.covisitation import (
    HALF_LIFE,
    LONG_HALF_LIFE,
    LONG_MASS,
    NEAR_MASS,
    NEXT,
    QUICK,
    QUICK_HALF_LIFE,
    REACH,
    REVERSE,
    SESSION_MASS,
    SESSION_MS,
    SHORT,
    TICK,
)
from millstream.online_learning.histories import since_ms
from millstream.online_learning.interest import WIDTH, interest
from millstream.online_learning.popularity import ALL_TIME, EVENTS, Popularity, popularity
from millstream.online_learning.scratch import (
    AFTER_1,
    AFTER_2,
    AFTER_3,
    BACK,
    CAP,
    KNN,
    LARGEST,
    LISTED,
    LONG7,
    LONG9,
    LONG98,
    NEXT_SHARE,
    QUICK_SUM,
    SECOND,
    SESSION_SUM,
    SHORT_SUM,
    SUMS,
    Scratch,
    bar,
    begin,
    place_of_largest,
    scratch,
    touch,
)
from millstream.online_learning.second_order import BRIDGE_CELLS, BRIDGES, walk_second
from millstream.online_learning.shortlist import (
    BEST_BOTH,
    BEST_INTEREST,
    FULL,
    LEAN,
    MOST,
    _best_by_interest,
    _best_by_query,
    _fill,
    shortlist,
)
from millstream.online_learning.signal import FINE
from millstream.online_learning.slab import UNIT
from millstream.online_learning.step import Step
from millstream.online_learning.vocabulary import Vocabulary
from millstream.online_learning.walk import MOST_PLACES, walk

USERS, ITEMS = 30, 400
QUOTAS = {SHORT_SUM: 30, LONG9: 40, KNN: 20, NEXT_SHARE: 20}
NEAR_HALF_LIVES = {NEXT: HALF_LIFE, SHORT: HALF_LIFE, REVERSE: HALF_LIFE, QUICK: QUICK_HALF_LIFE}
Row = dict[int, tuple[dict[str, float], dict[int, float]]]


@pytest.fixture(scope="module")
def step() -> Step:
    """A step that has learned 3,000 events of 30 users; nothing below changes it."""
    step = Step(SMALL)
    step.apply(chunk_of(random_log(3_000, users=USERS, items=ITEMS, seed=1)), lists=False)
    return step


def chosen_once(items: int) -> Popularity:
    """Counts of so many items, each chosen: one that was not is never proposed."""
    counts = popularity(Arena(), Vocabulary("items", items))
    counts.facts[:, EVENTS] = 1
    return counts


def all_to_be_had(items: int) -> Availability:
    """So many items, none of them withdrawn."""
    return availability(Arena(), Vocabulary("items", items))


def row_of(step: Step, item: int) -> Row:
    """An item's edges as of now, in the row's order: far strengths by name, near ones by relation."""
    c, tick = step.model.covisitation, step.seq // TICK
    edges: Row = {}
    for cell in range(int(c.length[item])):
        unit, at = int(c.start[item]) + cell // UNIT, cell % UNIT
        age = (tick - int(c.touch[unit])) * TICK
        far = {
            "long": float(c.long[unit, at]) * 2.0 ** (-age / LONG_HALF_LIFE),
            "session": float(c.session[unit, at]) * 2.0 ** (-age / HALF_LIFE),
        }
        near = {r: float(c.near[unit, r, at]) * 2.0 ** (-age / h) for r, h in NEAR_HALF_LIVES.items()}
        edges[int(c.neighbour[unit, at])] = (far, near)
    return edges


def masses(step: Step, item: int) -> tuple[float, float, dict[int, float]]:
    c = step.model.covisitation
    age = (step.seq // TICK - int(c.mass_touch[item])) * TICK
    near = {r: float(c.mass[item, NEAR_MASS + r]) * 2.0 ** (-age / h) for r, h in NEAR_HALF_LIVES.items()}
    long, session = float(c.mass[item, LONG_MASS]), float(c.mass[item, SESSION_MASS])
    return long * 2.0 ** (-age / LONG_HALF_LIFE), session * 2.0 ** (-age / HALF_LIFE), near


def queries(
    step: Step, user: int, now_ms: int, places: int = SMALL.history_length
) -> tuple[NDArray[np.float64], dict[int, int]]:
    """Every query over the history, edge by edge: the sums by item, and the place of the largest LONG term."""
    h = step.model.histories
    sums = np.zeros((SMALL.max_items, SUMS))
    via: dict[int, int] = {}
    for place in range(min(places, int(h.held[user]))):
        source = int(h.item[user, place])
        long, session, near_mass = masses(step, source)
        in_session = float(np.exp(-since_ms(h, user, place, now_ms) / SESSION_MS))
        for j, (edge, close) in row_of(step, source).items():
            q = sums[j]
            term = edge["long"] / np.sqrt(long)
            q[LONG98] += 0.98**place * term
            q[LONG9] += 0.9**place * term
            if 0.98**place * term > q[LARGEST]:
                q[LARGEST], via[j] = 0.98**place * term, place
            q[SESSION_SUM] += in_session * edge["session"] / (session + 1e-9)
            if place >= REACH:
                continue
            q[LONG7] += 0.7**place * term
            q[SHORT_SUM] += 0.7**place * close[SHORT] / np.sqrt(near_mass[SHORT] + 1e-9)
            q[QUICK_SUM] += 0.7**place * close[QUICK] / (near_mass[QUICK] + 1e-9)
            share = close[SHORT] / (near_mass[SHORT] + 1e-9)
            if place == 0:
                q[NEXT_SHARE] = close[NEXT] / (near_mass[NEXT] + 1e-9)
                q[BACK] = close[REVERSE] / (near_mass[REVERSE] + 1e-9)
                q[AFTER_1] = share
            elif place == 1:
                q[AFTER_2] = share
            else:
                q[AFTER_3] += share / 3
    return sums, via


def walked(step: Step, s: Scratch, user: int, now_ms: int, effort: int = FULL) -> None:
    begin(s)
    walk(s, step.model.covisitation, step.model.histories, np.int32(user), now_ms, step.seq, effort)
    s.held[1] = s.held[0]


def small_scratch() -> Scratch:
    return scratch(SMALL)


@pytest.mark.parametrize("user", [0, 7, 29])
@pytest.mark.parametrize("later_ms", [0, 60_000, 86_400_000])
@pytest.mark.parametrize("effort", [FULL, LEAN])
def test_the_walk_adds_up_every_query_as_defined(step: Step, user: int, later_ms: int, effort: int) -> None:
    """Sums, the largest term and its place equal a loop over all edges of the history, within 1 %."""
    s = small_scratch()
    now_ms = step.last_ms + later_ms
    walked(step, s, (user + 1) % USERS, now_ms)  # what another ranking left behind must not show
    walked(step, s, user, now_ms, effort)
    sums, via = queries(step, user, now_ms, MOST_PLACES[effort])
    met = s.touched[: int(s.held[1])].tolist()
    assert sorted(met) == sorted(np.flatnonzero(sums[:, LONG98]).tolist())
    np.testing.assert_allclose(s.sums, sums, rtol=0.01, atol=1e-6)
    for j in met:
        if via[j] != place_of_largest(s, j):  # only where two terms are as good as equal
            assert s.sums[j, LARGEST] == pytest.approx(sums[j, LARGEST], rel=1e-4)


@pytest.mark.parametrize("user", [0, 7, 29])
def test_second_order_follows_the_strongest_edges_of_the_last_item(step: Step, user: int) -> None:
    """Σ over the eight best b of r(a, b) / √(n_a n_b) · r(b, j) / n_b; what it meets is cleared by the next ranking."""
    s, h = small_scratch(), step.model.histories
    walked(step, s, user, step.last_ms)
    walk_second(s, step.model.covisitation, h, np.int32(user), step.seq)
    last = int(h.item[user, 0])
    short = {b: near[SHORT] for b, (_, near) in row_of(step, last).items() if near[SHORT] > 0}
    expected = np.zeros(SMALL.max_items)
    for b in sorted(short, key=lambda b: -short[b])[:BRIDGES]:
        total = masses(step, b)[2][SHORT] + 1e-9
        factor = short[b] / np.sqrt((masses(step, last)[2][SHORT] + 1e-9) * total) / total
        for j, (_, near) in list(row_of(step, b).items())[:BRIDGE_CELLS]:
            expected[j] += factor * near[SHORT]
    np.testing.assert_allclose(s.sums[:, SECOND], expected, rtol=0.02, atol=1e-7)
    begin(s)
    assert not s.sums.any()
    assert not s.standing.any()


@settings(deadline=None, max_examples=60)
@given(
    values=st.lists(st.integers(0, 6), min_size=1, max_size=120),
    by=st.sampled_from([LONG98, SHORT_SUM, LONG9, KNN, NEXT_SHARE]),
    most=st.integers(1, 80),
    already=st.sets(st.integers(0, 119), max_size=20),
    barred=st.sets(st.integers(0, 119), max_size=20),
    off=st.sets(st.integers(0, 119), max_size=20),
)
def test_the_best_by_a_query_are_those_of_a_sort(
    values: list[int], by: int, most: int, already: set[int], barred: set[int], off: set[int]
) -> None:
    """The highest values win, ties go to the lower row; zeros, barred, withdrawn and listed items are passed over."""
    s, p, a = scratch(replace(SMALL, max_items=120)), chosen_once(120), all_to_be_had(120)
    a.off[list(off)] = True
    n = len(values)
    for item in np.random.default_rng(n).permutation(n):
        s.sums[item, by] = values[item]
        touch(s, item)
    s.held[1] = s.held[0]
    for item in sorted(already):
        s.standing[item] = LISTED
    for item in sorted(barred):
        bar(s, item)
    free = [item for item in range(n) if values[item] > 0 and item not in already | barred | off]
    best = sorted(free, key=lambda item: (-values[item], item))
    count = _fill(s, p, a, 0, most) if by == LONG98 else _best_by_query(s, p, a, 0, FULL)
    expected = best[: most if by == LONG98 else QUOTAS[by]]
    assert sorted(s.items[:count].tolist()) == sorted(expected)
    assert all(s.standing[item] == LISTED for item in expected)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_is_to_the_users_taste_is_found_among_the_met(seed: int) -> None:
    """The best by interest, and by interest + 2 ln(1 + FINE · LONG98), are those of a sort.

    The barred and the withdrawn are left out.
    """
    rng, items = np.random.default_rng(seed), 300
    s, p, v = (
        scratch(replace(SMALL, max_items=items)),
        chosen_once(items),
        interest(Arena(), Vocabulary("i", items), Vocabulary("u", 1)),
    )
    v.vector[:] = rng.normal(size=v.vector.shape)
    s.pooled.user[1] = rng.normal(size=WIDTH)
    met = rng.permutation(items)[:250].tolist()
    for item in met:
        s.sums[item, LONG98] = rng.exponential(1e-2)
        touch(s, item)
    s.held[1] = s.held[0]
    for item in met[:20]:
        bar(s, item)
    a = all_to_be_had(items)
    a.off[met[20:30]] = True
    liked = v.vector.astype(np.float64) @ s.pooled.user[1]
    both = liked + 2.0 * np.log1p(FINE * s.sums[:, LONG98].astype(np.float64))
    open_ = np.array(met[30:])
    expected = {
        item
        for value, most in ((liked, BEST_INTEREST[FULL]), (both, BEST_BOTH[FULL]))
        for item in open_[np.argsort(-value[open_])][:most].tolist()
    }
    count = _best_by_interest(s, p, a, v, 0, FULL)
    assert set(s.items[:count].tolist()) == expected
    assert count == len(expected)


def test_the_shortlist_never_exceeds_its_cap() -> None:
    """Near the cap only what fits is taken."""
    s = scratch(replace(SMALL, max_items=400))
    for item in range(400):
        s.sums[item, LONG98] = 1.0
        touch(s, item)
    s.held[1] = s.held[0]
    assert _fill(s, chosen_once(400), all_to_be_had(400), CAP - 3, CAP) == CAP
    assert sorted(s.items[CAP - 3 :].tolist()) == [0, 1, 2]
    assert _fill(s, chosen_once(400), all_to_be_had(400), CAP, CAP) == CAP


def listed(step: Step, s: Scratch, user: int, *, own: bool, effort: int = FULL) -> list[int]:
    m = step.model
    n = shortlist(
        s,
        m.histories,
        m.popularity,
        m.recency,
        m.interest,
        m.content,
        m.said,
        m.availability,
        np.int32(user),
        own,
        effort,
    )
    return s.items[:n].tolist()


@pytest.mark.parametrize("user", [0, 7, 29])
def test_own_items_come_first_and_no_item_twice(step: Step, user: int) -> None:
    """With `own`, the history stands at the front in its order; the most popular item is on every list."""
    s = small_scratch()
    walked(step, s, user, step.last_ms)
    items = listed(step, s, user, own=True)
    h, p = step.model.histories, step.model.popularity
    assert items[: h.held[user]] == h.item[user, : h.held[user]].tolist()
    assert len(set(items)) == len(items) <= CAP
    assert int(p.best[ALL_TIME, 0]) in items
    assert set(step.model.recency.item[: step.model.recency.held[0]].tolist()) <= set(items)


@pytest.mark.parametrize("user", [0, 7, 29])
def test_barred_items_are_never_listed(step: Step, user: int) -> None:
    """Barring the history and the most popular items takes exactly them away, whatever proposed them."""
    s = small_scratch()
    walked(step, s, user, step.last_ms)
    h, p = step.model.histories, step.model.popularity
    barred = {*h.item[user, : h.held[user]].tolist(), *p.best[ALL_TIME, :10].tolist()}
    for item in sorted(barred):
        bar(s, item)
    items = listed(step, s, user, own=False)
    assert items
    assert not barred & set(items)


def test_a_user_without_history_is_offered_what_is_popular_and_recent(step: Step) -> None:
    """Nobody's row meets nothing on the walk, and still gets a shortlist."""
    s = small_scratch()
    nobody = step.users.capacity
    walked(step, s, nobody, step.last_ms)
    assert s.held[1] == 0
    items = listed(step, s, nobody, own=True)
    assert set(step.model.popularity.best[ALL_TIME, :30].tolist()) <= set(items)


@pytest.mark.parametrize("user", [0, 7, 29])
def test_a_lean_shortlist_is_shorter_and_still_has_the_own_items(step: Step, user: int) -> None:
    """Under load fewer items are scored; none of them twice."""
    s = small_scratch()
    walked(step, s, user, step.last_ms, LEAN)
    items = listed(step, s, user, own=True, effort=LEAN)
    assert len(set(items)) == len(items) <= MOST[LEAN] < CAP
    assert int(step.model.histories.item[user, 0]) in items
