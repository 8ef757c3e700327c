"""One slab of equal units, handed out in blocks of 1, 2, 4, … units: how rows of very different length share memory.

`slab[0]` is the units handed out so far; `slab[c]` is the first free block of size class c plus 1, or 0. A free block's
first word links to the next free one of its class. A block of size class c has 2^(c-1) units; class 0 is no block.
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
def take(slab: NDArray[np.int64], words: NDArray[np.int32], size_class: int) -> int:
    """Return the first unit of a block of this size class, or -1 beyond the largest class or the slab's end."""
    if size_class >= len(slab):
        return -1
    if slab[size_class] > 0:
        block = slab[size_class] - 1
        slab[size_class] = words[block, 0]
        return int(block)
    units = units_of(size_class)
    if slab[0] + units > len(words):
        return -1
    block = slab[0]
    slab[0] += units
    return int(block)


@kernel
def give(slab: NDArray[np.int64], words: NDArray[np.int32], size_class: int, block: int) -> None:
    """Put a block back; its first word becomes the link. The caller marks that unit as touched."""
    words[block, 0] = slab[size_class]
    slab[size_class] = block + 1
