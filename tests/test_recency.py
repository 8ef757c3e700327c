"""Recency: the last distinct items anyone chose, against a list that is moved by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.online_learning.arena import Arena
from millstream.online_learning.recency import LENGTH, chosen, recency


@settings(deadline=None)
@given(log=st.lists(st.integers(0, LENGTH + 15), max_size=150))
def test_the_list_is_the_last_distinct_items_newest_first(log: list[int]) -> None:
    """A repeat moves to the front; beyond LENGTH the oldest leaves; every change is marked."""
    arena = Arena()
    r = recency(arena)
    oracle: list[int] = []
    for item in log:
        r.dirty[0] = 0
        chosen(r, np.int32(item))
        assert r.dirty[0] == 1
        oracle = [item, *(other for other in oracle if other != item)][:LENGTH]
    assert r.item[: r.held[0]].tolist() == oracle
    assert len(arena.dump()["recency/item"][0]) == LENGTH
