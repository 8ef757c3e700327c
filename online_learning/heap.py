"""A bounded heap: the best few of many, in two parallel arrays, the worst at the root. Ties go to the lower row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiled import inlined, kernel


@inlined
def offer(heap: NDArray[np.int32], key: NDArray[np.float32], held: int, most: int, item: int, value: np.float32) -> int:
    """Keep `item` if it is among the `most` best so far; return how many are held."""
    if held < most:
        _sift_up(heap, key, held, item, value)
        return held + 1
    if value > key[0] or (value == key[0] and item < heap[0]):
        _sift_down(heap, key, held, item, value)
    return held


@inlined
def _worse(value: np.float32, item: int, other_value: np.float32, other_item: int) -> bool:
    """Tell whether the first has the lower value, or the same and the higher row: what a heap's root is."""
    return bool(value < other_value or (value == other_value and item > other_item))


@kernel
def _sift_up(heap: NDArray[np.int32], key: NDArray[np.float32], at: int, item: int, value: np.float32) -> None:
    """Put `item` into the heap of `at` items, the worst at its root."""
    while at > 0:
        parent = (at - 1) // 2
        if _worse(key[parent], heap[parent], value, item):
            break
        key[at] = key[parent]
        heap[at] = heap[parent]
        at = parent
    key[at] = value
    heap[at] = item


@kernel
def _sift_down(heap: NDArray[np.int32], key: NDArray[np.float32], held: int, item: int, value: np.float32) -> None:
    """Replace the root of the heap of `held` items by `item`."""
    at = 0
    while 2 * at + 1 < held:
        child = 2 * at + 1
        if child + 1 < held and _worse(key[child + 1], heap[child + 1], key[child], heap[child]):
            child += 1
        if _worse(value, item, key[child], heap[child]):
            break
        key[at] = key[child]
        heap[at] = heap[child]
        at = child
    key[at] = value
    heap[at] = item
