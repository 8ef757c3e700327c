"""Popularity against exact powers of two, and its boards against a sort."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from millstream.online_learning.arena import Arena
from millstream.online_learning.popularity import (
    ALL_TIME,
    BEST,
    COUNTS,
    EVENTS,
    FIRST,
    HALF_LIVES_EVENTS,
    HALF_LIVES_MS,
    LAST,
    LAST_MS,
    USERS,
    Popularity,
    count,
    counted,
    popularity,
    totalled,
)
from millstream.online_learning.vocabulary import Vocabulary

ONE = np.float32(1.0)
Log = list[tuple[int, int, int]]
"""Item, `seq`, milliseconds."""


def declared(items: int) -> Popularity:
    return popularity(Arena(), Vocabulary("items", items))


def exact(log: Log, which: int, seq: int, now_ms: int) -> NDArray[np.float64]:
    """Σ 2^(-age/h) by item, the definition itself, shape (items,)."""
    counts = np.zeros(1 + max(item for item, _, _ in log))
    events, millis = (np.inf, np.inf) if which == ALL_TIME else (HALF_LIVES_EVENTS[which], HALF_LIVES_MS[which])
    for item, at, ms in log:
        counts[item] += 2.0 ** (-(seq - at) / events - (now_ms - ms) / millis)
    return counts


def skewed(events: int, items: int, seed: int) -> Log:
    """A log in which a few items take most, with gaps from nothing to hours."""
    rng = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, items + 1)
    chosen = rng.choice(items, events, p=weights / weights.sum()).tolist()
    times = (10**12 + np.cumsum(rng.choice([0, 1_000, 600_000, 20_000_000], events))).tolist()
    return list(zip(chosen, range(1, events + 1), times, strict=True))


def fed(log: Log, items: int) -> Popularity:
    p = declared(items)
    known: set[int] = set()
    for item, at, ms in log:
        count(p, np.int32(item), item not in known, ms, at, ONE)
        known.add(item)
    return p


@pytest.mark.parametrize("which", range(COUNTS))
def test_counts_are_the_sum_of_decayed_events(which: int) -> None:
    """Every count of any age equals Σ 2^(-age/h) within 1 %, and the total is their sum."""
    log = skewed(2_000, 40, 1)
    p = fed(log, 40)
    seq, now_ms = log[-1][1] + 7, log[-1][2] + 3_600_000
    oracle = exact(log, which, seq, now_ms)
    for item, value in enumerate(oracle.tolist()):
        assert counted(p, np.int32(item), which, seq, now_ms) == pytest.approx(value, rel=0.01, abs=1e-6)
    assert totalled(p, which, seq, now_ms) == pytest.approx(oracle.sum(), rel=1e-3)


@pytest.mark.parametrize("which", [1, 2, 3])
def test_an_item_chosen_all_the_time_does_not_grow_without_bound(which: int) -> None:
    """A count touched every event settles at 1 / (1 - 2^(-1/h)): small decays are not rounded away."""
    half_life = HALF_LIVES_EVENTS[which]
    events = int(3 * half_life)
    p = fed([(0, at, 1_000) for at in range(1, events + 1)], 1)
    settled = (1 - 2.0 ** (-events / half_life)) / (1 - 2.0 ** (-1 / half_life))
    assert counted(p, np.int32(0), which, events, 1_000) == pytest.approx(settled, rel=0.01)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), items=st.sampled_from([5, BEST, 150]), events=st.integers(1, 400))
def test_the_board_is_a_full_sort(seed: int, items: int, events: int) -> None:
    """Each board holds the most popular items by falling count, complete to BEST; equal counts by lower row."""
    log = skewed(events, items, seed)
    p = fed(log, items)
    for which in range(COUNTS):
        held = int(p.best_held[which])
        board = p.best[which, :held].tolist()
        assert held == min(BEST, len({item for item, _, _ in log})) == len(set(board))
        oracle = exact(log, which, log[-1][1], log[-1][2])
        best = np.sort(oracle)[::-1][:held]
        assert oracle[board].tolist() == pytest.approx(best.tolist(), rel=1e-4, abs=1e-9)
        if which == ALL_TIME:
            assert board == sorted(range(len(oracle)), key=lambda item: (-oracle[item], item))[:held]


def test_the_facts_of_an_item_are_what_they_say() -> None:
    """First and last event, time of the last, events, users; an event from the past does not set the clock back."""
    p = declared(5)
    for at, (item, fresh, ms) in enumerate([(3, True, 50), (1, True, 60), (3, False, 70), (3, True, 65)], start=1):
        count(p, np.int32(item), fresh, ms, at, ONE)
    facts = p.facts[3]
    assert (facts[FIRST], facts[LAST], facts[LAST_MS], facts[EVENTS], facts[USERS]) == (1, 4, 70, 3, 2)
    assert p.facts[:, EVENTS].tolist() == [0, 1, 0, 3, 0]
    assert p.seen[ALL_TIME] == 2
    assert p.dirty.tolist() == [0, 1, 0, 1, 0]
    assert p.board_dirty.all()


def test_all_time_counts_are_whole_numbers_beyond_float32() -> None:
    """A float32 stops counting at 2^24; all-time popularity goes on."""
    p = fed([(0, 1, 1_000)], 1)
    p.facts[0, EVENTS] = 2**24
    count(p, np.int32(0), False, 1_000, 2, ONE)
    assert counted(p, np.int32(0), ALL_TIME, 2, 1_000) == 2**24 + 1


def test_nothing_overflows_after_ten_million_half_lives() -> None:
    """Counters are (value, last touch): a long log, a long gap or a clock that runs backwards is no danger."""
    now, now_ms = 10**9, 4 * 10**12
    p = fed([(0, 1, 0), (1, 30_000, now_ms), (1, 30_001, 5), (0, now, now_ms)], 2)
    for which in range(COUNTS):
        assert np.isfinite(p.value).all()
        assert np.isfinite(totalled(p, which, now, now_ms))
        assert 1.0 <= counted(p, np.int32(0), which, now, now_ms) <= 2.0
