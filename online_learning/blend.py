"""The blend: one score from all signals, learned online, after each ranking, from what the user chose next.

`s_j = (W + W_history + W_gap) · f_j + w · relu(V' z_j + B + B_history + B_gap) + b_j`

log-linear weights with additive contexts (how long the user's history is, how long ago their last event was), a small
net over the standardised signals, and a bias an item. `blend_learning` says how they are learned.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .compiled import inlined, kernel
from .scratch import CAP
from .signal import POPULAR
from .signals import GROUP_OF, SIGNALS
from .vocabulary import Vocabulary

SHARED = 0
BY_HISTORY, HISTORIES = 1, 5
BY_GAP, GAPS = 6, 6
CONTEXTS = 12
HIDDEN = 24
"""Hidden units, a multiple of 8."""
_FIRST_SIGNALS = 48
"""Drawn together, the later ones after them: who has no use for these has the ranks that there were without them."""
LANES = 8
"""Items that go through a vector at once; CAP is a multiple."""
ZERO, ONE = np.float32(0.0), np.float32(1.0)


class Blend(NamedTuple):
    """Weights and Adagrad's sums of squared gradients beyond the first. Written by `blend_learning.learn` alone."""

    weight: NDArray[np.float32]
    """Shape (CONTEXTS, SIGNALS): shared, then history bins 0 | 1 | 2–4 | 5–15 | 16+, then gap bins none | 0 | < 60 s |
    < 30 min | < 1 day | more."""
    square: NDArray[np.float32]
    dirty: NDArray[np.uint8]
    offset: NDArray[np.float32]
    """Hidden units' thresholds by context, shape (CONTEXTS, HIDDEN)."""
    offset_square: NDArray[np.float32]
    inner: NDArray[np.float32]
    """Net, first layer, shape (HIDDEN, SIGNALS)."""
    inner_square: NDArray[np.float32]
    outer: NDArray[np.float32]
    """Net, second layer, shape (HIDDEN,)."""
    outer_square: NDArray[np.float32]
    net_dirty: NDArray[np.uint8]
    bias: NDArray[np.float32]
    """Shape (items,)."""
    bias_square: NDArray[np.float32]
    bias_dirty: NDArray[np.uint8]
    mean: NDArray[np.float32]
    """Running mean of each signal over shortlists, shape (SIGNALS,)."""
    variance: NDArray[np.float32]
    scale_dirty: NDArray[np.uint8]
    trained: NDArray[np.int64]
    """Events learned from, shape (1,)."""


class Workspace(NamedTuple):
    """Scratch of one thread."""

    total: NDArray[np.float32]
    """Active weights, shape (SIGNALS,)."""
    precision: NDArray[np.float32]
    """1 over each signal's standard deviation, shape (SIGNALS,)."""
    inner: NDArray[np.float32]
    """First layer times `precision`, shape (HIDDEN, SIGNALS)."""
    threshold: NDArray[np.float32]
    """Of each hidden unit, shape (HIDDEN,)."""
    hidden: NDArray[np.float32]
    """Activations, shape (HIDDEN, CAP)."""
    delta: NDArray[np.float32]
    """Gradients of the scores; of the items that teach, once these are known; shape (CAP,)."""
    teaching: NDArray[np.int32]
    """Places on the shortlist of the items that teach, shape (CAP,)."""
    rows: NDArray[np.float32]
    """Signals of four items, shape (4, SIGNALS)."""
    gradient: NDArray[np.float32]
    """Of the active weights, shape (SIGNALS,)."""
    inner_gradient: NDArray[np.float32]
    """Shape (HIDDEN, SIGNALS)."""
    offset_gradient: NDArray[np.float32]
    """Shape (HIDDEN,)."""
    outer_gradient: NDArray[np.float32]
    """Shape (HIDDEN,)."""
    lanes: NDArray[np.float32]
    """Partial sums, shape (2, LANES)."""


def blend(arena: Arena, items: Vocabulary, start: NDArray[np.float32], name: str = "blend") -> Blend:
    """Declare the weights in tables of that `name`; the shared ones begin at `start`, the net's small and random.

    All others begin at 0.
    """
    table = arena.table(name, CONTEXTS, lambda: CONTEXTS)
    net = arena.table(f"{name}_net", HIDDEN, lambda: HIDDEN)
    bias = arena.table(f"{name}_bias", items.capacity, lambda: len(items), of=items.name)
    scale = arena.table(f"{name}_scale", 1, lambda: 1)
    weights = Blend(
        weight=table.array("weight", np.float32, SIGNALS, widened=True),
        square=table.array("square", np.float32, SIGNALS, widened=True),
        dirty=table.dirty,
        offset=table.array("offset", np.float32, HIDDEN),
        offset_square=table.array("offset_square", np.float32, HIDDEN),
        inner=net.array("inner", np.float32, SIGNALS, widened=True),
        inner_square=net.array("inner_square", np.float32, SIGNALS, widened=True),
        outer=net.array("outer", np.float32),
        outer_square=net.array("outer_square", np.float32),
        net_dirty=net.dirty,
        bias=bias.array("bias", np.float32),
        bias_square=bias.array("bias_square", np.float32),
        bias_dirty=bias.dirty,
        mean=scale.array("mean", np.float32, SIGNALS, widened=True)[0],
        variance=scale.array("variance", np.float32, SIGNALS, widened=True)[0],
        scale_dirty=scale.dirty,
        trained=scale.array("trained", np.int64),
    )
    rng = np.random.default_rng(20_240_901)
    weights.weight[SHARED] = start
    for first, last in pairwise((0, _FIRST_SIGNALS, SIGNALS)):
        weights.inner[:, first:last] = rng.normal(0.0, _FIRST_SIGNALS**-0.5, (HIDDEN, last - first))
    weights.outer[:] = np.where(np.arange(HIDDEN) % 2 == 0, 0.1, -0.1)
    weights.variance[:] = 1.0
    weights.dirty[:] = 1
    weights.net_dirty[:] = 1
    weights.scale_dirty[:] = 1
    return weights


def workspace() -> Workspace:
    """Reserve the scratch of one thread."""
    return Workspace(
        total=np.zeros(SIGNALS, np.float32),
        precision=np.zeros(SIGNALS, np.float32),
        inner=np.zeros((HIDDEN, SIGNALS), np.float32),
        threshold=np.zeros(HIDDEN, np.float32),
        hidden=np.zeros((HIDDEN, CAP), np.float32),
        delta=np.zeros(CAP, np.float32),
        teaching=np.zeros(CAP, np.int32),
        rows=np.zeros((4, SIGNALS), np.float32),
        gradient=np.zeros(SIGNALS, np.float32),
        inner_gradient=np.zeros((HIDDEN, SIGNALS), np.float32),
        offset_gradient=np.zeros(HIDDEN, np.float32),
        outer_gradient=np.zeros(HIDDEN, np.float32),
        lanes=np.zeros((2, LANES), np.float32),
    )


@kernel
def history_context(events: int) -> int:
    """Return the row of `weight` for a user with so many events."""
    if events < 2:
        return BY_HISTORY + events
    if events < 5:
        return BY_HISTORY + 2
    return BY_HISTORY + (3 if events < 16 else 4)


@kernel
def gap_context(events: int, gap_ms: int) -> int:
    """Return the row of `weight` for the time since the user's last event."""
    if events == 0:
        return BY_GAP
    if gap_ms <= 0:
        return BY_GAP + 1
    if gap_ms < 60_000:
        return BY_GAP + 2
    if gap_ms < 30 * 60_000:
        return BY_GAP + 3
    return BY_GAP + (4 if gap_ms < 86_400_000 else 5)


@kernel
def score(
    b: Blend,
    w: Workspace,
    history: int,
    gap: int,
    items: NDArray[np.int32],
    signals: NDArray[np.float32],
    n: int,
    out: NDArray[np.float32],
) -> None:
    """Write the scores of `items[:n]` into `out`; `signals` has shape (SIGNALS, CAP). Leaves `w` ready to learn."""
    for k in range(SIGNALS):
        w.total[k] = b.weight[SHARED, k] + b.weight[history, k] + b.weight[gap, k]
        w.precision[k] = ONE / np.sqrt(b.variance[k])
    for h in range(HIDDEN):
        threshold = b.offset[SHARED, h] + b.offset[history, h] + b.offset[gap, h]
        for k in range(SIGNALS):
            inner = b.inner[h, k] * w.precision[k]
            w.inner[h, k] = inner
            threshold -= inner * b.mean[k]
        w.threshold[h] = threshold
    for at in range(n):
        out[at] = b.bias[items[at]]
    _add_scores(b, w, signals, (n + LANES - 1) // LANES * LANES, out)


@kernel
def _add_scores(b: Blend, w: Workspace, signals: NDArray[np.float32], whole: int, out: NDArray[np.float32]) -> None:
    """Add the weights' and the net's part to the first `whole` scores; those past the shortlist's end are not used."""
    total = out[:whole]
    for k in range(SIGNALS):
        row, by = signals[k, :whole], w.total[k]
        for at in range(whole):
            total[at] += by * row[at]
    for h in range(0, HIDDEN, 2):  # two units by four signals at once: fewer passes over either
        one, other = w.hidden[h, :whole], w.hidden[h + 1, :whole]
        one[:] = w.threshold[h]
        other[:] = w.threshold[h + 1]
        u, v = w.inner[h], w.inner[h + 1]
        for k in range(0, SIGNALS - 3, 4):
            r0, r1, r2, r3 = signals[k, :whole], signals[k + 1, :whole], signals[k + 2, :whole], signals[k + 3, :whole]
            u0, u1, u2, u3 = u[k], u[k + 1], u[k + 2], u[k + 3]
            v0, v1, v2, v3 = v[k], v[k + 1], v[k + 2], v[k + 3]
            for at in range(whole):
                one[at] += (u0 * r0[at] + u1 * r1[at]) + (u2 * r2[at] + u3 * r3[at])
                other[at] += (v0 * r0[at] + v1 * r1[at]) + (v2 * r2[at] + v3 * r3[at])
        for k in range(SIGNALS - SIGNALS % 4, SIGNALS):
            row, by_one, by_other = signals[k, :whole], u[k], v[k]
            for at in range(whole):
                one[at] += by_one * row[at]
                other[at] += by_other * row[at]
        _add_unit(one, b.outer[h], total)
        _add_unit(other, b.outer[h + 1], total)


@inlined
def _add_unit(hidden: NDArray[np.float32], outer: np.float32, total: NDArray[np.float32]) -> None:
    """Let a hidden unit act."""
    for at in range(len(total)):
        value = max(ZERO, hidden[at])
        hidden[at] = value
        total[at] += outer * value


@kernel
def explain(
    b: Blend, w: Workspace, signals: NDArray[np.float32], at: int, score: np.float32, groups: NDArray[np.float32]
) -> None:
    """Write each group's part of the score of place `at` into `groups`, shape (GROUPS,), after `score`; they sum to it.

    Over the units that are active the net is linear, so it divides among the signals exactly as the weights do. What
    belongs to no signal, the thresholds and the item's bias, is liked by everybody alike: POPULAR gets it.
    """
    by = w.gradient  # until `learn`, which clears it, it is free
    for k in range(SIGNALS):
        by[k] = w.total[k]
    for h in range(HIDDEN):
        if w.hidden[h, at] > ZERO:
            outer, inner = b.outer[h], w.inner[h]
            for k in range(SIGNALS):
                by[k] += outer * inner[k]
    groups[:] = ZERO
    for k in range(SIGNALS):
        groups[GROUP_OF[k]] += by[k] * signals[k, at]
    others = ZERO
    for group in range(len(groups)):
        if group != POPULAR:
            others += groups[group]
    groups[POPULAR] = score - others
