"""Signals: finite whatever happened, shares never above 1, and what each says in a case small enough to see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import START_MS, chunk_of, columns_of, random_log
from numpy.typing import NDArray

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.ranking import Bench, bench, rank
from millstream.online_learning.shortlist import FULL
from millstream.online_learning.signal import ALIKE, ASKED, DISMISSED, FINE, GROUPS, IGNORED, PRICE
from millstream.online_learning.signals import GROUP_OF, NAMES, PARTS, SIGNALS, scales
from millstream.online_learning.step import Step
from millstream.schemas.records import Kind

TINY = LearningConfig(max_users=40, max_items=40)
LOG_SHARES = [signal.name for signal in PARTS["popularity"]]
YEAR_MS = 365 * 86_400_000


def ranked(step: Step, b: Bench, user: int, now_ms: int, seq: int) -> NDArray[np.float32]:
    """Signals of the shortlist, shape (items, SIGNALS)."""
    n = rank(step.model, b, np.int32(user), now_ms, seq, 1, 6, False, FULL)
    return b.signals[:, :n].T.copy()


def fresh_bench(step: Step) -> Bench:
    return bench(step.config)


def signals_of(step: Step, user: int, now_ms: int, *, seq: int | None = None) -> dict[int, dict[str, float]]:
    """By item row, each signal by name, for a user as of `now_ms`."""
    b = fresh_bench(step)
    out = ranked(step, b, user, now_ms, step.seq if seq is None else seq)
    assert np.isfinite(out).all()
    assert np.isfinite(b.scores[: len(out)]).all()
    rows = zip(b.scratch.items[: len(out)].tolist(), out.tolist(), strict=True)
    return {item: dict(zip(NAMES, row, strict=True)) for item, row in rows}


def share(signal: float) -> float:
    """Undo ln(1 + FINE x)."""
    return float(np.expm1(signal) / FINE)


def learned(users: list[str], items: list[str], **more: object) -> Step:
    step = Step(TINY)
    step.apply(chunk_of(columns_of(users, items, **more)), lists=False)  # type: ignore[arg-type]  # passed on
    return step


gaps = st.sampled_from([0, 1, 1_000, 86_400_000, 130 * 86_400_000, 5 * YEAR_MS, 40 * YEAR_MS, -1, -YEAR_MS])


@settings(deadline=None, max_examples=60)
@given(
    log=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), gaps), min_size=1, max_size=40),
    later_ms=gaps,
    idle=st.sampled_from([0, 1, 50, 400, 4_000, 10**9]),
    user=st.integers(0, 4),
)
def test_no_signal_is_ever_non_finite(log: list[tuple[int, int, int]], later_ms: int, idle: int, user: int) -> None:
    """Gaps of decades, clocks that run backwards, a billion events without a choice: every signal is a number."""
    times = (START_MS + np.cumsum([gap for _, _, gap in log])).tolist()
    step = learned([f"u{u}" for u, _, _ in log], [f"i{i}" for _, i, _ in log], ts_ms=times)
    row = step.users.row(f"u{user}")
    rows = signals_of(step, TINY.max_users if row is None else row, times[-1] + later_ms, seq=step.seq + idle)
    assert all(abs(value) < 100 for signals in rows.values() for value in signals.values())


@pytest.mark.parametrize("idle", [0, 300, 400, 3_200, 20_000])
def test_events_that_teach_nothing_do_not_turn_shares_into_more_than_one(idle: int) -> None:
    """A share of all choices stays one through a flood of impressions, at every half-life."""
    step = learned(["u", "v", "u", "w"], ["a", "b", "c", "a"])
    if idle:
        n = range(4, 4 + idle)
        step.apply(
            chunk_of(columns_of(["u"] * idle, ["a"] * idle, kinds=[Kind.impression] * idle, offsets=n)), lists=False
        )
    shares = signals_of(step, 0, step.last_ms)
    for name in LOG_SHARES:
        assert max(share(row[name]) for row in shares.values()) <= 1.01
        assert sum(share(row[name]) for row in shares.values()) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("gap_days", [1, 110, 140, 2_000])
def test_a_long_silence_does_not_turn_shares_into_more_than_one(gap_days: int) -> None:
    """After months without an event the shares of what was chosen before are what they were."""
    step = learned(["u", "v", "u", "w"], ["a", "b", "c", "a"])
    shares = signals_of(step, 0, step.last_ms + gap_days * 86_400_000)
    for name in LOG_SHARES:
        assert max(share(row[name]) for row in shares.values()) <= 1.01


def test_a_case_small_enough_to_see() -> None:
    """u chose a, b, a; v chose a: what the plain facts and shares say of a and b for u."""
    step = learned(["u", "v", "u", "u"], ["a", "a", "b", "a"])
    rows = signals_of(step, 0, START_MS + 13_000)
    a, b = rows[0], rows[1]
    assert share(a["popular"]) == pytest.approx(3 / 4, abs=1e-3)
    assert share(b["popular"]) == pytest.approx(1 / 4, abs=1e-3)
    assert (a["own"], a["own_last"], a["own_second"], a["own_nearness"]) == (1.0, 1.0, 0.0, 1.0)
    assert (b["own"], b["own_last"], b["own_second"], b["own_nearness"]) == (1.0, 0.0, 1.0, 0.5)
    assert np.exp(a["own_frequency"]) == pytest.approx(2 / 3, abs=1e-3)
    assert b["own_distance"] == pytest.approx(0.5 * np.log(2), abs=1e-6)
    assert a["events_since_last"] == pytest.approx(0.0, abs=1e-6)
    assert b["events_since_last"] == pytest.approx(0.3 * np.log(2), abs=1e-6)
    assert a["seconds_since_last"] == pytest.approx(0.2 * np.log(11), abs=1e-5)
    assert a["own_seconds_since"] == pytest.approx(0.2 * np.log(11), abs=1e-5)
    assert a["users_per_event"] == pytest.approx(0.3 * np.log(3 / 4), abs=1e-6)
    assert share(b["next"]) == pytest.approx(1.0, abs=1e-3)  # after a, u chose b, and nobody anything else


def test_what_is_not_the_users_own_has_no_own_signals() -> None:
    """Items of others say 0 in every signal about the user's past."""
    step = learned(["u", "v"], ["a", "b"])
    rows = signals_of(step, 0, START_MS + 5_000)
    own = [name for name in NAMES if name.startswith("own")]
    assert all(rows[1][name] == 0.0 for name in own)


def test_scratch_left_by_another_ranking_does_not_show() -> None:
    """The same user's signals come out the same, whoever was ranked before."""
    step = Step(TINY)
    step.apply(chunk_of(random_log(400, users=10, items=30, seed=2)), lists=False)
    b = fresh_bench(step)
    outs = [ranked(step, b, user, step.last_ms, step.seq) for user in (5, 3, 8, 3)]
    alone = ranked(step, fresh_bench(step), 3, step.last_ms, step.seq)
    assert outs[1].tobytes() == outs[3].tobytes() == alone.tobytes()


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_off_says_nothing_and_the_rest_the_same(part: str) -> None:
    """Its scales are 0, and nobody else's."""
    off, _ = scales(frozenset({part}))
    on, _ = scales()
    mine = {signal.name for signal in PARTS[part]}
    assert [value for value, name in zip(off, NAMES, strict=True) if name in mine] == [0.0] * len(mine)
    assert all(a == b for a, b, name in zip(off, on, NAMES, strict=True) if name not in mine)


def test_a_part_that_does_not_exist_is_named() -> None:
    """The error lists what there is."""
    with pytest.raises(ValueError, match="no part colour; the parts are popularity, trend"):
        scales(frozenset({"colour"}))


def test_every_signal_belongs_to_a_group_and_rows_are_whole_registers() -> None:
    """A reason can be given for every part of the score."""
    assert len(set(NAMES)) == SIGNALS == len(GROUP_OF)
    assert set(GROUP_OF.tolist()) == set(range(len(GROUPS))) - {DISMISSED, PRICE, IGNORED, ALIKE, ASKED}
