"""Decay and logarithm: as accurate as they say, at the edges too."""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from millstream.online_learning.decay import decay, halved
from millstream.online_learning.logarithm import logarithm

Floats = NDArray[np.float32]


def over(function: Callable[[np.float32], np.float32]) -> Callable[[Floats], Floats]:
    """Compile a loop around a function that is made to be inlined."""

    @numba.njit(error_model="numpy")
    def loop(values: Floats) -> Floats:
        out = np.empty_like(values)
        for at in range(len(values)):
            out[at] = function(values[at])
        return out

    return loop


@pytest.fixture(scope="module")
def halve() -> Callable[[Floats], Floats]:
    return over(halved)


@pytest.fixture(scope="module")
def log() -> Callable[[Floats], Floats]:
    return over(logarithm)


def test_halved_is_right_to_three_ten_millionths(halve: Callable[[Floats], Floats]) -> None:
    """2^-x for 0 ≤ x ≤ 100 differs from the exact power by less than 3e-7 of it: the polynomial plus rounding."""
    x = np.concatenate([np.linspace(0, 100, 200_001), np.geomspace(1e-8, 1, 20_001)]).astype(np.float32)
    exact = np.exp2(-x.astype(np.float64))
    assert np.max(np.abs(halve(x) / exact - 1)) < 3e-7


def test_whole_halvings_are_exact_powers_of_two(halve: Callable[[Floats], Floats]) -> None:
    """0 halvings leave all; beyond 100 as much is left as after 100, never 0 and never a subnormal."""
    x = np.array([0.0, 1.0, 2.0, 31.0, 99.0, 100.0, 101.0, 1e6, 1e30, np.inf], np.float32)
    assert halve(x).tolist() == [2.0 ** -min(float(value), 100.0) for value in x]


def test_halved_never_rises(halve: Callable[[Floats], Floats]) -> None:
    """More halvings never leave visibly more: order by decayed count is order."""
    out = halve(np.linspace(0, 12, 300_001).astype(np.float32)).astype(np.float64)
    assert np.all(out[1:] <= out[:-1] * (1 + 2e-7))


def test_decay_of_no_age_or_a_negative_one_is_one() -> None:
    """Time that ran backwards does not make a counter grow."""
    assert decay(0.0, 40.0) == 1.0
    assert decay(-5.0, 40.0) == 1.0
    assert decay(40.0, 40.0) == pytest.approx(0.5, rel=1e-6)
    assert 0.0 <= decay(1e12, 3.0) < 1e-9


@pytest.mark.parametrize("half_life", [3.0, 10.0, 40.0, 200.0, 1000.0, 5000.0, 50_000.0])
@pytest.mark.parametrize("every", [1, 3, 16, 50])
def test_many_small_decays_are_one_large_one(half_life: float, every: int) -> None:
    """A counter touched every few events decays at its half-life: what a touch adds does not stay for ever."""
    steps = int(np.ceil(2 * half_life / every))
    left = np.float32(1.0)
    for _ in range(steps):
        left *= decay(float(every), half_life)
    assert left == pytest.approx(2.0 ** (-steps * every / half_life), rel=0.01)


def test_logarithm_is_right_to_two_units_in_the_last_place(log: Callable[[Floats], Floats]) -> None:
    """Over all exponents, and finely around 1, where the result is near 0."""
    rng = np.random.default_rng(1)
    bits = rng.integers(0x00800000, 0x7F800000, 400_000).astype(np.int32)  # every normal positive float
    values = np.concatenate([bits.view(np.float32), np.linspace(0.5, 2.0, 200_001).astype(np.float32)])
    exact = np.log(values.astype(np.float64))
    ulp = np.spacing(np.maximum(np.abs(exact), np.finfo(np.float32).tiny).astype(np.float32)).astype(np.float64)
    assert np.max(np.abs(log(values) - exact) / ulp) <= 2.0


def test_logarithm_at_the_edges(log: Callable[[Floats], Floats]) -> None:
    """ln 1 is exactly 0; the least and the largest normal number are fine."""
    edges = np.array([1.0, np.finfo(np.float32).tiny, np.finfo(np.float32).max, 1e-4], np.float32)
    assert log(edges)[0] == 0.0
    assert log(edges) == pytest.approx(np.log(edges.astype(np.float64)), rel=2e-7)
