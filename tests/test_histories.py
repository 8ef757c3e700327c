"""Histories: the last distinct items of a user, newest first, against a list that is moved by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.online_learning.arena import Arena
from millstream.online_learning.histories import Histories, find, histories, remember
from millstream.online_learning.vocabulary import Vocabulary

LENGTH, USERS = 4, 3
ONE = np.float32(1.0)


def declared() -> tuple[Arena, Histories]:
    users = Vocabulary("users", USERS, [f"u{n}" for n in range(USERS)])
    arena = Arena()
    return arena, histories(arena, users, LENGTH)


events = st.lists(st.tuples(st.integers(0, USERS - 1), st.integers(0, 7), st.integers(-(2**40), 2**40)), max_size=60)


@settings(deadline=None)
@given(log=events)
def test_a_history_is_the_last_distinct_items_newest_first(log: list[tuple[int, int, int]]) -> None:
    """Items, times of choice and counts equal those of a list with move-to-front; the oldest falls off its end.

    The newest is known to the millisecond, the others to the second.
    """
    _, h = declared()
    oracle: dict[int, list[tuple[int, int, int]]] = {user: [] for user in range(USERS)}
    counts = dict.fromkeys(range(USERS), 0)
    for user, item, ts_ms in log:
        place = find(h, np.int32(user), np.int32(item))
        assert place == next((at for at, held in enumerate(oracle[user]) if held[0] == item), -1)
        times = 1 + next((held[2] for held in oracle[user] if held[0] == item), 0)
        oracle[user] = [(item, ts_ms, times), *(held for held in oracle[user] if held[0] != item)][:LENGTH]
        counts[user] += 1
        remember(h, np.int32(user), np.int32(item), ts_ms, ONE, 7, False)
    for user, held in oracle.items():
        n = int(h.held[user])
        rows = zip(h.item[user, :n].tolist(), h.second[user, :n].tolist(), h.times[user, :n].tolist(), strict=True)
        assert list(rows) == [(item, max(0, ts_ms) // 1000, times) for item, ts_ms, times in held]
        assert h.last_ms[user] == (held[0][1] if held else 0)
        assert h.events[user] == counts[user]


def test_nobodys_row_stays_empty_and_is_not_dumped() -> None:
    """The row after the last user is for lists of nobody; it is not state."""
    arena, h = declared()
    for user in range(USERS):
        remember(h, np.int32(user), np.int32(1), 1_000, ONE, 0, False)
    assert h.held[USERS] == 0
    assert find(h, np.int32(USERS), np.int32(0)) == -1
    assert len(arena.dump()["histories/item"]) == USERS


def test_an_item_that_fell_off_begins_anew() -> None:
    """How often an item was chosen is counted only while it is in the history."""
    _, h = declared()
    for item in (0, 0, 1, 2, 3, 4, 0):
        remember(h, np.int32(0), np.int32(item), 0, ONE, 0, False)
    assert h.item[0].tolist() == [0, 4, 3, 2]
    assert h.times[0, 0] == 1
