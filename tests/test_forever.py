"""The model for ever: users and items come and go until each cap has been met five times over.

Run with `FOREVER_EVENTS=2000000` it is the promise in full; some minutes and 3 GB.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from logs import turning_over
from numpy.typing import NDArray

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.step import INTERACTIONS, Step
from millstream.schemas.columns import Chunk

EVENTS = int(os.environ.get("FOREVER_EVENTS", "100000"))
TRAIN_EVERY = max(4, EVENTS // 100_000)
USERS, ITEMS = EVENTS // 54, EVENTS // 320
"""In the shop at any time."""
CAPPED = LearningConfig(max_users=EVENTS // 50, max_items=EVENTS // 200, neighbours_per_item=256)
"""Room for as many edges as this shop makes, some 160 an item: what is judged is what the caps cost, not the slab."""
UNCAPPED = replace(CAPPED, max_users=20 * CAPPED.max_users, max_items=20 * CAPPED.max_items)


def resident_bytes() -> int:
    """Return this process's resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run(config: LearningConfig) -> tuple[Step, NDArray[np.float64], NDArray[np.bool_], list[int]]:
    """Learn the log; return the ranks, where user and item were known, and memory after each tenth of it."""
    step, at = Step(config), 0
    ranks, known, memory = np.full(EVENTS, np.nan), np.ones(EVENTS, np.bool_), []
    shop = turning_over(
        EVENTS, users=USERS, items=ITEMS, user_life=EVENTS // 12, item_life=EVENTS // 8, at_once=EVENTS // 10
    )
    for columns in shop:
        for first in range(0, len(columns), 1_000):
            part = columns.cut(first, first + 1_000)
            end = at + len(part)
            measured = step.apply(Chunk(INTERACTIONS, 0, at, end, part), lists=False, train_every=TRAIN_EVERY).measured
            assert measured is not None
            ranks[at:end] = measured.rank
            known[at:end] = measured.user_known & measured.item_known
            at = end
        memory.append(sum(step.bytes_used().values()) + resident_bytes())
    return step, ranks, known, memory


def test_memory_stands_still_and_lists_stay_as_good_as_without_caps() -> None:
    """Over the last half: memory grows by 1 % at most, hit@10 is at least .99 of that of a model without caps.

    Both are judged on the events whose user and item the model without caps knew; to have forgotten either is a miss.
    """
    capped, ranks, _, memory = run(CAPPED)
    free, free_ranks, known, _ = run(UNCAPPED)
    judged = known & ~np.isnan(free_ranks) & (np.arange(EVENTS) >= EVENTS // 2)
    hit, free_hit = (float(np.mean(each[judged] <= 10)) for each in (ranks, free_ranks))
    growth = memory[-1] / memory[4] - 1
    print(f"{EVENTS:,} events, {len(free.users):,} users, {len(free.items):,} items, caps {CAPPED.max_users:,} and "
          f"{CAPPED.max_items:,}; hit@10 over {judged.sum():,} {hit:.4f} of {free_hit:.4f}, {hit / free_hit:.4f}; "
          f"memory {memory[-1]:,} bytes, {growth:+.3%} over the last half")  # fmt: skip
    assert len(free.users) >= 5 * CAPPED.max_users
    assert len(free.items) >= 5 * CAPPED.max_items
    assert len(capped.users) <= CAPPED.max_users
    assert hit >= 0.99 * free_hit
    assert growth <= 0.01
