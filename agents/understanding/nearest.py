"""Which vectors are nearest to another by inner product: exactly, or nearly and much faster. Of any width.

`ExactNearest`        looks at all of them: the best way while they are few
`ApproximateNearest`  looks at those that lie around the centres nearest to what is asked (an inverted file: Sivic and
                      Zisserman 2003; Jégou, Douze and Schmid 2011), in faiss
`SketchedNearest`     looks at a sketch of each of them: better for wide vectors (`sketched.py`)
`Nearest` is what all promise; `GrowingNearest` begins with the first, goes over to one of the others, and makes it anew
when it no longer fits.

Why not a graph (HNSW): a vector that changes costs it milliseconds, and here some tens of microseconds (decision 0030).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import faiss
import numpy as np

from .found import FloatVector, Found, in_order
from .sketched import SketchedNearest

MOST_EXACT = 20_000
"""Vectors up to which all are looked at."""
WIDE = 128
"""Elements beyond which vectors are sketched."""
_FIRST_ROOM = 256
_CENTRES = 2.3
"""Centres by the root of how many vectors there are: with 200,000 of them 1,028."""
_LOOKED_AT = 0.055
"""Share of the centres whose vectors are looked at, …"""
_LEAST_LOOKED_AT = 56
"""… and how many of them at least."""
_TRAINED_ON = 40
"""Vectors a centre is found from."""
_GROWN = 3.0
"""How much more or fewer vectors there may be than when the centres were found."""
_GATHERED = 2_000
"""Vectors copied at a time: some milliseconds."""


class Nearest(Protocol):
    """Vectors by row. One thread at a time."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __contains__(self, row: object) -> bool:
        """Return whether there is one of this row."""

    def put(self, row: int, vector: FloatVector) -> None:
        """Hold the vector under this row, in place of another that was there; from the next search on."""

    def drop(self, row: int) -> None:
        """Hold none under this row any more; nothing happens where there is none."""

    def search(self, vector: FloatVector, k: int) -> Found:
        """Return the `k` nearest, or all where there are fewer; each row once."""


class ExactNearest:
    """All of them, one product with a matrix. Rows may be any integers."""

    def __init__(self, width: int) -> None:
        self._vectors = np.zeros((_FIRST_ROOM, width), np.float32)
        self._rows = np.zeros(_FIRST_ROOM, np.int64)
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, row: object) -> bool:
        return row in self._places

    def put(self, row: int, vector: FloatVector) -> None:
        """As promised."""
        place = self._places.setdefault(row, len(self._places))
        if place == len(self._rows):
            self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._vectors[place], self._rows[place] = vector, row

    def drop(self, row: int) -> None:
        """As promised; the last one moves to its place."""
        place = self._places.pop(row, None)
        last = len(self._places)
        if place is not None and place != last:
            self._vectors[place] = self._vectors[last]
            self._rows[place] = moved = int(self._rows[last])
            self._places[moved] = place

    def vectors(self, rows: Sequence[int]) -> FloatVector:
        """Return the vectors held under these rows. Raises `KeyError`."""
        return self._vectors[[self._places[row] for row in rows]]

    def rows(self) -> list[int]:
        """Return all rows."""
        return list(self._places)

    def search(self, vector: FloatVector, k: int) -> Found:
        """As promised, without a miss."""
        n = len(self._places)
        near = self._vectors[:n] @ vector
        best = np.argpartition(near, n - k)[n - k :] if k < n else np.arange(n)
        return in_order(self._rows[best], near[best])


class ApproximateNearest:
    """A list of vectors for each of some centres, in 16 bits an element. Begins with vectors to find centres from.

    A change moves one vector from a list to another, so that vectors may drift; once all have changed on the average,
    or there are many more or fewer, `is_worn` says that the centres should be found anew.
    """

    def __init__(
        self, rows: Sequence[int], vectors: FloatVector, *, looked_at: float = _LOOKED_AT, seed: int = 0
    ) -> None:
        n, width = vectors.shape
        centres = max(1, min(round(_CENTRES * n**0.5), n))
        faiss.omp_set_num_threads(1)  # of this thread
        self._rows = set(rows)
        self._began_with: int = n
        self._changes = 0
        self._centres = faiss.IndexFlatIP(width)
        half = faiss.ScalarQuantizer.QT_fp16
        self._index = faiss.IndexIVFScalarQuantizer(self._centres, width, centres, half, faiss.METRIC_INNER_PRODUCT)
        self._index.cp.min_points_per_centroid = 1  # it would warn of few
        chance = np.random.default_rng(seed)
        some = chance.permutation(n)[: _TRAINED_ON * centres]
        self._index.train(np.ascontiguousarray(vectors[np.sort(some)]))
        self._index.set_direct_map_type(faiss.DirectMap.Hashtable)  # type: ignore[attr-defined]  # its stubs lack it
        self._index.add_with_ids(np.ascontiguousarray(vectors), np.asarray(rows, np.int64))
        self._index.nprobe = min(centres, max(_LEAST_LOOKED_AT, round(looked_at * centres)))

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, row: object) -> bool:
        return row in self._rows

    @property
    def is_worn(self) -> bool:
        """Whether the centres no longer fit."""
        n, began = len(self._rows), self._began_with
        return self._changes > max(n, began) or n > _GROWN * began

    def put(self, row: int, vector: FloatVector) -> None:
        """As promised; some 30 microseconds."""
        self.drop(row)
        self._index.add_with_ids(np.ascontiguousarray(vector[None]), np.array([row], np.int64))
        self._rows.add(row)

    def drop(self, row: int) -> None:
        """As promised."""
        self._changes += 1
        if row in self._rows:
            self._rows.remove(row)
            self._index.remove_ids(faiss.IDSelectorArray(np.array([row], np.int64)))

    def vectors(self, rows: Sequence[int]) -> FloatVector:
        """Return the vectors held under these rows, to 3 digits. Raises what faiss raises for one that is not there."""
        found: FloatVector = self._index.reconstruct_batch(np.asarray(rows, np.int64))
        return found

    def rows(self) -> list[int]:
        """Return all rows."""
        return list(self._rows)

    def search(self, vector: FloatVector, k: int) -> Found:
        """As promised, but for what lies around other centres (docs/decisions/0030)."""
        faiss.omp_set_num_threads(1)
        near, rows = self._index.search(np.ascontiguousarray(vector[None]), max(1, k))
        there = rows[0] >= 0
        return in_order(rows[0][there], near[0][there])


Made = ApproximateNearest | SketchedNearest


class GrowingNearest:
    """Exact until there are `most_exact`, then approximate; that is made, at first and anew, on a thread beside.

    The owner calls `settle` again and again. Until it is made, searches go on as before, and so do changes.
    """

    def __init__(self, width: int, *, most_exact: int = MOST_EXACT) -> None:
        self._most_exact = most_exact
        self._now: ExactNearest | Made = ExactNearest(width)
        self._to_gather: list[int] | None = None
        self._rows: list[int] = []
        self._parts: list[FloatVector] = []
        self._changed: set[int] = set()
        """Rows put or dropped since the copying began."""
        self._thread: ThreadPoolExecutor | None = None
        self._made: Future[Made] | None = None

    @property
    def is_exact(self) -> bool:
        """Whether all are looked at for each search."""
        return isinstance(self._now, ExactNearest)

    def __len__(self) -> int:
        return len(self._now)

    def __contains__(self, row: object) -> bool:
        return row in self._now

    def put(self, row: int, vector: FloatVector) -> None:
        """As promised."""
        self._now.put(row, vector)
        if self._to_gather is not None:
            self._changed.add(row)

    def drop(self, row: int) -> None:
        """As promised."""
        self._now.drop(row)
        if self._to_gather is not None:
            self._changed.add(row)

    def search(self, vector: FloatVector, k: int) -> Found:
        """As promised."""
        return self._now.search(vector, k)

    def settle(self) -> bool:
        """Do a part, some milliseconds, of what is to be done; return whether to call again soon."""
        if self._to_gather is None:
            now = self._now
            if len(now) > self._most_exact if isinstance(now, ExactNearest) else now.is_worn:
                self._to_gather = now.rows()
            return self._to_gather is not None
        if self._to_gather:
            rows = [row for row in self._to_gather[-_GATHERED:] if row in self._now]
            del self._to_gather[-_GATHERED:]
            if rows:
                self._rows += rows
                self._parts.append(self._now.vectors(rows))
            return True
        if self._made is None:
            if not self._rows:
                self._begin_anew()
                return False
            self._thread = ThreadPoolExecutor(1, "centres")
            self._made = self._thread.submit(_made, self._rows, self._parts)
        elif self._made.done():
            self._go_over(self._made.result())
        return False

    def _go_over(self, made: Made) -> None:
        for row in self._changed:
            if row in self._now:
                made.put(row, self._now.vectors([row])[0])
            else:
                made.drop(row)
        self._now = made
        self._begin_anew()

    def _begin_anew(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=False)
        self._to_gather, self._made, self._thread = None, None, None
        self._rows, self._parts, self._changed = [], [], set()

    @property
    def is_settled(self) -> bool:
        """Whether no centres are being found."""
        return self._to_gather is None


def _made(rows: Sequence[int], parts: list[FloatVector]) -> Made:
    vectors = np.concatenate(parts)
    return SketchedNearest(rows, vectors) if vectors.shape[1] > WIDE else ApproximateNearest(rows, vectors)
