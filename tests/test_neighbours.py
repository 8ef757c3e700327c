"""Neighbours: the votes of similar users, recomputed from the log."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from logs import SMALL, chunk_of, columns_of
from oracles import World, share_signal, signals_of, world

from millstream.online_learning.neighbours import NEAREST, RING, SESSION_ITEMS, SIGNALS, VOTES
from millstream.online_learning.step import NOBODY, Step


@pytest.fixture(scope="module")
def learned() -> World:
    """Users enough that not all are among the nearest, and items chosen more often than a ring remembers."""
    return world(4_000, users=60)


def test_the_signal_is_the_share_of_the_nearest_users_votes(learned: World) -> None:
    """Users are weighed by the session's newest items they chose lately; the NEAREST vote for their VOTES newest."""
    rings: dict[int, list[int]] = defaultdict(list)
    for event in learned.log:
        rings[event.item] = [*rings[event.item], event.user][-RING:]
    pasts = learned.pasts()
    votes: dict[int, dict[int, float]] = {}
    for user in range(len(pasts)):
        weight: dict[int, np.float32] = defaultdict(np.float32)  # rounded as the kernel rounds: ties decide who is near
        for place, own in enumerate(pasts[user].own[:SESSION_ITEMS]):
            for other in rings[own.item]:
                weight[other] += np.float32(1) - np.float32(place) / np.float32(SESSION_ITEMS)
        weight.pop(user, None)
        nearest = sorted(weight, key=lambda other: (-weight[other], other))[:NEAREST]
        total = sum(float(weight[other]) for other in nearest)
        votes[user] = defaultdict(float)
        for other in nearest:
            for own in pasts[other].own[:VOTES]:
                votes[user][own.item] += weight[other] / total

    assert max(len(ring) for ring in rings.values()) == RING
    assert all(learned.step.model.neighbours.chosen[item] >= len(rings[item]) for item in rings)
    learned.check([SIGNALS[0].name], lambda user, item, _: [share_signal(votes[user][item])], 2e-3)


def test_nobody_has_no_neighbours_and_the_only_user_none_but_themselves() -> None:
    """Without another user there is no vote, and nothing is left behind for the next ranking."""
    step = Step(SMALL)
    step.apply(chunk_of(columns_of(["u"] * 3, ["a", "b", "c"])), lists=False)
    for user in (0, SMALL.max_users):
        rows = signals_of(step, user, step.last_ms)
        assert all(row["knn"] == 0.0 for row in rows.values())
    step.relist(["u", NOBODY])
    assert not step.bench.scratch.weight.any()


def test_who_chose_the_same_item_votes_for_what_they_chose_besides() -> None:
    """u chose a; v chose a and b: b has all votes but those for a itself."""
    step = Step(SMALL)
    step.apply(chunk_of(columns_of(["v", "v", "u", "w"], ["b", "a", "a", "c"])), lists=False)
    rows = {step.items.ids[item]: row["knn"] for item, row in signals_of(step, 1, step.last_ms).items()}
    assert rows == {"a": pytest.approx(np.log1p(1e4)), "b": pytest.approx(np.log1p(1e4)), "c": 0.0}
