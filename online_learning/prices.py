"""Prices: what items cost, so that the list of what will be bought can weigh what a purchase is worth.

A score estimates ln P(bought next) and a constant; with ln(price / mean price) added it orders by expected value. An
item without a known price counts as one of the mean price.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .compiled import kernel
from .logarithm import logarithm
from .vocabulary import Vocabulary

_LEAST, _MOST = 1e-6, 1e9


class Prices(NamedTuple):
    """Rows by item. Written by `set_price` alone."""

    price: NDArray[np.float32]
    """0 where none is known, shape (items,)."""
    dirty: NDArray[np.uint8]
    total: NDArray[np.float64]
    """Sum of the known prices, shape (1,)."""
    known: NDArray[np.int64]
    """How many are known, shape (1,)."""
    total_dirty: NDArray[np.uint8]


def prices(arena: Arena, items: Vocabulary) -> Prices:
    """Declare the prices of all items."""
    table = arena.table("prices", items.capacity, lambda: len(items), of=items.name)
    total = arena.table("prices_total", 1, lambda: 1)
    return Prices(
        price=table.array("price", np.float32),
        dirty=table.dirty,
        total=total.array("total", np.float64),
        known=total.array("known", np.int64),
        total_dirty=total.dirty,
    )


def set_price(p: Prices, item: int, price: float | None) -> None:
    """Replace what is known of the item's price; None or 0: nothing."""
    now = np.float32(min(_MOST, max(_LEAST, price)) if price else 0.0)
    before = p.price[item]
    p.price[item] = now
    p.total[0] += float(now) - float(before)
    p.known[0] += int(now > 0) - int(before > 0)
    p.dirty[item] = 1
    p.total_dirty[0] = 1


def forget_prices(p: Prices, items: NDArray[np.int64]) -> None:
    """Take the prices of `items` out of the mean; their rows are cleared by whoever forgets them."""
    gone = p.price[items].astype(np.float64)
    p.total[0] -= gone.sum()
    p.known[0] -= np.count_nonzero(gone)
    p.total_dirty[0] = 1


@kernel
def price_part(p: Prices, item: int) -> np.float32:
    """Return ln(price / mean price), 0 where the item's is not known."""
    price = p.price[item]
    if price <= np.float32(0.0) or p.total[0] <= 0.0:
        return np.float32(0.0)
    return logarithm(np.float32(price * p.known[0] / p.total[0]))
