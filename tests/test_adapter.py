"""The adapter: its kernel beside numpy and torch, who is lifted when, and what it is worth where content is all."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from logs import chunk_of, columns_of, random_log
from numpy.typing import NDArray
from test_content import CONFIG, ids_of, tell, vectors_of

from millstream.online_learning.adapter import IN_TURN, RANK, START_DOWN, START_GATE, gate_at
from millstream.online_learning.interest import BLOCK, WIDTH
from millstream.online_learning.interest_loss import adapted, apart_of, content_loss, cross_entropy, gates
from millstream.online_learning.interest_trainer import Said
from millstream.online_learning.popularity import EVENTS
from millstream.online_learning.step import Step
from millstream.schemas.columns import InteractionColumns
from millstream.schemas.item_vectors import CONTENT

ITEMS = 30


@pytest.fixture(scope="module")
def log() -> InteractionColumns:
    return random_log(4 * BLOCK, users=40, items=ITEMS, seed=4)


def learned(log: InteractionColumns, step: Step | None = None, start: int = 0) -> Step:
    step = step or Step(CONFIG)
    tell(step, ids_of(ITEMS + 20), vectors_of(np.arange(ITEMS + 20) % 4), start=start)
    step.apply(chunk_of(log), lists=False)
    return step


def lifted(step: Step, item: int, events: float) -> NDArray[np.float64]:
    """The module's formula in float64, shape (WIDTH,)."""
    a, c = step.model.adapter, step.model.content
    apart = c.coded[item].astype(np.float64) * c.scale[item] - c.total / c.items[0]
    start, slope = START_GATE.astype(np.float64) + a.gate
    gate = 1 / (1 + np.exp(slope * np.log1p(events) - start))
    return np.asarray(gate * (apart @ (START_DOWN + a.down) @ a.up))


def test_an_item_that_comes_with_content_has_a_vector_before_its_first_choice(log: InteractionColumns) -> None:
    """It is what the formula says of its content, and of no events; without content there is none."""
    step = learned(log)
    assert step.model.adapter.up.any()
    tell(step, ["new"], vectors_of(np.zeros(1, np.int64), seed=9), start=500)
    step.items.rows(["silent"])
    row, silent = step.items.row("new"), step.items.row("silent")
    v = step.model.interest.vector
    np.testing.assert_allclose(v[row], lifted(step, row, 0), rtol=1e-3, atol=1e-6)
    assert np.abs(v[row]).max() > 1e-3
    assert not v[silent].any()


def test_a_first_choice_adds_the_items_own_row(log: InteractionColumns) -> None:
    """The lift stays in the vector beside it."""
    step = learned(log)
    tell(step, ["new"], vectors_of(np.zeros(1, np.int64), seed=9), start=500)
    row = step.items.row("new")
    v, lift = step.model.interest.vector, step.model.adapter.lift
    before = lift[row].copy()
    step.apply(chunk_of(columns_of(["u0"], ["new"], offsets=[len(log)])), lists=False)
    assert np.array_equal(lift[row], before)
    own = v[row] - lift[row]
    assert 0 < np.abs(own).max() <= 0.1 + 1e-6


def test_all_items_come_to_follow_what_was_learned(log: InteractionColumns) -> None:
    """After a block each of a small shop's items is lifted by what is known then; by its events of then, or before."""
    step = Step(CONFIG)
    tell(step, ids_of(ITEMS + 20), vectors_of(np.arange(ITEMS + 20) % 4))
    for first in range(0, len(log), 64):
        step.apply(chunk_of(log.cut(first, first + 64)), lists=False)
    a, p = step.model.adapter, step.model.popularity
    assert len(step.items) <= IN_TURN
    for item in range(len(step.items)):
        events = np.expm1(a.grown[item])
        assert events <= p.facts[item, EVENTS] + 0.01
    for item in range(ITEMS, ITEMS + 20):  # never in a block
        assert a.grown[item] == 0
        np.testing.assert_allclose(a.lift[item], lifted(step, item, 0), rtol=1e-3, atol=1e-6)


def test_the_gate_falls_with_an_items_events(log: InteractionColumns) -> None:
    """From nearly all of what content says to nearly none, whatever was learned."""
    a = learned(log).model.adapter
    grown = np.log1p(np.arange(1000, dtype=np.float32))
    gates = [float(gate_at(a, each)) for each in grown]
    assert all(one >= other for one, other in pairwise(gates))
    assert 0 < gates[-1] < gates[0] < 1


def test_an_adapter_at_its_beginning_changes_nothing(log: InteractionColumns) -> None:
    """Through the first two blocks, vectors and ranks are those of items without lift."""
    step = Step(CONFIG)
    tell(step, ids_of(ITEMS), vectors_of(np.arange(ITEMS) % 4))
    bare = Step(CONFIG)
    until = BLOCK
    step.apply(chunk_of(log.cut(0, until)), lists=False)
    bare.apply(chunk_of(log.cut(0, until)), lists=False)
    names = log.item_ids[:until]
    for id_ in set(names):
        one, other = step.items.row(id_), bare.items.row(id_)
        if one == other:
            assert np.array_equal(step.model.interest.vector[one], bare.model.interest.vector[other])
    assert not step.model.adapter.lift.any()


def said_of(rng: np.random.Generator, count: int) -> tuple[Said, list[torch.Tensor]]:
    drawn = [rng.normal(0, 0.1, shape).astype(np.float32) for shape in ((CONTENT, RANK), (RANK, WIDTH), (2,))]
    said = Said(
        rows=np.arange(count, dtype=np.int32),
        places=np.array([0, 2, 3])[:count],
        coded=rng.integers(-127, 128, (count, CONTENT)).astype(np.int8),
        scale=np.full(count, 7e-4, np.float32),
        mean=rng.normal(0, 0.01, CONTENT).astype(np.float32),
        grown=np.array([0.0, 1.0, 3.0], np.float32)[:count],
        weights=(),
    )
    return said, [torch.tensor(each, requires_grad=True) for each in drawn]


def test_torch_lifts_as_the_kernel_does(log: InteractionColumns) -> None:
    """The same weights, the same content: the same lift."""
    step = learned(log)
    a, c = step.model.adapter, step.model.content
    rows = np.array([0, 3, 35], np.int32)
    said = Said(
        rows=rows,
        places=np.arange(3),
        coded=c.coded[rows],
        scale=c.scale[rows],
        mean=(c.total / c.items[0]).astype(np.float32),
        grown=np.log1p(np.array([0, 4, 90], np.float32)),
        weights=(),
    )
    down, up, gate = (torch.from_numpy(each.copy()) for each in (a.down, a.up, a.gate))
    found = gates(said, gate) * adapted(apart_of(said), down, up)
    expected = [lifted(step, int(row), events) for row, events in zip(rows, (0, 4, 90), strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-5)


def test_the_losses_gradients_are_finite_differences() -> None:
    """Of the adapter's weights, through lifts and through the loss without own rows; in float64."""
    rng = np.random.default_rng(3)
    said, weights = said_of(rng, 3)
    own, user = (torch.tensor(rng.normal(0, 0.3, (4, WIDTH))) for _ in range(2))
    target = torch.tensor([0, 2, 1, 3])
    share = torch.tensor(np.log([0.2, 0.3, 0.1, 0.4]))

    def loss(*values: torch.Tensor) -> torch.Tensor:
        down, up, gate = values
        whole = adapted(apart_of(said), down, up)
        vector = own.index_add(0, torch.from_numpy(said.places), (gates(said, gate) * whole).double())
        first = cross_entropy(user, vector[target], target, share)
        return first + content_loss(said, whole, gate, user.float(), 4, target, share.float())

    gradients = torch.autograd.grad(loss(*weights), weights)
    for which, gradient in enumerate(gradients):
        for at in rng.integers(0, gradient.numel(), 3).tolist():
            moved = []
            for by in (0.02, -0.02):
                values = [each.detach().clone() for each in weights]
                values[which].view(-1)[at] += by
                moved.append(float(loss(*values)))
            slope = (moved[0] - moved[1]) / 0.04
            assert slope == pytest.approx(float(gradient.view(-1)[at]), rel=0.05, abs=2e-4)


def test_a_block_in_which_nobody_chose_what_speaks_teaches_the_adapter_nothing() -> None:
    """The loss without own rows is then an empty sum."""
    said, weights = said_of(np.random.default_rng(1), 2)
    target = torch.tensor([1, 1])
    whole = adapted(apart_of(said), *weights[:2])
    loss = content_loss(said, whole, weights[2], torch.zeros(2, WIDTH), 4, target, torch.zeros(2))
    assert loss.item() == 0.0


def test_the_adapter_learns_which_new_items_a_user_is_after() -> None:
    """Of two new items, in the interest signal alone, the one like what the user chose is nearer.

    Users choose within one of two groups; the contents of a group lie near each other.
    """
    groups = np.arange(ITEMS + 10) % 2
    vectors = vectors_of(groups)
    step = Step(replace(CONFIG, max_items=100))
    tell(step, ids_of(ITEMS), vectors[:ITEMS])
    rng = np.random.default_rng(2)
    rows = [(f"u{n % 20}", f"i{2 * rng.integers(0, ITEMS // 2) + n % 2}") for n in range(12 * BLOCK)]
    step.apply(chunk_of(columns_of([user for user, _ in rows], [item for _, item in rows])), lists=False)
    tell(step, ids_of(10, "new"), vectors[ITEMS:], start=500)
    v = step.model.interest
    new = v.vector[[step.items.row(f"new{n}") for n in range(10)]]
    middles = [v.vector[[step.items.row(f"i{n}") for n in range(group, ITEMS, 2)]].mean(axis=0) for group in (0, 1)]
    scores = np.array([middle @ v.matrix @ new.T for middle in middles])
    assert np.array_equal(scores.argmax(axis=0), groups[ITEMS:])


@pytest.mark.parametrize("cut", [1, BLOCK // 2, BLOCK, 2 * BLOCK + 60])
def test_content_that_comes_beside_a_block_gives_the_same_state_through_a_dump(
    log: InteractionColumns, cut: int
) -> None:
    """What is under way when content comes is written back first: loaded in between or not, the hash is the same."""

    def run(*, through_a_dump: bool) -> Step:
        step = learned(log.cut(0, cut))
        if through_a_dump:
            step = Step.load(CONFIG, step.dump())
        tell(step, ids_of(5, "late"), vectors_of(np.arange(5)), start=100)
        if through_a_dump:
            step = Step.load(CONFIG, step.dump())
        step.apply(chunk_of(log.cut(cut, len(log))), lists=False)
        return step

    assert run(through_a_dump=True).state_hash() == run(through_a_dump=False).state_hash()


def test_an_item_that_falls_silent_keeps_its_own_row_alone(log: InteractionColumns) -> None:
    """Its content gone, the lift is taken back out of the vector."""
    step = learned(log)
    v, a = step.model.interest.vector, step.model.adapter
    before = v[:2] - a.lift[:2]
    step._trainers.settle()
    before = v[:2] - a.lift[:2]
    tell(step, ids_of(2), np.zeros((2, CONTENT), np.float32), start=900)
    assert not a.lift[:2].any()
    np.testing.assert_allclose(v[:2], before, atol=1e-6)
