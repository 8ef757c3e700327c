"""Content vectors for the tests of what items and users say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from millstream.online_learning.step import Step
from millstream.schemas.columns import vectors_chunk
from millstream.schemas.item_vectors import CONTENT, quantise


def vectors_of(groups: NDArray[np.int64], seed: int = 1) -> NDArray[np.float32]:
    """A vector of length 1 an item: those of a group lie near each other."""
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(int(groups.max()) + 1, CONTENT))
    drawn = middles[groups] + 0.5 * rng.normal(size=(len(groups), CONTENT))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)


def tell(step: Step, ids: list[str], vectors: NDArray[np.float32], start: int = 0) -> None:
    """Let these be the content vectors of items, as the records from offset `start` on."""
    coded = [quantise(vector) for vector in vectors]
    scales = np.array([scale for _, scale in coded], np.float32)
    step.apply(vectors_chunk(ids, np.array([each for each, _ in coded]), scales, start=start))


def ids_of(count: int, prefix: str = "i") -> list[str]:
    """Ids with rising numbers."""
    return [f"{prefix}{number}" for number in range(count)]
