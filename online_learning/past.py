"""What was learned from a file before a worker's log begins: the state, made ready to go on in the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from millstream.schemas.columns import Chunk, InteractionColumns

from .config import LearningConfig
from .order import Place
from .step import Step

_CHUNK_EVENTS = 1_000


def learn_past(
    config: LearningConfig,
    inputs: tuple[str, ...],
    columns: InteractionColumns,
    *,
    positions: Mapping[Place, int],
    partition_of: Callable[[str], int],
    on_progress: Callable[[int], None] = lambda events: None,
) -> Step:
    """Return a step that has learned `columns`, in time order, and goes on at `positions` of its inputs.

    `partition_of` says in which partition a user's events will come: whose lists a worker makes goes by that.
    `on_progress` hears how many events are done.
    """
    step = Step(config, inputs)
    n = len(columns)
    for first in range(0, n, _CHUNK_EVENTS):
        last = min(n, first + _CHUNK_EVENTS)
        step.apply(Chunk(inputs[0], 0, first, last, columns.cut(first, last)), lists=False)
        on_progress(last)
    step.positions = dict(positions)
    histories = step.model.histories
    rows = np.flatnonzero(step.users.is_held[: len(step.users)])
    histories.partition[rows] = [partition_of(step.users.ids[row]) for row in rows.tolist()]
    histories.dirty[rows] = 1
    return step
