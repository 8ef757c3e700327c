"""Ratings: the running mean against numpy, and what a rating weighs beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import SMALL, chunk_of, columns_of

from millstream.online_learning.arena import Arena
from millstream.online_learning.popularity import H40
from millstream.online_learning.ratings import LEAST, MEMORY, MOST, Ratings, rate, rating_weight, ratings
from millstream.online_learning.step import Step
from millstream.online_learning.vocabulary import Vocabulary
from millstream.schemas.records import Kind

USER = np.int32(1)


def declared(slope: float = 1.5) -> Ratings:
    return ratings(Arena(), Vocabulary("users", 3, ["u0", "u1", "u2"]), slope)


def after(*values: float, slope: float = 1.5) -> Ratings:
    r = declared(slope)
    for value in values:
        rate(r, USER, value)
    return r


@settings(deadline=None)
@given(values=st.lists(st.one_of(st.floats(0.5, 100.0), st.just(np.nan)), max_size=30))
def test_the_mean_is_that_of_the_users_ratings_so_far(values: list[float]) -> None:
    """Values that are absent are passed over, other users have none of it, and each change is marked."""
    r = after(*values)
    known = [value for value in values if not np.isnan(value)]
    assert r.rated.tolist() == [0, len(known), 0]
    assert r.mean[USER] == pytest.approx(np.mean(known) if known else 0.0, rel=1e-4)
    assert r.dirty.tolist() == [0, int(bool(known)), 0]


def test_a_rating_weighs_by_how_far_it_is_from_the_users_mean() -> None:
    """Mean 3, slope 1.5: a 4 weighs half more, a 2 half as much, a 5 twice as much, a 1 next to nothing."""
    r = after(2.0, 4.0)
    weights = [float(rating_weight(r, USER, value)) for value in (4.0, 3.0, 2.0, 5.0, 1.0)]
    assert weights == pytest.approx([1.5, 1.0, 0.5, 2.0, LEAST])


def test_one_users_three_is_anothers_five() -> None:
    """Of a user who gives 2 a 3 weighs more than a 5 of one who gives 5; the unit of the scale does not matter."""
    assert rating_weight(after(2.0), USER, 3.0) > rating_weight(after(5.0), USER, 5.0) == 1.0
    assert rating_weight(after(20.0), USER, 30.0) == rating_weight(after(2.0), USER, 3.0)


def test_a_rating_without_a_value_or_one_before_it_weighs_one() -> None:
    """And so does every rating of a user whose ratings are all 0, and any with a slope of 0."""
    assert rating_weight(after(2.0), USER, np.nan) == 1.0
    assert rating_weight(declared(), USER, 5.0) == 1.0
    assert rating_weight(after(0.0), USER, 5.0) == 1.0
    assert rating_weight(after(2.0, slope=0.0), USER, 5.0) == 1.0


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e30, 1.7e308])
def test_no_rating_weighs_nothing_or_without_bound(value: float) -> None:
    """Whatever the scale, and however odd the value, the weight is in its range and the mean finite."""
    for r in (after(3.0), after(value), after(1e-30)):
        assert LEAST <= rating_weight(r, USER, value) <= MOST
        rate(r, USER, value)
        assert np.isfinite(r.mean).all()


def test_the_mean_moves_on_after_many_ratings() -> None:
    """The count is bounded; a user who has turned strict is known to be strict after a while."""
    r = after(*[5.0] * MEMORY, *[1.0] * 3 * MEMORY)
    assert r.rated[USER] == MEMORY
    assert r.mean[USER] < 1.3


def test_the_step_centres_each_rating_on_those_before_it() -> None:
    """Three ratings of one user: the second and third count by what came before, the first counts 1."""
    columns = columns_of(["u"] * 3, ["a", "b", "c"], kinds=[Kind.rating] * 3)
    step = Step(SMALL)
    step.apply(chunk_of(replace(columns, values=np.array([4.0, 2.0, 4.0]))), lists=False)
    counts = np.delete(step.model.popularity.value, H40, axis=1)
    expected = [1.0, 1 - SMALL.rating_slope / 2, 1 + SMALL.rating_slope / 3]
    assert counts[:3, 0].tolist() == pytest.approx(expected, rel=1e-6)
