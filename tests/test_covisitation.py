"""Co-visitation against a dictionary of dictionaries, relation by relation, and the slab its rows share."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import random_log

from millstream.online_learning.arena import Arena
from millstream.online_learning.covisitation import (
    HALF_LIFE,
    LONG_HALF_LIFE,
    LONG_MASS,
    NEAR_MASS,
    NEXT,
    QUICK,
    QUICK_HALF_LIFE,
    REACH,
    REVERSE,
    SESSION_MASS,
    SESSION_MS,
    SHORT,
    TICK,
    Covisitation,
    covisit,
    covisitation,
)
from millstream.online_learning.histories import Histories, histories, remember
from millstream.online_learning.slab import UNIT
from millstream.online_learning.vocabulary import Vocabulary

USERS, ITEMS, HISTORY = 12, 60, 50
LONG, SESSION = "long", "session"
HALF_LIVES: dict[str | int, float] = {
    LONG: LONG_HALF_LIFE,
    SESSION: HALF_LIFE,
    NEXT: HALF_LIFE,
    SHORT: HALF_LIFE,
    REVERSE: HALF_LIFE,
    QUICK: QUICK_HALF_LIFE,
}


@dataclass
class Learned:
    arena: Arena
    c: Covisitation
    h: Histories
    seq: int = 0

    def feed(self, user: int, item: int, ts_ms: int) -> None:
        self.seq += 1
        covisit(self.c, self.h, np.int32(user), np.int32(item), ts_ms, self.seq, np.float32(1.0))
        remember(self.h, np.int32(user), np.int32(item), ts_ms, np.float32(1.0), 0, False)

    def units(self, item: int) -> range:
        """The units of an item's block."""
        size_class, start = int(self.c.size_class[item]), int(self.c.start[item])
        return range(start, start + (1 << (size_class - 1) if size_class else 0))

    def row(self, item: int) -> dict[int, tuple[int, int]]:
        """Cell of each neighbour."""
        first = int(self.c.start[item])
        cells = [(first + at // UNIT, at % UNIT) for at in range(int(self.c.length[item]))]
        return {int(self.c.neighbour[cell]): cell for cell in cells}

    def strength(self, source: int, target: int, relation: str | int) -> float:
        """An edge's strength now."""
        unit, at = self.row(source)[target]
        value = getattr(self.c, relation)[unit, at] if isinstance(relation, str) else self.c.near[unit, relation, at]
        return float(value) * self._fade(self.c.touch[unit], relation)

    def mass(self, source: int, relation: str | int) -> float:
        """A row's sum now, as it is kept."""
        columns = {LONG: LONG_MASS, SESSION: SESSION_MASS}
        column = columns[relation] if isinstance(relation, str) else NEAR_MASS + relation
        return float(self.c.mass[source, column]) * self._fade(self.c.mass_touch[source], relation)

    def _fade(self, touch: int, relation: str | int) -> float:
        return float(2.0 ** (-(self.seq // TICK - int(touch)) * TICK / HALF_LIVES[relation]))


def declared(*, row_cells: int = 256, cells_per_item: int = 128, users: int = USERS, items: int = ITEMS) -> Learned:
    arena = Arena()
    user_ids = Vocabulary("users", users, [f"u{n}" for n in range(users)])
    item_ids = Vocabulary("items", items, [f"i{n}" for n in range(items)])
    c = covisitation(arena, item_ids, row_cells=row_cells, cells_per_item=cells_per_item)
    return Learned(arena, c, histories(arena, user_ids, HISTORY))


Edges = dict[str | int, dict[tuple[int, int], list[tuple[int, float]]]]


def oracle_edges(log: list[tuple[int, int, int]]) -> Edges:
    """What the module's table says, by relation and edge: when it was strengthened, and by how much."""
    edges: Edges = {relation: defaultdict(list) for relation in HALF_LIVES}
    past: dict[int, list[tuple[int, int]]] = defaultdict(list)  # newest first
    for seq, (user, i, ts_ms) in enumerate(log, start=1):
        others = [(a, then_ms) for a, then_ms in past[user] if a != i]
        for d, (a, then_ms) in enumerate(others):
            session = float(np.exp(-max(0, ts_ms - then_ms) / SESSION_MS))
            forth: dict[str | int, float] = {LONG: 0.97**d, SESSION: session if session >= 1e-3 else 0.0}
            back = dict(forth)
            if d < REACH:
                forth |= {NEXT: float(d == 0), SHORT: 0.7**d, QUICK: 0.7**d}
                back |= {REVERSE: float(d == 0), SHORT: 0.5 * 0.7**d, QUICK: 0.5 * 0.7**d}
            for edge, added in (((a, i), forth), ((i, a), back)):
                for relation, amount in added.items():
                    edges[relation][edge].append((seq, amount))
        past[user] = [(i, ts_ms), *others][:HISTORY]
    return edges


def decayed(touches: list[tuple[int, float]], relation: str | int, seq: int) -> float:
    """An edge's strength at `seq`; time counts in ticks."""
    ages = [(seq // TICK - at // TICK) * TICK for at, _ in touches]
    amounts = [amount for _, amount in touches]
    return sum(amount * 2.0 ** (-age / HALF_LIVES[relation]) for amount, age in zip(amounts, ages, strict=True))


def events_of(count: int, seed: int, *, users: int = USERS, items: int = ITEMS) -> list[tuple[int, int, int]]:
    columns = random_log(count, users=users, items=items, seed=seed)
    rows = zip(columns.user_ids, columns.item_ids, columns.ts_ms.tolist(), strict=True)
    return [(int(user[1:]), int(item[1:]), ts_ms) for user, item, ts_ms in rows]


@pytest.fixture(scope="module")
def compared() -> tuple[Learned, Edges]:
    """The same 3,000 events in both."""
    log = events_of(3_000, 5)
    learned = declared()
    for user, item, ts_ms in log:
        learned.feed(user, item, ts_ms)
    return learned, oracle_edges(log)


@pytest.mark.parametrize("relation", [LONG, SESSION, NEXT, SHORT, QUICK, REVERSE])
def test_every_edge_has_the_strength_the_table_says(compared: tuple[Learned, Edges], relation: str | int) -> None:
    """Each relation of each edge is the decayed sum of what its events added, within 1 %."""
    learned, edges = compared
    assert {(a, j) for a in range(ITEMS) for j in learned.row(a)} == set(edges[LONG])
    for source, target in edges[LONG]:
        expected = decayed(edges[relation][source, target], relation, learned.seq)
        assert learned.strength(source, target, relation) == pytest.approx(expected, rel=0.01, abs=1e-5)


@pytest.mark.parametrize("relation", [LONG, SESSION, NEXT, SHORT, QUICK, REVERSE])
def test_a_rows_mass_is_the_sum_of_its_strengths(compared: tuple[Learned, Edges], relation: str | int) -> None:
    """Shares add up: a row's mass decays as its edges do, however often it is touched."""
    learned, _ = compared
    for item in range(ITEMS):
        total = sum(learned.strength(item, j, relation) for j in learned.row(item))
        assert learned.mass(item, relation) == pytest.approx(total, rel=0.01, abs=1e-4)


def test_an_edge_touched_all_the_time_does_not_grow_without_bound() -> None:
    """One user going to and fro between two items for three half-lives of QUICK: the edge settles."""
    learned = declared()
    log = [(0, at % 2, 1_000 * at) for at in range(4_500)]
    for event in log:
        learned.feed(*event)
    touches = oracle_edges(log)[QUICK][0, 1]
    assert learned.strength(0, 1, QUICK) == pytest.approx(decayed(touches, QUICK, learned.seq), rel=0.01)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), events=st.integers(1, 500))
def test_rows_have_the_smallest_block_that_holds_them_and_share_nothing(seed: int, events: int) -> None:
    """A row of n edges has 16, 32, 64 … cells, no more than it needs; no unit belongs to two rows, none is lost."""
    learned = declared()
    for event in events_of(events, seed):
        learned.feed(*event)
    owned: set[int] = set()
    for item in range(ITEMS):
        length, units = int(learned.c.length[item]), learned.units(item)
        assert length <= len(units) * UNIT
        assert len(units) <= 1 or length > len(units) * UNIT // 2
        assert len(learned.row(item)) == length  # no neighbour twice
        assert item not in learned.row(item)
        assert not owned & set(units)
        owned |= set(units)
    assert len(owned | free_units(learned)) == learned.c.slab[0] <= len(learned.c.neighbour)
    assert not owned & free_units(learned)


def test_the_strongest_edges_gather_at_the_front(compared: tuple[Learned, Edges]) -> None:
    """The first quarter of a long row holds more than its share of the row's strength."""
    learned, _ = compared
    shares = []
    for item in range(ITEMS):
        row = learned.row(item)
        strengths = [learned.strength(item, j, LONG) for j in row]
        if len(row) >= 20:
            shares.append(sum(strengths[: len(row) // 4]) / sum(strengths))
    assert len(shares) > 10
    assert np.mean(shares) > 0.35


def free_units(learned: Learned) -> set[int]:
    """Units on the slab's lists of free blocks."""
    free: set[int] = set()
    for size_class in range(1, len(learned.c.slab)):
        link = int(learned.c.slab[size_class])
        while link:
            free |= set(range(link - 1, link - 1 + (1 << (size_class - 1))))
            link = int(learned.c.neighbour[link - 1, 0])
    return free


def test_outgrown_blocks_are_used_again() -> None:
    """A row that moves to a larger block leaves its old one to the next row that needs that size."""
    learned = declared(users=4)
    for item in range(18):
        learned.feed(0, item, 1_000 * item)  # each of the first 18 items now has 17 neighbours, in two units
    outgrown = free_units(learned)
    assert len(outgrown) > 2
    handed_out = int(learned.c.slab[0])
    learned.feed(1, 40, 0)
    learned.feed(1, 41, 0)
    assert learned.c.slab[0] == handed_out
    assert set(learned.units(40)) | set(learned.units(41)) <= outgrown
    assert set(learned.row(40)) == {41}
    assert learned.strength(40, 41, NEXT) == 1.0
    assert learned.strength(40, 41, LONG) == 1.0


@pytest.mark.parametrize("row_cells", [16, 32])
def test_a_row_at_its_cap_stays_there_and_keeps_its_strong_edges(row_cells: int) -> None:
    """New edges replace weak ones: the strongest edge of a full row survives a thousand strangers."""
    learned = declared(row_cells=row_cells, users=1_100, items=1_200)
    for _ in range(20):
        learned.feed(0, 0, 0)
        learned.feed(0, 1, 0)
    for stranger in range(1_000):
        learned.feed(1 + stranger, 2 + stranger, 0)
        learned.feed(1 + stranger, 0, 0)
    assert learned.c.length.max() == row_cells == learned.c.length[0]
    assert 1 in learned.row(0)
    assert learned.c.neighbour[learned.row(0)[1]] == 1


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), cells_per_item=st.sampled_from([1, 4, 16, 20]))
def test_a_slab_that_is_used_up_bounds_memory_and_breaks_nothing(seed: int, cells_per_item: int) -> None:
    """Rows stop growing or stay empty; blocks are still nobody else's, neighbours still items."""
    learned = declared(row_cells=64, cells_per_item=cells_per_item)
    for event in events_of(400, seed):
        learned.feed(*event)
    assert learned.c.slab[0] <= len(learned.c.neighbour) == ITEMS * cells_per_item // UNIT
    owned: set[int] = set()
    for item in range(ITEMS):
        assert not owned & set(learned.units(item))
        owned |= set(learned.units(item))
        assert all(0 <= j < ITEMS and j != item for j in learned.row(item))
        assert len(learned.row(item)) == learned.c.length[item] <= 64
    assert np.isfinite(learned.c.long).all()
    assert np.isfinite(learned.c.near).all()
