"""What users say: the words of `query` and `say` events, as content vectors that whoever understood them put there.

A worker never encodes text. The event brings the vector, so a replay repeats what was understood then; and the intent,
in its `context`. An event that brings none is known, and says nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .item_vectors import CONTENT, quantise
from .rejects import Flaw, RejectCode, shown

INTENT = "intent"
"""The name, in an event's `context`, of what the words are after."""


class Intent(enum.IntEnum):
    """What somebody's words are after. The numbers are stored in snapshots: none is ever renumbered."""

    explore = 0
    """Whatever is like it."""
    category = 1
    """A kind of things."""
    find = 2
    """One thing, by its name."""


class Utterance(NamedTuple):
    """One event's words, as understood."""

    coded: NDArray[np.int8]
    """Shape (CONTENT,)."""
    scale: float
    """What `coded` is to be multiplied by, above 0: it is of length 1 then."""
    intent: Intent


class Utterances(NamedTuple):
    """The words of m of n events."""

    rows: NDArray[np.int64]
    """Which events, rising; shape (m,)."""
    coded: NDArray[np.int8]
    """Shape (m, CONTENT)."""
    scale: NDArray[np.float32]
    """Shape (m,)."""
    intent: NDArray[np.int8]
    """`Intent` values, shape (m,)."""

    def cut(self, first: int, last: int) -> Utterances | None:
        """Return those of the events first … last - 1, None where these have none."""
        begin, end = np.searchsorted(self.rows, (first, last)).tolist()
        return self._those(slice(begin, end), self.rows[begin:end] - first) if begin < end else None

    def taken(self, events: NDArray[np.int64]) -> Utterances | None:
        """Return those of the events at these places, in their order, None where these have none."""
        rows = np.flatnonzero(np.isin(events, self.rows))
        return self._those(np.searchsorted(self.rows, events[rows]), rows) if len(rows) else None

    def _those(self, which: slice | NDArray[np.int64], rows: NDArray[np.int64]) -> Utterances:
        return Utterances(rows, self.coded[which], self.scale[which], self.intent[which])


def utterances(found: Sequence[tuple[int, Utterance]]) -> Utterances | None:
    """Return words by event as columns, the events rising; None where there are none."""
    if not found:
        return None
    return Utterances(
        rows=np.array([row for row, _ in found], np.int64),
        coded=np.stack([each.coded for _, each in found]),
        scale=np.array([each.scale for _, each in found], np.float32),
        intent=np.array([each.intent for _, each in found], np.int8),
    )


def judge_utterance(name: str, vector: Any, context: Any) -> Utterance | Flaw | None:
    """Return what an event's words come to, None where nobody has understood them yet; `name` is the vector's."""
    if vector is None:
        return None
    if not isinstance(vector, list) or len(vector) != CONTENT or not all(map(_is_finite, vector)):
        return Flaw(RejectCode.wrong_type, f"{name}={shown(vector)} is no content vector of {CONTENT} finite numbers")
    elements = np.array(vector, np.float64)
    length = float(np.sqrt((elements * elements).sum()))
    if length == 0:
        return None
    coded, scale = quantise((elements / length).astype(np.float32))
    return Utterance(coded, scale, _intent(context))


def _is_finite(element: Any) -> bool:
    return type(element) in (float, int) and abs(element) < 1e30


def _intent(context: Any) -> Intent:
    named = context.get(INTENT) if isinstance(context, Mapping) else None
    return Intent[named] if isinstance(named, str) and named in Intent.__members__ else Intent.explore
