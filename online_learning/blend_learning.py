"""How the blend learns from what the user chose next, after each ranking.

By softmax cross-entropy over the shortlist with Adagrad (Duchi, Hazan and Singer 2011), only from events whose item was
on the shortlist: learning from misses teaches the blend to distrust its own shortlist. All active contexts get the same
gradient.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .blend import HIDDEN, LANES, ONE, SHARED, ZERO, Blend, Workspace
from .compiled import inlined, kernel
from .signals import SIGNALS

RATE, FIRST_SQUARE = np.float32(0.05), np.float32(0.01)
NET_RATE, NET_FIRST_SQUARE = np.float32(0.02), np.float32(0.1)
BIAS_RATE, BIAS_FIRST_SQUARE = np.float32(0.05), np.float32(1.0)
LEAST_DELTA = np.float32(1e-5)
"""An item whose gradient is smaller teaches nothing."""
_SLOWEST = np.float32(1e-3)
"""Rate at which the signals' means and variances move once many events were seen."""
_LEAST_VARIANCE = np.float32(1e-2)
"""Below it a signal would be blown up that has had nothing to say so far, and then has: a catalogue that comes late."""


@kernel
def learn(
    b: Blend,
    w: Workspace,
    history: int,
    gap: int,
    items: NDArray[np.int32],
    signals: NDArray[np.float32],
    scores: NDArray[np.float32],
    n: int,
    target: int,
    weight: np.float32,
) -> float:
    """Take one step towards the shortlisted item at `target`, after `score`; return its loss, −ln p(target) ≥ 0.

    The gradient is taken `weight` times, the loss once; with 0 nothing is learned.
    """
    highest = scores[0]
    for at in range(1, n):
        highest = max(highest, scores[at])
    total = ZERO
    for at in range(n):
        w.delta[at] = np.exp(scores[at] - highest)
        total += w.delta[at]
    loss = float(np.log(total) - (scores[target] - highest))
    if weight == ZERO:
        return loss
    w.gradient[:] = ZERO
    w.inner_gradient[:] = ZERO
    w.offset_gradient[:] = ZERO
    w.outer_gradient[:] = ZERO
    teaching = 0
    for at in range(n):
        delta = -w.delta[at] / total
        if at == target:
            delta += ONE
        if abs(delta) >= LEAST_DELTA:
            w.teaching[teaching] = at
            w.delta[teaching] = delta * weight
            _learn_bias(b, items[at], delta * weight)
            teaching += 1
    for at in range(teaching, teaching + -teaching % 4):  # rounded up by one that teaches nothing
        w.teaching[at] = 0
        w.delta[at] = ZERO
    for at in range(0, teaching, 4):
        _add_gradients(b, w, signals, at)
    for context in (SHARED, history, gap):
        _step(b.weight[context], b.square[context], w.gradient, RATE, FIRST_SQUARE)
        _step(b.offset[context], b.offset_square[context], w.offset_gradient, NET_RATE, NET_FIRST_SQUARE)
        b.dirty[context] = 1
    for h in range(HIDDEN):
        inner, offset = w.inner_gradient[h], w.offset_gradient[h]
        for k in range(SIGNALS):
            inner[k] = (inner[k] - b.mean[k] * offset) * w.precision[k]
        _step(b.inner[h], b.inner_square[h], inner, NET_RATE, NET_FIRST_SQUARE)
        b.net_dirty[h] = 1
    _step(b.outer, b.outer_square, w.outer_gradient, NET_RATE, NET_FIRST_SQUARE)
    _measure_signals(b, w, signals, n)
    return loss


@kernel
def _add_gradients(b: Blend, w: Workspace, signals: NDArray[np.float32], first: int) -> None:
    """Add the gradients of four of the items that teach, from place `first` of them on."""
    a0, a1, a2, a3 = w.teaching[first], w.teaching[first + 1], w.teaching[first + 2], w.teaching[first + 3]
    d0, d1, d2, d3 = w.delta[first], w.delta[first + 1], w.delta[first + 2], w.delta[first + 3]
    r0, r1, r2, r3 = w.rows[0], w.rows[1], w.rows[2], w.rows[3]
    for k in range(SIGNALS):
        r0[k], r1[k], r2[k], r3[k] = signals[k, a0], signals[k, a1], signals[k, a2], signals[k, a3]
    for k in range(SIGNALS):
        w.gradient[k] += (d0 * r0[k] + d1 * r1[k]) + (d2 * r2[k] + d3 * r3[k])
    for h in range(HIDDEN):
        hidden, outer, inner = w.hidden[h], b.outer[h], w.inner_gradient[h]
        x0, x1, x2, x3 = hidden[a0], hidden[a1], hidden[a2], hidden[a3]
        w.outer_gradient[h] += (d0 * x0 + d1 * x1) + (d2 * x2 + d3 * x3)
        b0, b1 = d0 * outer if x0 > ZERO else ZERO, d1 * outer if x1 > ZERO else ZERO
        b2, b3 = d2 * outer if x2 > ZERO else ZERO, d3 * outer if x3 > ZERO else ZERO
        w.offset_gradient[h] += (b0 + b1) + (b2 + b3)
        for k in range(SIGNALS):
            inner[k] += (b0 * r0[k] + b1 * r1[k]) + (b2 * r2[k] + b3 * r3[k])


@inlined
def _learn_bias(b: Blend, item: int, delta: np.float32) -> None:
    b.bias_square[item] += delta * delta
    b.bias[item] += BIAS_RATE * delta / np.sqrt(BIAS_FIRST_SQUARE + b.bias_square[item])
    b.bias_dirty[item] = 1


@inlined
def _step(
    value: NDArray[np.float32],
    square: NDArray[np.float32],
    gradient: NDArray[np.float32],
    rate: np.float32,
    first: np.float32,
) -> None:
    """Take Adagrad's step uphill, row by row."""
    for k in range(len(value)):
        g = gradient[k]
        square[k] += g * g
        value[k] += rate * g / np.sqrt(first + square[k])


@kernel
def _measure_signals(b: Blend, w: Workspace, signals: NDArray[np.float32], n: int) -> None:
    """Move each signal's running mean and variance towards those of this shortlist.

    Sums run in lanes, over whole multiples of them: at most the last 7 items are left out.
    """
    b.trained[0] += 1
    b.scale_dirty[0] = 1
    rate = max(_SLOWEST, ONE / np.float32(b.trained[0]))
    whole = n - n % LANES
    if whole == 0:
        return
    by = ONE / np.float32(whole)
    sums, squares = w.lanes[0], w.lanes[1]
    for k in range(SIGNALS):
        row, mean = signals[k], b.mean[k]
        sums[:] = ZERO
        squares[:] = ZERO
        for first in range(0, whole, LANES):
            for lane in range(LANES):
                apart = row[first + lane] - mean
                sums[lane] += apart
                squares[lane] += apart * apart
        sum_, square = ZERO, ZERO
        for lane in range(LANES):
            sum_ += sums[lane]
            square += squares[lane]
        b.variance[k] = max(_LEAST_VARIANCE, b.variance[k] + rate * (square * by - b.variance[k]))
        b.mean[k] = mean + rate * sum_ * by
