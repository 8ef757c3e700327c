"""Vectors of what people type: each clause is encoded once and kept for a while.

An encoder that takes its time has a thread of its own.

A sentence that asks for less of something means all that it wants, less a part of all that it does not.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from millstream.agents.encoders import TextEncoder, normalised

from .clauses import Clauses
from .words import same

MOST_KEPT = 20_000
"""Clauses kept: some 1.6 KB each."""
UNWANTED = 0.7
"""What a clause that is not wanted counts for (docs/decisions/0030)."""
_LEAST = 1e-3


class Texts:
    """What texts mean to an encoder. One event loop owns it; `close` ends the thread."""

    def __init__(self, encoder: TextEncoder, *, quick: bool = False, most_kept: int = MOST_KEPT) -> None:
        """Take a `quick` encoder: one that is done before a thread would have begun."""
        self.encoder = encoder.name
        self.encoded = 0
        """Clauses encoded so far."""
        self._encode = encoder.encode
        self._most_kept = most_kept
        self._kept: OrderedDict[str, asyncio.Future[NDArray[np.float32]]] = OrderedDict()
        self._thread = None if quick else ThreadPoolExecutor(1, "encoder")

    async def vector(self, clauses: Clauses) -> NDArray[np.float32] | None:
        """Return the vector, of length 1, of what clauses want; None where they cancel out, or there are none.

        Raises what the encoder raises; then the text is encoded anew when it comes again.
        """
        parts = [(text, 1.0) for text in clauses.wanted] + [(text, -UNWANTED) for text in clauses.unwanted]
        if not parts:
            return None
        vectors = await asyncio.gather(*(asyncio.shield(self._of(text)) for text, _ in parts))
        whole = combined(vectors, [weight for _, weight in parts])
        return None if np.linalg.norm(whole) < _LEAST else normalised(whole[None])[0]

    def close(self) -> None:
        """Encode no more."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _of(self, text: str) -> asyncio.Future[NDArray[np.float32]]:
        """Return the vector of a clause, known or on its way: who asks while it is encoded waits for the same."""
        key = same(text)
        found = self._kept.get(key)
        if found is None:
            found = self._begun(text)
            self._kept[key] = found
            found.add_done_callback(lambda done: self._drop(key) if done.cancelled() or done.exception() else None)
            self.encoded += 1
            while len(self._kept) > self._most_kept:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return found

    def _begun(self, text: str) -> asyncio.Future[NDArray[np.float32]]:
        loop = asyncio.get_running_loop()
        if self._thread is not None:
            return loop.run_in_executor(self._thread, self._one, text)
        done: asyncio.Future[NDArray[np.float32]] = loop.create_future()
        done.set_result(self._one(text))
        return done

    def _drop(self, key: str) -> None:
        self._kept.pop(key, None)

    def _one(self, text: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self._encode([text])[0]
        return vector


def combined(vectors: Sequence[NDArray[np.float32]], weights: Sequence[float]) -> NDArray[np.float32]:
    """Return the weighted sum of vectors of one shape."""
    return np.asarray(np.tensordot(np.array(weights, np.float32), np.stack(vectors), 1), np.float32)
