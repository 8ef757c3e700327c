"""One slab of equal units, handed out in blocks of 1, 2, 4, … units: how rows of very different length share memory.

`slab[0]` is the units handed out so far; `slab[c]` is the first free block of size class c plus 1, or 0. A free block's
first word links to the next free one of its class. A block of size class c has 2^(c-1) units; class 0 is no block.
Once all units are handed out, a larger free block is halved for want of a smaller one. Halves are not joined again:
what lives and goes gives back what it took, so blocks settle at the sizes that were ever needed at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

UNIT = 16
"""Cells in a unit."""


def size_classes(row_cells: int) -> int:
    """Return the size class that holds `row_cells` cells, a power of two not below UNIT."""
    return (row_cells // UNIT).bit_length()


@kernel
def units_of(size_class: int) -> int:
    """Return the units in a block of this size class."""
    return 1 << (size_class - 1) if size_class > 0 else 0


@kernel
def take(slab: NDArray[np.int64], words: NDArray[np.int32], dirty: NDArray[np.uint8], size_class: int) -> int:
    """Return the first unit of a block of this size class, or -1 beyond the largest class or where none is left."""
    if size_class >= len(slab):
        return -1
    units = units_of(size_class)
    if slab[size_class] == 0 and slab[0] + units <= len(words):
        fresh = slab[0]
        slab[0] += units
        return int(fresh)
    larger = size_class
    while slab[larger] == 0:
        larger += 1
        if larger == len(slab):
            return -1
    block = int(slab[larger] - 1)
    slab[larger] = words[block, 0]
    while larger > size_class:
        larger -= 1
        give(slab, words, dirty, larger, block + units_of(larger))
    return block


@kernel
def give(
    slab: NDArray[np.int64], words: NDArray[np.int32], dirty: NDArray[np.uint8], size_class: int, block: int
) -> None:
    """Put a block back; its first word becomes the link."""
    words[block, 0] = slab[size_class]
    dirty[block] = 1
    slab[size_class] = block + 1
