"""Nearly the nearest of wide vectors: all sketches are looked at, and of the best the vectors themselves.

A sketch has 4 bits for every two elements, so that all of them are compared in registers (product quantization: Jégou,
Douze and Schmid 2011; André, Kermarrec and Le Scouarnec 2017, "Quicker ADC"), in faiss. Were wide vectors kept around
centres, as narrow ones are, most of those nearest to a text would lie around other centres (decision 0030).
"""

from __future__ import annotations

from collections.abc import Sequence

import faiss
import numpy as np
from numpy.typing import NDArray

from .found import FloatVector, Found, in_order

_TRAINED_ON = 20_000
_LOOKED_AT = 4
"""Vectors that are looked at themselves, by what is asked for, …"""
_LEAST_LOOKED_AT = 200
"""… and at least."""
_BITS = 4
_GROWN = 3.0


class SketchedNearest:
    """Vectors in 16 bits an element, and their sketches, without gaps. Begins with some to learn to sketch from.

    A change writes one sketch anew. What is learned is how to cut each pair of elements into 16 values: that seldom
    wears off, and `is_worn` says when it may have.
    """

    def __init__(self, rows: Sequence[int], vectors: FloatVector, *, seed: int = 0) -> None:
        n, width = vectors.shape
        faiss.omp_set_num_threads(1)  # of this thread
        pairs = width // 2 if width % 2 == 0 else width
        self._index = faiss.IndexPQFastScan(width, pairs, _BITS, faiss.METRIC_INNER_PRODUCT)
        self._index.pq.cp.min_points_per_centroid = 1  # it would warn of few
        some = np.sort(np.random.default_rng(seed).permutation(n)[:_TRAINED_ON])
        self._index.train(np.ascontiguousarray(vectors[some]))
        self._packer = self._index.get_CodePacker()  # type: ignore[attr-defined]  # its stubs lack it
        self._began_with: int = n
        self._changes = 0
        self._places = {row: place for place, row in enumerate(rows)}
        self._rows = np.array(rows, np.int64)
        self._vectors = vectors.astype(np.float16)
        self._index.add(np.ascontiguousarray(vectors))
        self._blocks = self._view()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, row: object) -> bool:
        return row in self._places

    @property
    def is_worn(self) -> bool:
        """Whether to learn anew."""
        n, began = len(self._places), self._began_with
        return self._changes > max(n, began) or n > _GROWN * began

    def put(self, row: int, vector: FloatVector) -> None:
        """As promised."""
        self._changes += 1
        place = self._places.setdefault(row, len(self._places))
        if place == len(self._rows):
            self._grow()
        self._set(place, row, np.asarray(vector, np.float32))

    def drop(self, row: int) -> None:
        """As promised; the last one moves to its place."""
        self._changes += 1
        place = self._places.pop(row, None)
        last = len(self._places)
        if place is not None and place != last:
            moved = int(self._rows[last])
            self._places[moved] = place
            self._set(place, moved, self._vectors[last].astype(np.float32))

    def vectors(self, rows: Sequence[int]) -> FloatVector:
        """Return the vectors held under these rows, to 3 digits. Raises `KeyError`."""
        return self._vectors[[self._places[row] for row in rows]].astype(np.float32)

    def rows(self) -> list[int]:
        """Return all rows."""
        return list(self._places)

    def search(self, vector: FloatVector, k: int) -> Found:
        """As promised, but for what the sketches hide."""
        n = len(self._places)
        if n == 0:
            return in_order(np.zeros(0, np.int64), np.zeros(0, np.float32))
        faiss.omp_set_num_threads(1)
        looked_at = max(_LEAST_LOOKED_AT, _LOOKED_AT * k)
        self._index.ntotal = n  # what was dropped leaves its sketch behind the last place
        _, found = self._index.search(np.ascontiguousarray(vector[None]), min(looked_at, n))
        places = found[0][(found[0] >= 0) & (found[0] < n)]
        near = self._vectors[places].astype(np.float32) @ vector
        best = np.argsort(-near, kind="stable")[:k]
        return in_order(self._rows[places[best]], near[best])

    def _set(self, place: int, row: int, vector: FloatVector) -> None:
        self._rows[place], self._vectors[place] = row, vector
        code = self._index.pq.compute_codes(np.ascontiguousarray(vector[None]))[0]
        block, within = divmod(place, self._packer.nvec)
        self._packer.pack_1(code, within, self._blocks[block : block + 1])

    def _grow(self) -> None:
        """Make room for some more, whose sketches are of nothing yet."""
        more = max(64, len(self._rows) // 50)
        self._index.ntotal = len(self._rows)
        self._index.add(np.zeros((more, self._vectors.shape[1]), np.float32))
        self._rows = np.concatenate([self._rows, np.zeros(more, np.int64)])
        self._vectors = np.concatenate([self._vectors, np.zeros((more, self._vectors.shape[1]), np.float16)])
        self._blocks = self._view()

    def _view(self) -> NDArray[np.uint8]:
        """Return the sketches as faiss packs them, in blocks; they move when there come more."""
        packed = faiss.rev_swig_ptr(self._index.codes.get(), self._index.codes.size())
        blocks: NDArray[np.uint8] = packed.reshape(-1, self._packer.block_size)
        return blocks
