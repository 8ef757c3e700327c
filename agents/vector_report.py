"""What `vector` says: the numbers of an interest vector, what it is pooled from and what is near it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest

from rich.markup import escape
from rich.table import Table

from millstream.online_learning.interest_readout import InterestVector

NOTE = "score: (u' A) v_j, the signal `interest` of the blend."
_COLUMNS = 8
"""Elements of a vector in a row of the table."""


def vector_json(snapshot: str, found: InterestVector) -> dict[str, object]:
    """Return the keys that scripts rely on."""
    return {
        "id": found.id,
        "kind": found.kind,
        "snapshot": snapshot,
        "seq": found.seq,
        "as_of_ms": found.as_of_ms,
        "vector": [round(element, 6) for element in found.vector.tolist()],
        "norm": round(found.norm, 6),
        "pooled": [{"item_id": item, "share": round(share, 6)} for item, share in found.pooled],
        "nearest": [{"item_id": item, "score": round(score, 6)} for item, score in found.nearest],
    }


def vector_table(found: InterestVector) -> Table:
    """Return the elements of the vector in order, a few a row."""
    table = Table(title=escape(f"{found.kind} {found.id}"), box=None, pad_edge=False, show_header=False)
    elements = found.vector.tolist()
    table.caption = f"{len(elements)} elements, norm {found.norm:.4g}"
    for _ in range(_COLUMNS):
        table.add_column(justify="right", no_wrap=True)
    for first in range(0, len(elements), _COLUMNS):
        table.add_row(*(f"{element:+.4f}" for element in elements[first : first + _COLUMNS]))
    return table


def near_table(found: InterestVector) -> Table:
    """Return the nearest items with their scores; for a user, beside them what the vector is pooled from."""
    table = Table(box=None, pad_edge=False)
    columns = {("nearest item", "score"): _cells(found.nearest, "+.4f")}
    if found.kind == "user":
        columns["pooled from", "share"] = _cells(found.pooled, ".3f")
    for name, number in columns:
        table.add_column(name, overflow="fold")
        table.add_column(number, justify="right")
    for cells in zip_longest(*columns.values(), fillvalue=("", "")):
        table.add_row(*(cell for pair in cells for cell in pair))
    return table


def _cells(scores: Iterable[tuple[str, float]], shown_as: str) -> list[tuple[str, str]]:
    return [(escape(item), format(score, shown_as)) for item, score in scores]
