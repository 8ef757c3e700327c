"""What the catalogue says of items, taken into the state."""

from __future__ import annotations

from collections.abc import Iterable

from millstream.schemas.records import Item

from .availability import Availability
from .categories import EACH, Categories
from .prices import Prices, set_price
from .vocabulary import NOT_ADMITTED, Vocabulary


def describe(
    part: Categories,
    availability: Availability,
    costs: Prices | None,
    rows: Vocabulary,
    names: Vocabulary,
    items: Iterable[Item],
) -> list[int]:
    """Take in which categories items have, the first three of each, whether they can be had, and what they cost.

    The last only where `costs` are kept. What was known of them before is replaced. An item that was never chosen stays
    one that was never chosen. Categories beyond the cap of `names`, and items beyond that of `rows`, are left out.
    Returns the rows of items that could be had until now.
    """
    withdrawn = []
    for item in items:
        row = int(rows.rows([item.item_id])[0])
        if row == NOT_ADMITTED:
            continue
        some = list(dict.fromkeys(item.categories))[:EACH]
        known = [number + 1 for number in names.rows(some).tolist() if number >= 0]
        part.of[row] = 0
        part.of[row, : len(known)] = known
        part.of_dirty[row] = 1
        if not item.available and not availability.off[row]:
            withdrawn.append(row)
        availability.off[row] = not item.available
        availability.dirty[row] = 1
        if costs is not None:
            set_price(costs, row, item.price)
    return withdrawn
