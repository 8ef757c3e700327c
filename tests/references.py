"""Every place in a step's state that names a user or an item by its row, walked in plain Python."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from millstream.online_learning.interest import NOBODY
from millstream.online_learning.neighbours import RING
from millstream.online_learning.popularity import COUNTS
from millstream.online_learning.slab import UNIT, units_of
from millstream.online_learning.step import Step


def item_references(step: Step) -> Iterator[tuple[str, int]]:
    """Yield each place that names an item, and its row."""
    m = step.model
    for user in range(len(step.users)):
        for item in m.histories.item[user, : m.histories.held[user]].tolist():
            yield f"history of {user}", item
        for item in m.dismissals.item[user].tolist():
            if item != 0:
                yield f"dismissals of {user}", abs(item) - 1
        cells = m.consumed.item[m.consumed.start[user] :].ravel()
        room = units_of(m.consumed.size_class[user]) * UNIT
        for item in cells[: min(int(m.consumed.chosen[user]), room)].tolist():
            yield f"consumed by {user}", item
    for row in range(len(step.items)):
        cells = m.covisitation.neighbour[m.covisitation.start[row] :].ravel()
        for item in cells[: m.covisitation.length[row]].tolist():
            yield f"edges of {row}", item
    for which in range(COUNTS):
        for item in m.popularity.best[which, : m.popularity.best_held[which]].tolist():
            yield f"board {which}", item
    for item in m.recency.item[: m.recency.held[0]].tolist():
        yield "recency", item
    for block in range(2):
        filled = m.interest.filled[block]
        for item in m.interest.target[block, :filled].tolist():
            yield f"target in block {block}", item
        for item in m.interest.history[block, :filled].ravel().tolist():
            if item != NOBODY:
                yield f"history in block {block}", item
    if len(m.session.item):
        for item in m.session.replay[m.session.replay > 0].tolist():
            yield "a sequence kept", item - 1


def user_references(step: Step) -> Iterator[tuple[str, int]]:
    """Yield each place that names a user, and its row."""
    v = step.model.neighbours
    for item in range(len(step.items)):
        for user in v.user[item, : min(RING, int(v.chosen[item]))].tolist():
            yield f"ring of {item}", user


def assert_nothing_is_left(step: Step) -> None:
    """No place names a row that is free or was never given, and rows that are no id's hold nothing at all."""
    for vocabulary, references in ((step.users, user_references(step)), (step.items, item_references(step))):
        taken = set(np.flatnonzero(vocabulary.is_held).tolist()) | set(vocabulary.limbo.tolist())
        for place, row in references:
            assert row in taken, (place, vocabulary.name, row)
        empty = np.flatnonzero(~vocabulary.is_held)
        for table in step.arena.tables.values():
            if table.of == vocabulary.name:
                for name, array in table.arrays.items():
                    assert not array[empty].any(), (table.name, name)


def assert_boards_hold_the_best(step: Step) -> None:
    """Each board has as many items as it can, every one of them chosen at least once, none twice."""
    p = step.model.popularity
    chosen = int(np.count_nonzero(p.facts[:, 3]))
    for which in range(COUNTS):
        held = int(p.best_held[which])
        assert held == min(p.best.shape[1], chosen)
        assert len(set(p.best[which, :held].tolist())) == held
