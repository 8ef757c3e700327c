"""The bounded heap against a sort."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.online_learning.heap import offer


@settings(deadline=None)
@given(values=st.lists(st.integers(0, 9), max_size=120), most=st.integers(1, 40), seed=st.integers(0, 99))
def test_a_heap_keeps_the_best_and_of_equals_the_lower_rows(values: list[int], most: int, seed: int) -> None:
    """In whatever order they are offered, the kept are the first of a sort by falling value and rising row."""
    heap, key = np.zeros(most, np.int32), np.zeros(most, np.float32)
    held = 0
    for item in np.random.default_rng(seed).permutation(len(values)).tolist():
        held = offer(heap, key, held, most, np.int32(item), np.float32(values[item]))
    best = sorted(range(len(values)), key=lambda item: (-values[item], item))[:most]
    assert sorted(heap[:held].tolist()) == sorted(best)
    assert key[:held].tolist() == [values[item] for item in heap[:held]]
    if held == most:
        assert heap[0] == best[-1]


def test_a_heap_without_room_keeps_nothing() -> None:
    """A lean ranking asks for none of some kind."""
    heap, key = np.zeros(3, np.int32), np.zeros(3, np.float32)
    assert offer(heap, key, 0, 0, np.int32(5), np.float32(2.0)) == 0
