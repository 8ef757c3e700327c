"""Trend: every signal of every item recomputed from the log."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import World, world

from millstream.online_learning.trend import SIGNALS


@pytest.fixture(scope="module")
def learned() -> World:
    return world()


def test_the_signals_are_those_of_the_log(learned: World) -> None:
    """Silence and age in events and seconds, silence over the mean interval, users over events, the last item."""
    log, step = learned.log, learned.step

    def expected(_: int, item: int, now_ms: int) -> list[float]:
        mine = [event for event in log if event.item == item]
        silence = step.seq - mine[-1].seq
        interval = (step.seq - mine[0].seq) / len(mine)
        return [
            0.3 * np.log(1 + silence),
            0.3 * np.log(1 + step.seq - mine[0].seq),
            0.2 * np.log(1 + (now_ms - mine[-1].ts_ms) / 1_000),
            0.3 * np.log((1 + silence) / (1 + interval)),
            0.3 * np.log((1 + len({event.user for event in mine})) / (1 + len(mine))),
            float(item == log[-1].item),
        ]

    learned.check([signal.name for signal in SIGNALS], expected, 1e-4)
