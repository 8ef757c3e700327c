"""Ranking on several threads at once: each has working memory of its own, and the model is only read."""

from __future__ import annotations

from dataclasses import replace

import pytest
from logs import SMALL, chunk_of, simulated

from millstream.online_learning.step import NOBODY, Step


@pytest.mark.parametrize("exclude", [False, True])
def test_ranking_on_two_threads_gives_the_same_lists_and_the_same_state(exclude: bool) -> None:
    """Lists of everybody, made on one to three threads between two chunks: equal, and learning goes on as without."""
    config = replace(SMALL, exclude_consumed=exclude, lists=("main", "buy"))
    columns = simulated(3_000)
    ranking, plain = Step(config), Step(config)
    for first in range(0, 3_000, 1_000):
        chunk = chunk_of(columns.cut(first, first + 1_000))
        ranking.apply(chunk, lists=False)
        plain.apply(chunk, lists=False)
        everybody = [*ranking.users.ids, NOBODY]
        alone, *others = (ranking.relist(everybody, threads).encoded(0) for threads in (1, 2, 3))
        assert len(alone) == 2 * len(everybody)
        assert all(other == alone for other in others)
    assert ranking.state_hash() == plain.state_hash()
