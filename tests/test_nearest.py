"""Which vectors are nearest: what every way of finding them promises, against looking at all, while they change."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from numpy.typing import NDArray

pytest.importorskip("faiss", reason="the extra `search` is not installed")

from millstream.agents.understanding.nearest import (
    ApproximateNearest,
    ExactNearest,
    GrowingNearest,
    Nearest,
)
from millstream.agents.understanding.sketched import SketchedNearest

WIDTH = 16


def some_vectors(n: int, seed: int = 1, width: int = WIDTH) -> NDArray[np.float32]:
    """Of length 1, around a few dozen directions, as what is learned or said is."""
    rng = np.random.default_rng(seed)
    found = np.random.default_rng(99).normal(size=(40, width))[rng.integers(0, 40, n)] + 0.5 * rng.normal(
        size=(n, width)
    )
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


def approximate() -> ApproximateNearest:
    """One that began with others, and holds nothing now."""
    made = ApproximateNearest(range(500), some_vectors(500, seed=7))
    for row in range(500):
        made.drop(row)
    return made


def sketched() -> SketchedNearest:
    """Another."""
    made = SketchedNearest(range(500), some_vectors(500, seed=7))
    for row in range(500):
        made.drop(row)
    return made


def grown() -> GrowingNearest:
    return GrowingNearest(WIDTH, most_exact=50)


EACH = {"exact": lambda: ExactNearest(WIDTH), "approximate": approximate, "sketched": sketched, "growing": grown}


@pytest.fixture(params=EACH.values(), ids=EACH)
def nearest(request: pytest.FixtureRequest) -> Nearest:
    make: Callable[[], Nearest] = request.param
    return make()


def truth(held: dict[int, NDArray[np.float32]], asked: NDArray[np.float32], k: int) -> list[int]:
    return sorted(held, key=lambda row: (-float(held[row] @ asked), row))[:k]


def settle(nearest: Nearest) -> None:
    while isinstance(nearest, GrowingNearest) and (nearest.settle() or not nearest.is_settled):
        time.sleep(0.001)


def test_what_is_put_is_found_and_what_is_dropped_is_not(nearest: Nearest) -> None:
    """From the next search on, each row once, best first; a vector put again replaces the old one."""
    vectors = some_vectors(200)
    assert nearest.search(vectors[0], 5).rows.tolist() == []
    for row, vector in enumerate(vectors):
        nearest.put(row * 3, vector)
        if row % 20 == 0:
            settle(nearest)
    settle(nearest)
    for row in (0, 60, 199):
        found = nearest.search(vectors[row], 10)
        assert found.rows[0] == row * 3
        assert len(set(found.rows.tolist())) == 10
        np.testing.assert_allclose(found.similarities[0], 1.0, atol=2e-3)
        assert (np.diff(found.similarities) <= 0).all()
    nearest.put(0, -vectors[0])
    nearest.drop(180)
    nearest.drop(180)
    nearest.drop(1)
    assert 0 not in nearest.search(vectors[0], 20).rows
    assert nearest.search(-vectors[0], 1).rows.tolist() == [0]
    assert 180 not in nearest.search(vectors[60], 200).rows
    assert (180 in nearest, 3 in nearest, len(nearest)) == (False, True, 199)


def test_few_are_all_found(nearest: Nearest) -> None:
    """Asked for more than there are, all come; equal ones come in the order of their rows."""
    vector = some_vectors(1)[0]
    for row in (9, 4, 7):
        nearest.put(row, vector)
    assert nearest.search(vector, 50).rows.tolist() == [4, 7, 9]


@pytest.mark.parametrize("width", [WIDTH, 64, 384])
def test_nearly_all_of_the_nearest_are_found_while_all_drift(width: int) -> None:
    """At least .95 of the 50 nearest of 6,000, before and after each has moved and a third was replaced."""
    rng = np.random.default_rng(5)
    vectors = some_vectors(6_000, width=width)
    nearest = GrowingNearest(width, most_exact=1_000)
    for row, vector in enumerate(vectors):
        nearest.put(row, vector)
    settle(nearest)
    assert not nearest.is_exact
    assert recall(nearest, vectors) >= 0.95
    for row in rng.permutation(6_000).tolist():
        moved = some_vectors(1, seed=row + 10, width=width)[0] if row % 3 == 0 else vectors[row]
        moved = moved + rng.normal(size=width).astype(np.float32) * np.float32(0.1 * width**-0.5)
        vectors[row] = moved / np.linalg.norm(moved)
        nearest.put(row, vectors[row])
    assert recall(nearest, vectors) >= 0.95


def recall(nearest: Nearest, vectors: NDArray[np.float32]) -> float:
    found = []
    for asked in some_vectors(40, seed=3, width=vectors.shape[1]):
        best = np.argsort(-(vectors @ asked))[:50]
        found.append(len(set(nearest.search(asked, 50).rows.tolist()) & set(best.tolist())) / 50)
    return float(np.mean(found))


def test_worn_centres_are_found_anew_beside_the_searches() -> None:
    """When all vectors have gone elsewhere; what changes meanwhile is neither lost nor found as it was."""
    nearest = GrowingNearest(WIDTH, most_exact=100)
    for row, vector in enumerate(some_vectors(500)):
        nearest.put(row, vector)
    settle(nearest)
    elsewhere = some_vectors(500, seed=2)
    for row, vector in enumerate([*elsewhere, elsewhere[0]]):
        nearest.put(row, vector)
    assert not nearest.settle()  # each has moved once on the average
    nearest.put(500, elsewhere[0])
    assert nearest.settle()
    assert not nearest.is_settled
    nearest.drop(0)
    nearest.put(1, -elsewhere[1])
    settle(nearest)
    nearest.put(501, elsewhere[0])
    assert 0 not in nearest
    assert {*nearest.search(elsewhere[0], 2).rows.tolist()} == {500, 501}  # to 16 bits, one of them twice
    assert nearest.search(-elsewhere[1], 1).rows.tolist() == [1]
    assert not nearest.settle()
    assert nearest.is_settled


ROWS = st.integers(0, 40)


class Changes(RuleBasedStateMachine):
    """Puts, drops, settles and searches in any order, against looking at all. So few that nothing may be missed."""

    def __init__(self) -> None:
        super().__init__()
        self.nearest = GrowingNearest(WIDTH, most_exact=12)
        self.exact = ExactNearest(WIDTH)
        self.sketched = sketched()
        self.held: dict[int, NDArray[np.float32]] = {}

    @rule(row=ROWS, seed=st.integers(0, 1_000))
    def put(self, row: int, seed: int) -> None:
        self.held[row] = vector = some_vectors(1, seed=seed)[0]
        self.nearest.put(row, vector)
        self.exact.put(row, vector)
        self.sketched.put(row, vector)

    @rule(first=ROWS, count=st.integers(1, 20))
    def put_many(self, first: int, count: int) -> None:
        for row in range(first, first + count):
            self.put(row, row)

    @rule(row=ROWS)
    def drop(self, row: int) -> None:
        self.held.pop(row, None)
        self.nearest.drop(row)
        self.exact.drop(row)
        self.sketched.drop(row)

    @rule()
    def part(self) -> None:
        self.nearest.settle()

    @rule()
    def settle(self) -> None:
        settle(self.nearest)

    @rule(seed=st.integers(0, 1_000), k=st.integers(1, 60))
    def search(self, seed: int, k: int) -> None:
        asked = some_vectors(1, seed=seed)[0]
        best = truth(self.held, asked, k)
        for found in (each.search(asked, k) for each in (self.nearest, self.exact, self.sketched)):
            rows = found.rows.tolist()
            assert len(set(rows)) == len(rows) == len(best)
            # 16 bits an element: as near as the best, if not the same
            expected = [float(self.held[row] @ asked) for row in best]
            np.testing.assert_allclose([float(self.held[row] @ asked) for row in rows], expected, atol=2e-3)

    @invariant()
    def holds_what_was_put(self) -> None:
        assert len(self.nearest) == len(self.exact) == len(self.sketched) == len(self.held)
        assert all(row in self.nearest for row in self.held)


TestChanges = Changes.TestCase
TestChanges.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
