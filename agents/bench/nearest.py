"""The first half of `bench search`: approximate search against looking at all, while the vectors drift.

One query at a time, on one thread, each kind in turn for every query. Between two queries some vectors move a little,
and some go elsewhere, in both; the truth is taken from the very vectors of that moment.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from millstream.agents.demo_servers import Say
from millstream.agents.understanding.nearest import ExactNearest, GrowingNearest

K = 50
_LATENT = 16
"""Directions in which most of a vector lies: what is learned of items, or said by them, has few."""
_NOISE = 0.3
_STEP = 0.15
"""How far a vector moves that drifts, of its length."""
_ELSEWHERE = 0.2
"""Share of the vectors that move which become others."""


@dataclass(frozen=True, slots=True)
class NearestFigures:
    """Medians over the queries, but for recall."""

    recall: float
    recall_after: float
    """Of the last tenth of the queries, when the most has drifted."""
    approximate_ms: float
    p99_ms: float
    exact_ms: float
    """numpy: the product and argpartition."""
    own_exact_ms: float
    """`ExactNearest`."""
    update_us: float
    moved: int
    build_s: float


def nearest_figures(*, vectors: int, width: int, queries: int, moves: int, latent: bool, say: Say) -> NearestFigures:
    """Return the figures of so many vectors and queries, with `moves` vectors moved between two queries.

    `latent`: most of a vector lies in 16 directions. Otherwise no direction is rarer than another: the worst case.
    """
    rng = np.random.default_rng(11)
    turned = rng.normal(size=(_LATENT, width)) * _LATENT**-0.5

    def some(n: int) -> NDArray[np.float32]:
        found = rng.normal(size=(n, width))
        if latent:
            found = rng.normal(size=(n, _LATENT)) @ turned + _NOISE * found
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)

    held, asked = some(vectors), some(queries)
    with threadpool_limits(1):
        nearest, exact = GrowingNearest(width, most_exact=1_000), ExactNearest(width)
        began_s = time.perf_counter()
        for row in range(vectors):
            nearest.put(row, held[row])
            exact.put(row, held[row])
            if row == vectors - 1:
                while nearest.settle() or not nearest.is_settled:
                    time.sleep(0.001)
        build_s = time.perf_counter() - began_s
        where = "in few directions" if latent else "in all directions alike"
        say(f"{vectors:,} vectors of {width}, {where}, taken in within {build_s:.1f} s")
        recalls, times = [], np.zeros((queries, 3))
        update_s, moved = 0.0, 0
        for number, query in enumerate(asked):
            rows = rng.integers(0, vectors, moves).tolist()
            new = held[rows] + _STEP * some(moves)
            elsewhere = rng.random(moves) < _ELSEWHERE
            new[elsewhere] = some(int(elsewhere.sum()))
            new /= np.linalg.norm(new, axis=1, keepdims=True)
            began_s = time.perf_counter()
            for row, vector in zip(rows, new, strict=True):
                nearest.put(row, vector)
            update_s += time.perf_counter() - began_s
            moved += moves
            for row, vector in zip(rows, new, strict=True):
                held[row] = vector
                exact.put(row, vector)
            nearest.settle()
            began_s = time.perf_counter()
            near = held @ query
            best = np.argpartition(near, vectors - K)[vectors - K :]
            exact_s = time.perf_counter()
            found = nearest.search(query, K)
            approximate_s = time.perf_counter()
            exact.search(query, K)
            times[number] = exact_s - began_s, approximate_s - exact_s, time.perf_counter() - approximate_s
            recalls.append(len(set(found.rows.tolist()) & set(best.tolist())) / K)
    median_ms = 1_000 * np.median(times, axis=0)
    return NearestFigures(
        recall=float(np.mean(recalls)),
        recall_after=float(np.mean(recalls[-max(1, queries // 10) :])),
        exact_ms=float(median_ms[0]),
        approximate_ms=float(median_ms[1]),
        p99_ms=float(1_000 * np.quantile(times[:, 1], 0.99)),
        own_exact_ms=float(median_ms[2]),
        update_us=1e6 * update_s / max(1, moved),
        moved=moved,
        build_s=build_s,
    )
