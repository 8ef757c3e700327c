"""Evaluation: every event of a recorded log is ranked before it is learned ("test, then learn").

Protocol v1: rank all items seen earlier for the event's user, knowing only what came before; ties count half; items
off the shortlist tie below it. A log in which no rank looks ahead gives the same ranks however its end is scrambled.
Source: Vinagre, Jorge and Gama 2014, "Evaluation of recommender systems in streaming environments".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from millstream.schemas.columns import Chunk, InteractionColumns

from .content import FEW
from .kinds import TEACHING
from .measured import Measured
from .quality import Figures, better, figures
from .step import Step

PROTOCOL = "v1"
CHUNK_EVENTS = 1_000


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the protocol reports. Every set is a subset of the events whose kind can be a target, less duplicates.

    `scored`: user and item seen before. `half`: of these, the last half of the stream (the headline). `new`: of these,
    where the user never chose the item before. `all`: every target; an item never seen is a miss, unless the catalogue
    says enough of it to rank it. `cold0`: targets that nobody had chosen before; `cold`: those that were chosen FEW
    times at most, these included.
    """

    rank: NDArray[np.float64]
    """By event, shape (n,); NaN where the item was never seen or the kind is no target."""
    target: NDArray[np.bool_]
    is_scored: NDArray[np.bool_]
    """By event, shape (n,): whether it is in `scored`."""
    is_half: NDArray[np.bool_]
    """By event, shape (n,): whether it is in `half`."""
    is_cold: NDArray[np.bool_]
    """By event, shape (n,): whether it is in `cold`."""
    half: Figures
    scored: Figures
    new: Figures
    all: Figures
    cold0: Figures
    cold: Figures
    popularity_half: Figures
    """The better, by hit@10, of all-time popularity and half-life 40 events."""
    state_hash: str
    hash_apart: str | None
    """Of what was learned on another device than the processor, None where nothing was."""


def evaluate(
    columns: InteractionColumns,
    step: Step,
    *,
    topic: str,
    arrivals: Mapping[int, Chunk] = MappingProxyType({}),
    on_progress: Callable[[int], None] = lambda events: None,
) -> Evaluation:
    """Run the log through a fresh `step` as partition 0 of `topic` and return what the protocol reports.

    `columns` are in time order with offsets from 0. `arrivals` are chunks of the catalogue, or of content vectors, by
    the event before which they come. `on_progress` hears how many events are done, chunk by chunk.
    """
    n = len(columns)
    parts: list[Measured] = []
    target = targets(columns)
    bounds = sorted({*range(0, n, CHUNK_EVENTS), *(at for at in arrivals if at < n), n})
    for first, last in pairwise(bounds):
        if first in arrivals:
            step.apply(arrivals[first])
        applied = step.apply(Chunk(topic, 0, first, last, columns.cut(first, last)), lists=False)
        if applied.measured is not None:
            parts.append(applied.measured)
        if applied.duplicate is not None:
            target[first:last] &= ~applied.duplicate
        on_progress(last)
    measured = _joined(parts)
    scored = target & measured.user_known & measured.item_known
    half = scored & (np.arange(n) >= n // 2)
    before = _chosen_before(columns, target)
    cold = target & (before <= FEW)
    return Evaluation(
        rank=measured.rank,
        target=target,
        is_scored=scored,
        is_half=half,
        is_cold=cold,
        half=figures(measured.rank[half]),
        scored=figures(measured.rank[scored]),
        new=figures(measured.rank[half & _new_pairs(columns, target)]),
        all=figures(measured.rank[target]),
        cold0=figures(measured.rank[target & (before == 0)]),
        cold=figures(measured.rank[cold]),
        popularity_half=better(figures(measured.popular_rank[half]), figures(measured.trending_rank[half])),
        state_hash=step.state_hash(),
        hash_apart=step.arena.hash_apart(),
    )


def targets(columns: InteractionColumns) -> NDArray[np.bool_]:
    """Mark the events whose kind can be a target, shape (n,)."""
    return TEACHING[columns.kinds]


def _new_pairs(columns: InteractionColumns, target: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the targets whose user never chose their item before, shape (n,).

    Exact, however long ago that was: the step itself remembers only a user's latest items.
    """
    pairs: set[tuple[str, str]] = set()
    new = np.zeros(len(columns), np.bool_)
    for at in np.flatnonzero(target).tolist():
        pair = (columns.user_ids[at], columns.item_ids[at])
        new[at] = pair not in pairs
        pairs.add(pair)
    return new


def _chosen_before(columns: InteractionColumns, target: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how often each event's item was chosen before it, by anybody; shape (n,)."""
    times: dict[str, int] = {}
    before = np.zeros(len(columns), np.int64)
    for at in np.flatnonzero(target).tolist():
        item_id = columns.item_ids[at]
        before[at] = times.get(item_id, 0)
        times[item_id] = int(before[at]) + 1
    return before


def _joined(parts: list[Measured]) -> Measured:
    if not parts:
        nothing, never = np.zeros(0), np.zeros(0, np.bool_)
        return Measured(nothing, nothing, nothing, never, never, never, nothing)
    return Measured(*(np.concatenate(column) for column in zip(*parts, strict=True)))
