"""Interest vectors: the kernels' half against numpy, the trainer's half against the formula, and when weights count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from logs import SMALL, chunk_of, random_log
from numpy.typing import NDArray

from millstream.online_learning.histories import since_ms
from millstream.online_learning.interest import BLOCK, PLACES, WIDTH, pool, speaks_most, welcome
from millstream.online_learning.interest import pooled as working_memory
from millstream.online_learning.interest_loss import cross_entropy, users
from millstream.online_learning.prompts import PROMPTS, SURFACES, session_kind
from millstream.online_learning.step import Step
from millstream.schemas.columns import InteractionColumns

EVENTS = 3 * BLOCK + 100


@pytest.fixture(scope="module")
def log() -> InteractionColumns:
    return random_log(EVENTS, users=20, items=60, seed=3)


def learned(log: InteractionColumns, *cuts: int, step: Step | None = None, first: int = 0) -> Step:
    step = step or Step(SMALL)
    for last in (*cuts, len(log)):
        if last > first:
            step.apply(chunk_of(log.cut(first, last)), lists=False)
            first = last
    return step


def pooled(step: Step, user: int, now_ms: int) -> NDArray[np.float64]:
    """The module's formula in float64: u, shape (WIDTH,)."""
    v, h = step.model.interest, step.model.histories
    held = min(PLACES, int(h.held[user]))
    rows = v.vector[h.item[user, :held]].astype(np.float64)
    minutes = np.array([since_ms(h, user, place, now_ms) for place in range(held)]) / 60_000
    attention = rows @ v.query / np.sqrt(WIDTH) + v.place[:held] - v.rate[0] * np.log1p(minutes)
    weight = np.exp(attention - attention.max())
    prompt = v.prompts.vector[SURFACES + session_kind(now_ms - int(h.last_ms[user]))]
    return np.asarray(weight @ rows / weight.sum() + prompt)


@pytest.mark.parametrize("user", [0, 7, 19])
@pytest.mark.parametrize("later_ms", [0, 3_600_000, -5])
def test_a_user_is_the_pooled_sum_of_the_history(log: InteractionColumns, user: int, later_ms: int) -> None:
    """u and A'u equal numpy's, as of any moment."""
    step = learned(log)
    now_ms = step.last_ms + later_ms
    v, w = step.model.interest, working_memory()
    assert pool(v, step.model.histories, np.int32(user), now_ms, w)
    expected = pooled(step, user, now_ms)
    np.testing.assert_allclose(w.user[0], expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(w.user[1], expected @ v.matrix, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("user", [0, 7, 19])
def test_the_item_of_the_history_that_speaks_most_adds_most_to_the_signal(log: InteractionColumns, user: int) -> None:
    """Of the sum's terms, each a place's weight times v_p'A v, its is the largest of items that are known by name."""
    step = learned(log)
    v, h, w = step.model.interest, step.model.histories, working_memory()
    pool(v, h, np.int32(user), step.last_ms, w)
    held = min(PLACES, int(h.held[user]))
    history = h.item[user, :held]
    rows = v.vector[history].astype(np.float64)
    gone = np.zeros(len(v.vector), np.bool_)
    for gone[history[0]] in (False, True):
        for item in range(len(step.items)):
            terms = w.weight[:held] * (rows @ v.matrix.astype(np.float64) @ v.vector[item])
            found = history.tolist().index(speaks_most(v, h, np.int32(user), item, gone, w))
            assert terms[found] == pytest.approx(terms[~gone[history]].max(), rel=1e-4, abs=1e-7)
            assert not gone[history[found]]
    gone[:] = True
    assert speaks_most(v, h, np.int32(user), 0, gone, w) == -1
    assert speaks_most(v, h, np.int32(len(step.users)), 0, gone, w) == -1


def test_a_user_without_a_history_has_no_interest(log: InteractionColumns) -> None:
    """Nobody's vector is zero."""
    step = learned(log)
    w = working_memory()
    assert not pool(step.model.interest, step.model.histories, np.int32(SMALL.max_users), 0, w)
    assert not w.user.any()


def test_an_items_first_vector_is_a_fixed_draw_of_its_row() -> None:
    """Two steps welcome the same row with the same vector, another row with another, all small and centred."""
    one, other = Step(SMALL).model.interest, Step(SMALL).model.interest
    for row in range(200):
        welcome(one, np.int32(row))
        welcome(other, np.int32(row))
    assert np.array_equal(one.vector, other.vector)
    assert len(np.unique(one.vector[:200])) > 0.9 * 200 * WIDTH
    assert abs(one.vector[:200].mean()) < 0.005
    assert np.abs(one.vector).max() <= 0.1


def test_what_a_block_taught_counts_from_the_end_of_the_next_one(log: InteractionColumns) -> None:
    """The pooling stays as it was declared through the second block, and has moved after it."""
    step = Step(SMALL)
    before = step.model.interest.matrix.copy()
    moved_at = []
    for at in range(len(log)):
        step.apply(chunk_of(log.cut(at, at + 1)), lists=False)
        if not np.array_equal(step.model.interest.matrix, before):
            before = step.model.interest.matrix.copy()
            moved_at.append(at + 1)
    teaching = [at + 1 for at in range(len(log)) if log.user_ids[at] in log.user_ids[:at]]
    assert moved_at == [teaching[2 * BLOCK - 1], teaching[3 * BLOCK - 1]]


@pytest.mark.parametrize("cuts", [(1,), (BLOCK, 2 * BLOCK), (100, 101, 500, 700)])
def test_where_the_log_is_cut_changes_no_vector(log: InteractionColumns, cuts: tuple[int, ...]) -> None:
    """Blocks count events, not chunks."""
    assert learned(log, *cuts).state_hash() == learned(log).state_hash()


@pytest.mark.parametrize("half", [BLOCK // 2, 2 * BLOCK + 60])
def test_a_block_that_is_open_or_under_way_survives_a_dump(log: InteractionColumns, half: int) -> None:
    """Dumped and loaded in the middle of a block, with another being trained: the end is the same."""
    step = learned(log.cut(0, half))
    loaded = Step.load(SMALL, step.dump())
    assert learned(log, step=loaded, first=half).state_hash() == learned(log).state_hash()


def test_the_loss_is_cross_entropy_less_the_log_of_how_popular_the_negatives_are() -> None:
    """Against the formula by hand: logits less ln of the share, and a target met twice is no negative of itself."""
    rng = np.random.default_rng(1)
    vector, matrix = rng.normal(0, 1, (6, WIDTH)), rng.normal(0, 1, (WIDTH, WIDTH))
    query, place, rate = rng.normal(0, 1, WIDTH), rng.normal(0, 1, 3), np.array([0.2])
    prompt = rng.normal(0, 1, (PROMPTS, WIDTH))
    context = np.array([[PROMPTS, SURFACES], [3, SURFACES + 1], [3, SURFACES + 2]])  # PROMPTS: none
    history = np.array([[0, 1, 6], [2, 6, 6], [3, 4, 5]])  # 6: nobody
    age, target, share = rng.uniform(0, 3, (3, 3)), np.array([4, 1, 4]), np.array([0.5, 0.1, 0.5])
    expected = 0.0
    for n in range(3):
        held = [at for at in range(3) if history[n, at] != 6]
        rows = vector[history[n, held]]
        attention = np.exp(rows @ query / np.sqrt(WIDTH) + place[held] - rate[0] * age[n, held])
        user = attention @ rows / attention.sum() + sum(prompt[at] for at in context[n] if at < PROMPTS)
        logits = {m: user @ matrix @ vector[target[m]] - np.log(share[m]) for m in range(3)}
        others = [m for m in range(3) if m == n or target[m] != target[n]]
        expected -= logits[n] - np.log(sum(np.exp(logits[m]) for m in others))
    vectors = torch.tensor(vector, dtype=torch.float32)
    user_vectors = users(
        vectors,
        *(torch.tensor(each, dtype=torch.float32) for each in (matrix, query, place, rate, prompt)),
        history=torch.tensor(history),
        age=torch.tensor(age, dtype=torch.float32),
        context=torch.tensor(context),
    )
    log_share = torch.tensor(np.log(share), dtype=torch.float32)
    loss = cross_entropy(user_vectors, vectors[torch.tensor(target)], torch.tensor(target), log_share)
    assert float(loss) == pytest.approx(expected, rel=1e-3)
