"""Occasion: popularity by circumstance, recomputed from the log."""

from __future__ import annotations

from collections import defaultdict

import pytest
from oracles import World, share_signal, world

from millstream.online_learning.occasion import (
    BY_SLOT,
    HALF_LIFE_EVENTS,
    LENGTHS,
    SIGNALS,
    SLOTS,
    length_cell,
    slot_cell,
)

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def learned() -> World:
    return world()


def gap_class(events: int, gap_ms: int) -> int:
    """None | 0 | < 60 s | < 30 min | < 1 day | more."""
    if events == 0:
        return 0
    return 1 + sum(gap_ms >= least for least in (1, 60_000, 1_800_000, 86_400_000))


def test_the_signals_are_shares_of_the_choices_made_in_the_same_circumstances(learned: World) -> None:
    """By length of history (0, 1, 2–3, 4–7, …), pause, three-hour slot, and among everybody's first three events."""
    step, last = learned.step, learned.log[-1].seq
    counts: dict[tuple[str, int], dict[int, float]] = defaultdict(lambda: defaultdict(float))
    events: dict[int, int] = defaultdict(int)
    seen_ms: dict[int, int] = defaultdict(int)
    for event in learned.log:
        n, ts_ms = events[event.user], event.ts_ms
        cells = {("length", n.bit_length()), ("slot", ts_ms // (3 * HOUR_MS) % 8)}
        cells |= {("gap", gap_class(n, ts_ms - seen_ms[event.user]))} | ({("beginning", 0)} if n < 3 else set())
        for cell in cells:
            counts[cell][event.item] += 2.0 ** (-(last - event.seq) / HALF_LIFE_EVENTS)
        events[event.user] += 1
        seen_ms[event.user] = ts_ms

    def expected(user: int, item: int, now_ms: int) -> list[float]:
        n = events[user]
        cells = [("length", n.bit_length()), ("gap", gap_class(n, now_ms - seen_ms[user]))]
        cells += [("slot", now_ms // (3 * HOUR_MS) % 8), ("beginning", 0)]
        return [share_signal(counts[cell][item] / max(1.0, sum(counts[cell].values()))) for cell in cells]

    assert step.seq == last
    learned.check([signal.name for signal in SIGNALS], expected, 2e-3)


def test_cells_of_length_and_slot_stay_in_their_ranges() -> None:
    """The longest histories share a cell; times before the epoch have an hour too."""
    assert [length_cell(n) for n in (0, 1, 2, 3, 4, 7, 8, 1_023, 1_024, 10**9)] == [0, 1, 2, 2, 3, 3, 4, 10, 11, 11]
    assert length_cell(10**9) == LENGTHS - 1
    assert [slot_cell(hour * HOUR_MS) - BY_SLOT for hour in (0, 2, 3, 23, 24, -1)] == [0, 0, 1, 7, 0, SLOTS - 1]
