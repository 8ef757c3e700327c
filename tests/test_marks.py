"""Marks: each reader hears of every row that was touched, once, whatever the others ask."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millstream.online_learning.marks import COPY, HASH, Marks

Do = tuple[str, int]

Marks(1).take(HASH)  # what is compiled is loaded before anybody counts seconds


@given(
    rows=st.integers(0, 40),
    done=st.lists(st.tuples(st.sampled_from(["touch", HASH, COPY]), st.integers(0, 39)), max_size=60),
)
def test_each_reader_hears_of_each_touched_row_once(rows: int, done: list[Do]) -> None:
    """Against a set for each reader; rows rise, and a row touched again is told again."""
    marks = Marks(rows)
    marks.follow(COPY)
    untold: dict[str, set[int]] = {HASH: set(), COPY: set()}
    for what, row in done:
        if what == "touch":
            if row < rows:
                marks.dirty[row] = 1
                for reader in untold:
                    untold[reader].add(row)
        else:
            assert marks.take(what).tolist() == sorted(untold[what])
            untold[what].clear()


def test_a_reader_hears_of_what_is_touched_after_it_began() -> None:
    """Not of what was before; whoever followed already still does."""
    marks = Marks(9)
    marks.dirty[3] = 1
    marks.follow(COPY)
    marks.dirty[8] = 1
    assert marks.take(COPY).tolist() == [8]
    assert marks.take(HASH).tolist() == [3, 8]
