"""Own past: every signal of every item recomputed from the log."""

from __future__ import annotations

import numpy as np
import pytest
from logs import START_MS, chunk_of, columns_of
from oracles import SESSION_GAP_MS, World, signals_of, world

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.own_past import SIGNALS
from millstream.online_learning.step import Step
from millstream.schemas.records import Kind

NAMES = [signal.name for signal in SIGNALS]


@pytest.fixture(scope="module")
def learned() -> World:
    return world()


def test_the_signals_are_those_of_the_log(learned: World) -> None:
    """Of items in the user's history as the module's table says, of all others 0."""
    pasts = learned.pasts()

    def expected(user: int, item: int, now_ms: int) -> list[float]:
        past = pasts[user]
        place = next((at for at, own in enumerate(past.own) if own.item == item), -1)
        if place < 0:
            return [0.0] * len(NAMES)
        own = past.own[place]
        times, since_s = own.times, (now_ms - own.at_ms) / 1_000
        interval_s = float(np.mean(own.gaps_s)) if own.gaps_s else 0.0
        apart = np.log((1 + since_s) / (1 + interval_s))
        same_session = now_ms - past.own[0].at_ms <= SESSION_GAP_MS
        return [
            np.log(1e-4 + times / past.events),
            np.log(times),
            0.2 * np.log(1 + since_s),
            0.5 * np.log(1 + place),
            1.0,
            1 / (1 + place),
            float(place == 0),
            float(place == 1),
            float(since_s == 0),
            -0.3 * min(9.0, apart**2) if times > 1 else 0.0,
            own.this_session / 4 if same_session else 0.0,
        ]

    learned.check(NAMES, expected, 1e-3)


def test_where_consumed_items_are_excluded_every_signal_is_zero() -> None:
    """Nothing on the shortlist is the user's own."""
    step = Step(LearningConfig(max_users=9, max_items=9, exclude_consumed=True))
    step.apply(chunk_of(columns_of(["u", "v", "u", "v"], ["a", "b", "c", "d"])), lists=False)
    rows = signals_of(step, 0, step.last_ms)
    assert sorted(rows) == [1, 3]
    assert all(row[name] == 0.0 for row in rows.values() for name in NAMES)


def test_a_clock_that_runs_backwards_leaves_times_at_zero() -> None:
    """A choice in the future is as good as one just now; the mean interval never falls below 0."""
    step = Step(LearningConfig(max_users=9, max_items=9))
    times = [START_MS, START_MS - 10**10, START_MS - 2 * 10**10]  # farther than any event is late
    step.apply(chunk_of(columns_of(["u"] * 3, ["a"] * 3, ts_ms=times)), lists=False)
    row = signals_of(step, 0, START_MS - 3 * 10**10)[0]
    assert (row["own_seconds_since"], row["own_due"], row["own_same_moment"]) == (0.0, 0.0, 1.0)


def test_what_a_user_hid_does_not_shift_the_others_of_their_past() -> None:
    """A hidden item of the history is on no list; each other one keeps its own place and times."""
    step = Step(LearningConfig(max_users=9, max_items=9))
    step.apply(chunk_of(columns_of(["u"] * 6, ["a", "b", "c", "c", "d", "a"])), lists=False)
    now_ms = step.last_ms
    before = signals_of(step, 0, now_ms)
    hidden = step.items.rows(["d"])[0]
    step.apply(chunk_of(columns_of(["u"], ["d"], kinds=[Kind.hide], ts_ms=[now_ms], offsets=[6])), lists=False)
    after = signals_of(step, 0, now_ms, seq=6)
    assert hidden in before
    assert hidden not in after
    for item, signals in after.items():
        assert {name: signals[name] for name in NAMES} == {name: before[item][name] for name in NAMES}
