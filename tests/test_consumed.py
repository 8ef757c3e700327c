"""Consumed items: everything a user chose, up to the cap, in blocks that are used again."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.online_learning.arena import Arena
from millstream.online_learning.consumed import Consumed, consume, consumed, has_consumed, held
from millstream.online_learning.slab import UNIT
from millstream.online_learning.vocabulary import Vocabulary

USERS = 4


def declared(*, row_cells: int, cells_per_user: int) -> Consumed:
    users = Vocabulary("users", USERS, [f"u{n}" for n in range(USERS)])
    return consumed(Arena(), users, row_cells=row_cells, cells_per_user=cells_per_user)


def row(c: Consumed, user: int) -> list[int]:
    """The items of a user's row, sorted."""
    cells = range(held(c, np.int32(user)))
    return sorted(int(c.item[c.start[user] + at // UNIT, at % UNIT]) for at in cells)


def units(c: Consumed, user: int) -> set[int]:
    size_class = int(c.size_class[user])
    return set(range(int(c.start[user]), int(c.start[user]) + (1 << (size_class - 1)))) if size_class else set()


@settings(deadline=None, max_examples=30)
@given(order=st.lists(st.integers(0, USERS - 1), max_size=400))
def test_a_row_holds_the_latest_items_up_to_its_cap(order: list[int]) -> None:
    """With room for everyone: the last 64 items of each user, no row touching another's."""
    c = declared(row_cells=64, cells_per_user=128)
    oracle: dict[int, list[int]] = {user: [] for user in range(USERS)}
    for item, user in enumerate(order, start=1):
        consume(c, np.int32(user), np.int32(item))
        oracle[user].append(item)
    for user, items in oracle.items():
        assert row(c, user) == items[-64:]
        assert c.chosen[user] == len(items)
        for item in range(1, len(order) + 1):
            assert has_consumed(c, np.int32(user), np.int32(item)) == (item in items[-64:])
        assert not any(units(c, user) & units(c, other) for other in range(user))


@settings(deadline=None, max_examples=60)
@given(order=st.lists(st.integers(0, USERS - 1), max_size=500), per_user=st.sampled_from([16, 24, 32, 48]))
def test_a_row_never_holds_what_its_user_did_not_choose(order: list[int], per_user: int) -> None:
    """Also when the slab runs out and a block comes free later: no phantom items, no shared blocks."""
    c = declared(row_cells=64, cells_per_user=per_user)
    chosen: dict[int, set[int]] = {user: set() for user in range(USERS)}
    for item, user in enumerate(order, start=1):
        consume(c, np.int32(user), np.int32(item))
        chosen[user].add(item)
        assert c.slab[0] <= len(c.item)
    for user, items in chosen.items():
        assert set(row(c, user)) <= items
        assert len(set(row(c, user))) == held(c, np.int32(user)) <= 64
        assert not any(units(c, user) & units(c, other) for other in range(user))


def test_a_row_that_overwrote_its_oldest_does_not_take_in_empty_cells() -> None:
    """A user wraps while no larger block is free; when one comes free, nothing appears that was never chosen."""
    c = declared(row_cells=128, cells_per_user=60)  # 15 units
    item = 0

    def choose(user: int, times: int) -> None:
        nonlocal item
        for _ in range(times):
            item += 1
            consume(c, np.int32(user), np.int32(item))

    choose(0, 65)  # blocks of 1, 2 and 4 units are free again, 8 are held: the slab is used up
    choose(1, 17)  # takes the free 1, then the free 2, and gives the 1 back
    choose(2, 16)  # takes it
    choose(2, 4)  # overwrites: no block of 2 is free
    choose(1, 16)  # takes the 4: now the 2 is free
    before = set(row(c, 2))
    choose(2, 1)
    assert set(row(c, 2)) <= before | {item}
    assert not has_consumed(c, np.int32(2), np.int32(0))


def test_where_nothing_is_kept_there_is_no_memory() -> None:
    """Without `exclude_consumed` the slab is one unit."""
    assert len(declared(row_cells=1024, cells_per_user=0).item) == 1
