"""Prices: the mean of what is known, and what a price adds to a score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.online_learning.arena import Arena
from millstream.online_learning.prices import Prices, forget_prices, price_part, prices, set_price
from millstream.online_learning.vocabulary import Vocabulary

ITEMS = 5
_prices = st.one_of(st.none(), st.floats(0.01, 1e5))


def declared() -> Prices:
    return prices(Arena(), Vocabulary("items", ITEMS, [f"i{n}" for n in range(ITEMS)]))


@settings(deadline=None)
@given(log=st.lists(st.tuples(st.integers(0, ITEMS - 1), _prices), max_size=30))
def test_a_price_adds_the_logarithm_of_its_ratio_to_the_mean(log: list[tuple[int, float | None]]) -> None:
    """Whatever replaced what: the latest prices count, each once, and none that was taken back."""
    p, latest = declared(), dict[int, float]()
    for item, price in log:
        set_price(p, item, price)
        latest.pop(item, None)
        if price is not None:
            latest[item] = price
    for item in range(ITEMS):
        wanted = np.log(latest[item] / np.mean(list(latest.values()))) if item in latest else 0.0
        assert price_part(p, np.int32(item)) == pytest.approx(wanted, abs=1e-4)
    assert p.known[0] == len(latest)


def test_no_price_makes_a_score_that_is_not_finite() -> None:
    """Nothing known, a price of nothing, and prices as far apart as they come."""
    p = declared()
    assert price_part(p, np.int32(0)) == 0.0
    for item, price in enumerate((0.0, 1e-300, 1e300, 5.0)):
        set_price(p, item, price)
    assert np.isfinite([price_part(p, np.int32(item)) for item in range(ITEMS)]).all()
    assert price_part(p, np.int32(0)) == 0.0


def test_a_forgotten_price_leaves_the_mean() -> None:
    """Of items with a price and without, those forgotten count no more; the others stand as if they were all."""
    p = declared()
    for item, price in enumerate((3.0, None, 8.0, 5.0)):
        set_price(p, item, price)
    forget_prices(p, np.array([0, 1], np.int64))
    p.price[:2] = 0.0  # as the arena clears them
    assert (p.total[0], p.known[0]) == (13.0, 2)
    assert price_part(p, np.int32(2)) == pytest.approx(np.log(8.0 / 6.5), abs=1e-4)
