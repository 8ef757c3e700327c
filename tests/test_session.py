"""The session transformer: the kernels' half beside torch's, what is trained on, order, and a step without it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from logs import SMALL, START_MS, chunk_of, columns_of, random_log, turning_over
from numpy.typing import NDArray
from references import assert_nothing_is_left

from millstream.online_learning import session_loss
from millstream.online_learning.histories import Histories
from millstream.online_learning.interest import BLOCK, NOBODY, WIDTH
from millstream.online_learning.interest_loss import cross_entropy
from millstream.online_learning.session import GAPS, KINDS, LENGTH, gap_at, gap_class, kind_class
from millstream.online_learning.session_loss import read
from millstream.online_learning.session_reading import read_session, reading
from millstream.online_learning.session_trainer import Sequences, sequences_of
from millstream.online_learning.step import Step
from millstream.schemas.columns import InteractionColumns

ON = replace(SMALL, session_transformer=True)


@pytest.fixture(scope="module")
def log() -> InteractionColumns:
    return random_log(4 * BLOCK + 30, users=20, items=60, seed=3)


@pytest.fixture(scope="module")
def step(log: InteractionColumns) -> Step:
    step = Step(ON)
    step.apply(chunk_of(log), lists=False)
    return step


def history_of(h: Histories, user: int) -> Sequences:
    """The user's history as a sequence, which tells nothing."""
    held = min(LENGTH, int(h.held[user]))
    items = np.zeros((1, 2, LENGTH), np.int32)
    said = np.zeros((1, 2, LENGTH), np.uint8)
    for p in range(held):
        place = held - 1 - p
        items[0, 0, p] = h.item[user, place] + 1
        said[0, :, p] = kind_class(h.weight[user, place]), gap_at(h, np.int32(user), place, held)
    return Sequences(items, said, np.zeros((1, LENGTH), np.float32))


@pytest.mark.parametrize("user", [0, 7, 19])
def test_the_kernels_read_as_torch_does(step: Step, user: int) -> None:
    """The last place of a learned state's own histories: equal to float's precision."""
    s, v, h = step.model.session, step.model.interest, step.model.histories
    r = reading()
    assert read_session(s, v, h, np.int32(user), r)
    sequence = history_of(h, user)
    held = np.count_nonzero(sequence.items[0, 0])
    row, item, known = (torch.tensor(each) for each in (s.row, s.item, v.vector))
    out = read(row, item, known, torch.tensor(np.maximum(sequence.items[:, 0] - 1, 0)), sequence)
    np.testing.assert_allclose(r.out, out[0, held - 1].numpy(), rtol=1e-3, atol=1e-4)


def test_who_has_no_history_is_not_read(step: Step) -> None:
    """And nothing is added to their scores."""
    r = reading()
    assert not read_session(step.model.session, step.model.interest, step.model.histories, np.int32(SMALL.max_users), r)
    (slate,) = step.relist([""]).slates(0)
    assert slate.items


def test_a_place_knows_nothing_of_what_comes_after_it(step: Step) -> None:
    """Another last item changes the last place alone."""
    s, v = step.model.session, step.model.interest
    sequence = history_of(step.model.histories, 0)
    row, item, known = (torch.tensor(each) for each in (s.row, s.item, v.vector))
    places = torch.tensor(np.maximum(sequence.items[:, 0] - 1, 0))
    last = int(np.count_nonzero(sequence.items[0, 0])) - 1
    assert last > 3
    other = places.clone()
    other[0, last] = (other[0, last] + 1) % 60
    one, two = (read(row, item, known, each, sequence)[0] for each in (places, other))
    assert torch.equal(one[:last], two[:last])
    assert not torch.allclose(one[last], two[last])


def test_the_loss_is_the_cross_entropy_of_every_place_by_hand() -> None:
    """−ln softmax of what came next among all to be told, less ln of each one's share; repeats are no rivals."""
    rng = np.random.default_rng(4)
    out, item = rng.normal(size=(5, WIDTH)), rng.normal(size=(4, WIDTH))
    target, share = np.array([0, 1, 0, 2, 3]), np.log(np.array([0.4, 0.3, 0.4, 0.2, 0.1]))
    expected = 0.0
    for n in range(5):
        logits = out[n] @ item[target].T - share
        rivals = [m for m in range(5) if m == n or target[m] != target[n]]
        expected -= logits[n] - np.log(np.exp(logits[rivals]).sum())
    tensors = [torch.tensor(each) for each in (out, item[target], target, share)]
    assert cross_entropy(*tensors).item() == pytest.approx(expected, rel=1e-5)


def test_kinds_and_pauses_fall_into_classes() -> None:
    """By the weight of a choice, and by how often the minutes double; within bounds whatever comes."""
    assert [kind_class(units) for units in (0, 1, 16, 17, 32, 48, 49, 255)] == [0, 0, 0, 1, 1, 2, 3, 3]
    assert KINDS == 4
    pauses = [-5, 0, 59, 60, 119, 120, 240, 3_600, 10**9]
    assert [gap_class(pause) for pause in pauses] == [1, 1, 1, 2, 2, 3, 4, 7, GAPS - 1]


def block_of(events: list[tuple[list[int], int]]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    history = np.full((len(events), LENGTH), NOBODY, np.int32)
    for at, (items, _) in enumerate(events):
        history[at, : len(items)] = items
    share = -np.arange(1, len(events) + 1, dtype=np.float32)
    return history, np.array([target for _, target in events], np.int32), share


def told(found: Sequences) -> list[list[tuple[int, int]]]:
    """Of each sequence, the place and the item told there."""
    return [[(p, item - 1) for p, item in enumerate(row[1].tolist()) if item] for row in found.items]


def sequences(events: list[tuple[list[int], int]]) -> Sequences:
    history, target, share = block_of(events)
    zeros = np.zeros(history.shape, np.uint8)
    return sequences_of(history, target, share, zeros, zeros)


def test_events_of_one_user_are_one_sequence() -> None:
    """Three choices of one, and one of another with a like beginning: two sequences, each event told once."""
    found = sequences([([1], 2), ([1], 7), ([2, 1], 3), ([3, 2, 1], 4)])
    assert told(found) == [[(0, 7)], [(0, 2), (1, 3), (2, 4)]]
    assert found.items[1, 0, :4].tolist() == [2, 3, 4, 0]
    assert found.share[1, :3].tolist() == [-1.0, -3.0, -4.0]


def test_each_event_of_a_block_is_told_exactly_once(step: Step, log: InteractionColumns) -> None:
    """Also where a user's are more than a sequence holds."""
    chain = [(list(range(at - 1, max(-1, at - 1 - LENGTH), -1)), at) for at in range(1, 40)]
    for events in (chain, [*chain, *[([100 + n], 200 + n) for n in range(5)]]):
        found = sequences(events)
        assert sorted(item for row in told(found) for _, item in row) == sorted(target for _, target in events)
    assert len(sequences(chain).items) == 3


def test_it_learns_what_depends_on_the_order_alone() -> None:
    """A, B, M comes before C and B, A, M before D: the same bag of items and the same last one."""
    rng = np.random.default_rng(6)
    users, items = [], []
    for n in range(5_000):
        turned = bool(rng.integers(0, 2))
        users += [f"u{n}"] * 4
        items += ["B", "A", "M", "D"] if turned else ["A", "B", "M", "C"]
    step = Step(replace(ON, max_users=6_000))
    step.apply(chunk_of(columns_of(users, items)), lists=False)
    seen = len(users)
    asked = columns_of(
        ["x", "x", "x", "y", "y", "y"],
        ["A", "B", "M", "B", "A", "M"],
        ts_ms=[START_MS + 1_000 * (seen + n) for n in range(6)],
        offsets=range(seen, seen + 6),
    )
    step.apply(chunk_of(asked), lists=False)
    s, c, d = step.model.session, step.items.row("C"), step.items.row("D")
    says = []
    for user in ("x", "y"):
        r = reading()
        read_session(s, step.model.interest, step.model.histories, np.int32(step.users.row(user)), r)
        says.append(float(r.out @ (s.item[c] - s.item[d])))
    assert says[0] > 1.0
    assert says[1] < -1.0
    lists = {slate.user_id: [item.item_id for item in slate.items] for slate in step.relist(["x", "y"]).slates(0)}
    assert lists["x"].index("C") < lists["x"].index("D")
    assert lists["y"].index("D") < lists["y"].index("C")


def test_a_lists_reasons_sum_up_with_what_the_session_says(step: Step) -> None:
    """Its part is the taste's."""
    assert step.model.session.blend.any()
    for slate in step.relist(step.users.ids).slates(0):
        for item in slate.items:
            assert sum(reason.contribution for reason in item.reasons) == pytest.approx(item.score, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("cuts", [[1], [BLOCK, 2 * BLOCK], [100, 101, 500, 700]])
def test_where_the_log_is_cut_changes_nothing(step: Step, log: InteractionColumns, cuts: list[int]) -> None:
    """Through a dump at each cut: the same hash."""
    other = Step(ON)
    for first, last in zip([0, *cuts], [*cuts, len(log)], strict=True):
        other.apply(chunk_of(log.cut(first, last)), lists=False)
        other = Step.load(ON, other.dump())
    assert other.state_hash() == step.state_hash()


def test_items_that_are_forgotten_are_in_no_sequence() -> None:
    """Through a shop whose items come and go, nothing kept names a row that is free."""
    step = Step(replace(ON, max_users=100, max_items=100))
    for columns in turning_over(4_000, users=60, items=80, user_life=1_500, item_life=900, at_once=1_000):
        step.apply(chunk_of(columns), lists=False)
    assert step.model.session.replay.any()
    assert_nothing_is_left(step)


def test_without_it_the_state_has_nothing_of_it(log: InteractionColumns) -> None:
    """No table, no row."""
    step = Step(SMALL)
    assert not [name for name in step.arena.tables if name.startswith("session")]
    assert len(step.model.session.item) == 0
    assert step.arena.hash_apart() is None


def test_what_an_accelerator_learned_is_hashed_apart(log: InteractionColumns, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch has one, vectors and weights are no part of the state's hash; they have their own, which moves."""
    monkeypatch.setattr(session_loss, "accelerator", lambda: "cpu")  # stands in for one: what differs is whose hash
    step = Step(ON)
    before = step.state_hash(), step.arena.hash_apart()
    step.model.session.row[0] += 1.0
    step.model.session.row_dirty[0] = 1
    after = step.state_hash(), step.arena.hash_apart()
    assert after[0] == before[0]
    assert None not in (before[1], after[1])
    assert after[1] != before[1]
    step.apply(chunk_of(log), lists=False)
    assert step.arena.hash_apart() != after[1]
