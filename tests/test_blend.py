"""The blend: its score against numpy, its step against finite differences, and that it learns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from millstream.online_learning.arena import Arena
from millstream.online_learning.blend import (
    BY_GAP,
    BY_HISTORY,
    CONTEXTS,
    FIRST_SQUARE,
    RATE,
    SHARED,
    Blend,
    blend,
    gap_context,
    history_context,
    learn,
    score,
)
from millstream.online_learning.shortlist import CAP
from millstream.online_learning.signals import NAMES, SIGNALS
from millstream.online_learning.starting_weights import LOG_SIGNALS, START, starting_weights

N = 40
HISTORY, GAP = BY_HISTORY + 2, BY_GAP + 3


@dataclass
class Case:
    """A blend with random weights and a shortlist of N items with random signals."""

    b: Blend
    signals: NDArray[np.float32]
    scores: NDArray[np.float32]
    total: NDArray[np.float32]
    gradient: NDArray[np.float32]

    def score(self) -> NDArray[np.float32]:
        score(self.b, HISTORY, GAP, self.signals, N, self.total, self.scores)
        return self.scores[:N]

    def learn(self, target: int) -> float:
        self.score()
        return learn(self.b, HISTORY, GAP, self.signals, self.scores, N, target, self.gradient)


def case(seed: int = 1) -> Case:
    rng = np.random.default_rng(seed)
    b = blend(Arena(), starting_weights())
    b.weight[...] = rng.normal(0, 0.2, b.weight.shape)
    signals = np.zeros((CAP, SIGNALS), np.float32)
    signals[:N] = rng.normal(0, 1, (N, SIGNALS))
    return Case(b, signals, np.zeros(CAP, np.float32), np.zeros(SIGNALS, np.float32), np.zeros(SIGNALS, np.float32))


def log_likelihood(weights: NDArray[np.float64], signals: NDArray[np.float64], target: int) -> float:
    """ln p(target) under the softmax of a linear score, in float64."""
    scores = signals @ weights
    return float(scores[target] - scores.max() - np.log(np.exp(scores - scores.max()).sum()))


def test_a_score_is_the_sum_of_three_contexts_times_the_signals() -> None:
    """`s_j = (W_all + W_hist + W_gap) · f_j`, and no other context's weights."""
    c = case()
    weights = c.b.weight[[SHARED, HISTORY, GAP]].sum(0, dtype=np.float64)
    np.testing.assert_allclose(c.score(), c.signals[:N].astype(np.float64) @ weights, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("target", [0, 17, N - 1])
def test_the_gradient_is_that_of_the_log_likelihood(target: int) -> None:
    """Each part of the gradient equals a finite difference of ln p(target); the loss is -ln p(target)."""
    c = case(2)
    weights = c.b.weight[[SHARED, HISTORY, GAP]].sum(0, dtype=np.float64)
    signals = c.signals[:N].astype(np.float64)
    loss = c.learn(target)
    assert loss == pytest.approx(-log_likelihood(weights, signals, target), rel=1e-4)
    eps = 1e-5
    for k in range(SIGNALS):
        step = np.zeros(SIGNALS)
        step[k] = eps
        slope = log_likelihood(weights + step, signals, target) - log_likelihood(weights - step, signals, target)
        assert c.gradient[k] == pytest.approx(slope / (2 * eps), abs=2e-3)


def test_adagrad_takes_the_step_it_says() -> None:
    """`G += g²; W += η g / √G` for the three active contexts, G beginning at FIRST_SQUARE; nothing else moves."""
    c = case(3)
    weight, square = c.b.weight.copy(), c.b.square.copy()
    for target in (4, 9):
        c.learn(target)
        g = c.gradient.astype(np.float64)
        for context in (SHARED, HISTORY, GAP):
            square[context] += g**2
            weight[context] += RATE * g / np.sqrt(FIRST_SQUARE + square[context])
    np.testing.assert_allclose(c.b.weight, weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(c.b.square, square, rtol=1e-4, atol=1e-7)
    assert np.flatnonzero(c.b.dirty).tolist() == sorted({SHARED, HISTORY, GAP})


def test_learning_lowers_the_loss() -> None:
    """What is chosen again and again becomes likelier: the loss of fresh choices falls by half."""
    c = case(4)
    rng = np.random.default_rng(5)
    truth = rng.normal(0, 1, SIGNALS)
    losses = []
    for _ in range(800):
        c.signals[:N] = rng.normal(0, 1, (N, SIGNALS))
        losses.append(c.learn(int(np.argmax(c.signals[:N] @ truth))))
    assert np.mean(losses[-100:]) < np.mean(losses[:100]) / 2


def test_a_certain_choice_costs_nothing_and_an_impossible_one_stays_finite() -> None:
    """Scores far apart neither overflow nor give a NaN."""
    c = case(6)
    c.signals[:N] = 0.0
    c.signals[0] = 100.0
    c.b.weight[SHARED] = 1.0
    assert c.learn(0) == pytest.approx(0.0, abs=1e-5)
    assert np.isfinite(c.learn(1))
    assert np.isfinite(c.b.weight).all()
    assert np.isfinite(c.b.square).all()


def test_a_single_item_teaches_nothing() -> None:
    """A shortlist of one has probability 1: no gradient."""
    c = case(7)
    before = c.b.weight.copy()
    score(c.b, HISTORY, GAP, c.signals, 1, c.total, c.scores)
    assert learn(c.b, HISTORY, GAP, c.signals, c.scores, 1, 0, c.gradient) == 0.0
    assert np.array_equal(c.b.weight, before)


def test_contexts_have_the_bounds_the_docstring_names() -> None:
    """History 0 | 1 | 2-4 | 5-15 | 16+; gap none | 0 | < 60 s | < 30 min | < 1 day | more."""
    bins = [history_context(n) - BY_HISTORY for n in (0, 1, 2, 4, 5, 15, 16, 10**6)]
    assert bins == [0, 1, 2, 2, 3, 3, 4, 4]
    gaps = [-1, 0, 1, 59_999, 60_000, 1_799_999, 1_800_000, 86_399_999, 86_400_000, 10**12]
    assert [gap_context(3, gap) - BY_GAP for gap in gaps] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert gap_context(0, 0) == BY_GAP
    assert BY_GAP + 5 == CONTEXTS - 1


def test_a_new_model_starts_from_the_simplest_blend() -> None:
    """The shared weights begin at START for the named signals; all other weights at 0."""
    b = blend(Arena(), starting_weights())
    assert set(LOG_SIGNALS) <= set(NAMES)
    assert {name for name, weight in zip(NAMES, b.weight[SHARED], strict=True) if weight} == set(LOG_SIGNALS)
    assert np.unique(b.weight[SHARED]).tolist() == pytest.approx([0.0, START])
    assert not b.weight[1:].any()
