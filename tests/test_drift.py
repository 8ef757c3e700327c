"""Drift of the loss: found where it moves, not where it does not, and the same however the events are cut."""

from __future__ import annotations

import numpy as np
import pytest
from logs import SMALL, chunk_of, columns_of
from numpy.typing import NDArray

from millstream.online_learning.drift import BLOCK, DELTA, WORST, DriftDetector, LossDrift
from millstream.online_learning.step import Step

CHECKED_EVERY = 32
"""Values between two checks: river's default."""


def losses(events: int, *, mean: float, seed: int) -> NDArray[np.float64]:
    """Losses as a model's are: skewed, from nothing to some ten nats."""
    return np.random.default_rng(seed).gamma(2.5, mean / 2.5, events)


def watched(loss: NDArray[np.float64]) -> DriftDetector:
    detector = DriftDetector()
    detector.add(loss, np.arange(1, len(loss) + 1))
    return detector


def test_a_stationary_loss_raises_no_more_false_alarms_than_delta_allows() -> None:
    """Forty streams of 20,000 events, a fifth of them off the shortlist."""
    fired = 0
    for seed in range(40):
        loss = losses(20_000, mean=3.0, seed=seed)
        loss[np.random.default_rng(seed + 1_000).random(len(loss)) < 0.2] = np.nan
        fired += watched(loss).fired
    assert fired <= DELTA * 40 * 20_000 / (BLOCK * CHECKED_EVERY)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("move", "within"), [(1.0, 3_000), (2.0, 1_000), (-1.5, 2_000)])
def test_a_loss_that_moves_is_told_soon(move: float, within: int, seed: int) -> None:
    """Up or down, once, with both means and the event."""
    loss = np.concatenate([losses(10_000, mean=3.0, seed=seed), losses(10_000, mean=3.0 + move, seed=seed + 100)])
    detector = watched(loss)
    assert detector.fired == len(detector.drifts) == 1
    drift = detector.drifts[0]
    assert 10_000 < drift.seq <= 10_000 + within
    assert drift.before == pytest.approx(3.0, abs=0.15)
    assert drift.after == pytest.approx(3.0 + move, abs=0.6)
    assert 0 < drift.window < drift.seq


def test_the_means_are_those_of_either_side_of_where_it_moved() -> None:
    """By hand: `window` events back from where it was noticed, which is next to where it moved."""
    loss = np.concatenate([losses(5_000, mean=2.0, seed=1), losses(5_000, mean=5.0, seed=2)])
    drift = watched(loss).drifts[0]
    cut = np.minimum(loss, WORST)
    moved_at = drift.seq - drift.window
    assert moved_at == pytest.approx(5_000, abs=4 * BLOCK)
    assert drift.after == pytest.approx(cut[moved_at : drift.seq].mean())
    assert drift.before == pytest.approx(cut[:moved_at].mean())


def test_an_item_off_the_shortlist_counts_as_the_worst_loss() -> None:
    """A model that finds less of what is chosen is drifting, whatever it thinks of the rest."""
    loss = losses(12_000, mean=2.0, seed=3)
    loss[6_000:][np.random.default_rng(3).random(6_000) < 0.5] = np.nan
    drift = watched(loss).drifts[0]
    assert drift.after > drift.before
    as_worst = watched(np.where(np.isnan(loss), WORST, loss))
    assert as_worst.drifts[0] == drift
    assert watched(np.where(np.isnan(loss), 1e6, loss)).drifts[0] == drift


def test_where_slices_are_cut_changes_nothing() -> None:
    """One by one, in odd slices and all at once: the same drifts at the same events."""
    parts = [losses(4_000, mean=mean, seed=seed) for seed, mean in enumerate((2.0, 4.0, 2.5))]
    loss = np.concatenate(parts)
    seq = np.arange(1, len(loss) + 1) * 3
    whole = DriftDetector()
    whole.add(loss, seq)
    assert whole.fired >= 2
    for sizes in ((1,), (3, 0, 17, 64), (1_000, 5)):
        detector, at, turn = DriftDetector(), 0, 0
        while at < len(loss):
            size = sizes[turn % len(sizes)]
            detector.add(loss[at : at + size], seq[at : at + size])
            at, turn = at + size, turn + 1
        assert list(detector.drifts) == list(whole.drifts)


def test_it_is_rivers_adwin() -> None:
    """It fires at the values where `river.drift.ADWIN` does, which is not loaded outside of tests for what it takes."""
    from river.drift import ADWIN

    loss = np.concatenate([losses(3_000, mean=mean, seed=seed) for seed, mean in enumerate((2.0, 3.5, 6.0, 1.0, 3.0))])
    adwin, at = ADWIN(delta=DELTA), []
    for place, value in enumerate(np.minimum(loss, WORST).reshape(-1, BLOCK).mean(axis=1)):
        adwin.update(value / WORST)
        if adwin.drift_detected:
            at.append((place + 1) * BLOCK)
    assert len(at) >= 4
    assert [drift.seq for drift in watched(loss).drifts] == at


def test_only_the_latest_drifts_are_kept() -> None:
    """All are counted; the memory of them is bounded."""
    detector = DriftDetector()
    for turn in range(150):
        loss = losses(4_000, mean=1.0 if turn % 2 else 8.0, seed=turn)
        detector.add(loss, np.arange(len(loss)) + turn * len(loss))
    assert detector.fired > 120
    assert len(detector.drifts) == 100
    assert detector.drifts[0].seq < detector.drifts[-1].seq


def test_a_drift_in_words() -> None:
    """What moved, from where to where, and when."""
    drift = LossDrift(seq=123_456, before=3.4149, after=4.02, window=2_048)
    assert str(drift) == "the loss moved from 3.41 to 4.02 at event 123,456"


def test_a_step_notices_when_habits_end() -> None:
    """Shoppers who always take the next item on the shelf begin to take any: the loss rises from then on."""
    rng = np.random.default_rng(5)
    shoppers, shelf, turn = 40, 30, 4_000
    users = rng.integers(0, shoppers, 2 * turn)
    items = np.zeros(2 * turn, np.int64)
    stands_at = rng.integers(0, shelf, shoppers)
    for event, user in enumerate(users.tolist()):
        stands_at[user] = (stands_at[user] + 1) % shelf if event < turn else rng.integers(shelf)
        items[event] = stands_at[user]
    log = columns_of([f"u{user}" for user in users], [f"i{item}" for item in items])
    step = Step(SMALL)
    for first in range(0, 2 * turn, 500):
        step.apply(chunk_of(log.cut(first, first + 500)), lists=False)
    rises = [drift for drift in step.quality.drift.drifts if drift.after > drift.before]
    assert [drift.seq > turn for drift in rises] == [True]
    assert rises[0].after > 2 * rises[0].before
