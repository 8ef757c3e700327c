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
    HIDDEN,
    SHARED,
    Blend,
    Workspace,
    blend,
    explain,
    gap_context,
    history_context,
    score,
    workspace,
)
from millstream.online_learning.blend_learning import (
    BIAS_FIRST_SQUARE,
    BIAS_RATE,
    FIRST_SQUARE,
    NET_FIRST_SQUARE,
    NET_RATE,
    RATE,
    learn,
)
from millstream.online_learning.scratch import CAP
from millstream.online_learning.signal import GROUPS
from millstream.online_learning.signals import GROUP_OF, NAMES, SIGNALS
from millstream.online_learning.starting_weights import CONTENT, LOG_SIGNALS, START, starting_weights
from millstream.online_learning.vocabulary import Vocabulary

N = 40
HISTORY, GAP = BY_HISTORY + 2, BY_GAP + 3
ACTIVE = [SHARED, HISTORY, GAP]
Weights = dict[str, NDArray[np.float64]]


@dataclass
class Case:
    """A blend with random weights and a shortlist of N items with random signals, shape (SIGNALS, CAP)."""

    b: Blend
    w: Workspace
    items: NDArray[np.int32]
    signals: NDArray[np.float32]
    scores: NDArray[np.float32]

    def score(self, n: int = N) -> NDArray[np.float32]:
        score(self.b, self.w, HISTORY, GAP, self.items, self.signals, n, self.scores)
        return self.scores[:n]

    def learn(self, target: int, n: int = N, weight: float = 1.0) -> float:
        self.score(n)
        by = np.float32(weight)
        return learn(self.b, self.w, HISTORY, GAP, self.items, self.signals, self.scores, n, target, by)

    def weights(self) -> Weights:
        """All that a score reads, in float64."""
        b = self.b
        return {
            "weight": b.weight[ACTIVE].sum(0, dtype=np.float64),
            "offset": b.offset[ACTIVE].sum(0, dtype=np.float64),
            "inner": b.inner.astype(np.float64),
            "outer": b.outer.astype(np.float64),
            "bias": b.bias[self.items[:N]].astype(np.float64),
        }


def case(seed: int = 1) -> Case:
    rng = np.random.default_rng(seed)
    b = blend(Arena(), Vocabulary("items", 3 * N), starting_weights())
    b.weight[...] = rng.normal(0, 0.2, b.weight.shape)
    b.offset[...] = rng.normal(0, 0.2, b.offset.shape)
    b.outer[...] = rng.normal(0, 0.3, HIDDEN)
    b.bias[...] = rng.normal(0, 0.2, 3 * N)
    b.mean[...] = rng.normal(0, 1, SIGNALS)
    b.variance[...] = rng.uniform(0.5, 2, SIGNALS)
    signals = np.zeros((SIGNALS, CAP), np.float32)
    signals[:, :N] = rng.normal(0, 1, (SIGNALS, N))
    items = np.zeros(CAP, np.int32)
    items[:N] = rng.permutation(3 * N)[:N]
    return Case(b, workspace(), items, signals, np.zeros(CAP, np.float32))


def reference(c: Case, weights: Weights) -> NDArray[np.float64]:
    """The module's formula in float64, item by item."""
    f = c.signals[:, :N].astype(np.float64)
    z = (f - c.b.mean[:, None]) / np.sqrt(c.b.variance.astype(np.float64))[:, None]
    hidden = np.maximum(0, weights["inner"] @ z + weights["offset"][:, None])
    return weights["weight"] @ f + weights["outer"] @ hidden + weights["bias"]


def log_likelihood(c: Case, weights: Weights, target: int) -> float:
    """ln p(target) under the softmax of the scores, in float64."""
    scores = reference(c, weights)
    return float(scores[target] - scores.max() - np.log(np.exp(scores - scores.max()).sum()))


def slopes(c: Case, weights: Weights, name: str, target: int) -> NDArray[np.float64]:
    """Finite differences of ln p(target) by every element of one array."""
    eps = 1e-6
    slope = np.zeros(weights[name].size)
    for at in range(slope.size):
        higher, lower = ({**weights, name: weights[name].copy()} for _ in range(2))
        higher[name].flat[at] += eps
        lower[name].flat[at] -= eps
        slope[at] = (log_likelihood(c, higher, target) - log_likelihood(c, lower, target)) / (2 * eps)
    return slope.reshape(weights[name].shape)


def test_a_score_is_the_weights_the_net_and_the_bias_together() -> None:
    """`s_j = (W + W_hist + W_gap) · f_j + w · relu(V' z_j + B + B_hist + B_gap) + b_j`, no other context's."""
    c = case()
    np.testing.assert_allclose(c.score(), reference(c, c.weights()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("target", "weight"), [(0, 1.0), (17, 1.0), (17, 2.5), (N - 1, 1.0)])
@pytest.mark.parametrize(
    ("name", "rate", "first"),
    [
        ("weight", RATE, FIRST_SQUARE),
        ("offset", NET_RATE, NET_FIRST_SQUARE),
        ("outer", NET_RATE, NET_FIRST_SQUARE),
        ("inner", NET_RATE, NET_FIRST_SQUARE),
        ("bias", BIAS_RATE, BIAS_FIRST_SQUARE),
    ],
)
def test_a_step_is_adagrads_along_the_slope_of_the_log_likelihood(
    target: int, weight: float, name: str, rate: float, first: float
) -> None:
    """`G += g²; θ += η g / √G`, g the weight times a finite difference of ln p(target), G from the first square on."""
    c = case(2)
    before, expected = c.weights(), weight * slopes(c, c.weights(), name, target)
    loss = c.learn(target, weight=weight)
    assert loss == pytest.approx(-log_likelihood_of(before, c, target), rel=1e-3)
    active = len(ACTIVE) if name in ("weight", "offset") else 1
    moved = (c.weights()[name] - before[name]) / active
    np.testing.assert_allclose(moved, rate * expected / np.sqrt(first + expected**2), rtol=0.02, atol=2e-5)


def log_likelihood_of(weights: Weights, c: Case, target: int) -> float:
    """As before the step: it has moved the signals' means and variances since."""
    fresh = case(2)
    return log_likelihood(fresh, weights, target)


def test_a_second_step_remembers_the_first() -> None:
    """The sums of squares grow by g², and only in the active contexts."""
    c = case(3)
    square = c.b.square.copy()
    for target in (4, 9):
        c.learn(target)
        square[ACTIVE] += c.w.gradient**2
    np.testing.assert_allclose(c.b.square, square, rtol=1e-4, atol=1e-7)
    others = [context for context in range(CONTEXTS) if context not in ACTIVE]
    assert np.array_equal(c.b.weight[others], case(3).b.weight[others])


@pytest.mark.parametrize("at", [0, 21])
def test_the_reasons_of_a_score_sum_to_it(at: int) -> None:
    """Each group gets its signals' weights and its share of the net; what is nobody's is popularity's."""
    c = case(8)
    scores = c.score().copy()
    groups = np.zeros(len(GROUPS), np.float32)
    explain(c.b, c.w, c.signals, at, scores[at], groups)
    assert groups.sum() == pytest.approx(scores[at], rel=1e-4, abs=1e-4)
    weights, f = c.weights(), c.signals[:, at].astype(np.float64)
    precision = 1 / np.sqrt(c.b.variance.astype(np.float64))
    hidden = weights["inner"] @ ((f - c.b.mean) * precision) + weights["offset"]
    by_signal = (weights["weight"] + (weights["outer"] * (hidden > 0)) @ weights["inner"] * precision) * f
    for group in range(1, len(GROUPS)):
        assert groups[group] == pytest.approx(by_signal[group == GROUP_OF].sum(), rel=1e-3, abs=1e-3)


def test_means_and_variances_follow_the_signals() -> None:
    """After many shortlists of one distribution the running figures are its own."""
    c = case(9)
    rng = np.random.default_rng(9)
    for _ in range(400):
        c.signals[:, :N] = rng.normal(3, 2, (SIGNALS, N))
        c.learn(0)
    np.testing.assert_allclose(c.b.mean, 3, atol=0.2)
    np.testing.assert_allclose(c.b.variance, 4, rtol=0.15)


def test_learning_lowers_the_loss() -> None:
    """What is chosen again and again becomes likelier: the loss of fresh choices falls by half."""
    c = case(4)
    rng = np.random.default_rng(5)
    truth = rng.normal(0, 1, SIGNALS)
    losses = []
    for _ in range(800):
        c.signals[:, :N] = rng.normal(0, 1, (SIGNALS, N))
        losses.append(c.learn(int(np.argmax(truth @ c.signals[:, :N]))))
    assert np.mean(losses[-100:]) < np.mean(losses[:100]) / 2


def test_a_certain_choice_costs_nothing_and_an_impossible_one_stays_finite() -> None:
    """Scores far apart neither overflow nor give a NaN."""
    c = case(6)
    c.signals[:] = 0.0
    c.signals[:, 0] = 100.0
    c.b.outer[:] = 0.0
    c.b.weight[SHARED] = 1.0
    assert c.learn(0) == pytest.approx(0.0, abs=1e-5)
    assert np.isfinite(c.learn(1))
    assert np.isfinite(c.b.weight).all()
    assert np.isfinite(c.b.square).all()


def test_a_single_item_teaches_nothing() -> None:
    """A shortlist of one has probability 1: no gradient."""
    c = case(7)
    before = c.weights()
    assert c.learn(0, n=1) == 0.0
    assert all(np.array_equal(value, before[name]) for name, value in c.weights().items())


def test_contexts_have_the_bounds_the_docstring_names() -> None:
    """History 0 | 1 | 2-4 | 5-15 | 16+; gap none | 0 | < 60 s | < 30 min | < 1 day | more."""
    bins = [history_context(n) - BY_HISTORY for n in (0, 1, 2, 4, 5, 15, 16, 10**6)]
    assert bins == [0, 1, 2, 2, 3, 3, 4, 4]
    gaps = [-1, 0, 1, 59_999, 60_000, 1_799_999, 1_800_000, 86_399_999, 86_400_000, 10**12]
    assert [gap_context(3, gap) - BY_GAP for gap in gaps] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert gap_context(0, 0) == BY_GAP
    assert BY_GAP + 5 == CONTEXTS - 1


def test_a_new_model_starts_from_the_simplest_blend() -> None:
    """The shared weights begin at START for the named signals, and with what is known of content; all others at 0."""
    b = blend(Arena(), Vocabulary("items", 1), starting_weights())
    assert set(LOG_SIGNALS) <= set(NAMES)
    begins = {name: weight for name, weight in zip(NAMES, b.weight[SHARED].tolist(), strict=True) if weight}
    assert begins == pytest.approx(dict.fromkeys(LOG_SIGNALS, START) | CONTENT)
    assert not b.weight[1:].any()
