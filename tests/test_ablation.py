"""Ablation: which parts are off in which run, and what a part is worth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from logs import SMALL, START_MS, columns_of, random_log

from millstream.online_learning.ablation import ablate
from millstream.online_learning.evaluation import evaluate
from millstream.online_learning.signals import PARTS
from millstream.online_learning.step import INTERACTIONS, Step

LOG = random_log(500, users=30, items=60, seed=9)


def test_each_part_runs_alone_and_is_left_out_in_the_order_given() -> None:
    """The runs are told before they begin, and each tells how far it is."""
    parts = tuple(PARTS)[:3]
    off: list[frozenset[str]] = []
    told: list[str] = []
    heard: list[int] = []

    def step_without(names: frozenset[str]) -> Step:
        off.append(names)
        return Step(SMALL, off=names)

    def on_run(label: str) -> Callable[[int], None]:
        told.append(label)
        return heard.append

    whole = evaluate(LOG, Step(SMALL), topic=INTERACTIONS)
    worths = ablate(LOG, whole, parts, step_without, on_run=on_run)
    a, b, c = parts
    assert list(worths) == [a, b, c]
    assert off == [frozenset(each) for each in ((b, c), (a,), (a, c), (b,), (a, b), (c,))]
    assert told == [f"{a} alone", f"without {a}", f"{b} alone", f"without {b}", f"{c} alone", f"without {c}"]
    assert heard == [500] * 6


def test_worth_is_the_whole_less_the_whole_without() -> None:
    """Each part's difference is that of the reported figures, over the same events."""
    whole = evaluate(LOG, Step(SMALL), topic=INTERACTIONS)
    for each in ablate(LOG, whole, tuple(PARTS)[:2], lambda off: Step(SMALL, off=off)).values():
        assert each.without.n == each.alone.n == each.worth.events == whole.half.n
        lost = whole.half.mrr_at_20 - each.without.mrr_at_20
        assert each.worth.by_metric["mrr@20"].difference == pytest.approx(lost)


def test_without_parts_nothing_runs() -> None:
    """No part, no row."""
    whole = evaluate(LOG, Step(SMALL), topic=INTERACTIONS)
    assert ablate(LOG, whole, (), lambda off: Step(SMALL, off=off)) == {}


def test_a_part_that_alone_knows_does_well_alone() -> None:
    """Users who only come back to an item of their own: their past tells it, popularity cannot."""
    users = [f"u{user}" for user in np.random.default_rng(3).integers(0, 40, 800)]
    log = columns_of(users, [f"i{user}" for user in users], ts_ms=[START_MS + 90_000 * at for at in range(800)])
    whole = evaluate(log, Step(SMALL), topic=INTERACTIONS)
    worths = ablate(log, whole, tuple(PARTS), lambda off: Step(SMALL, off=off))
    assert worths["own_past"].alone.mrr_at_20 > 0.9
    assert worths["popularity"].alone.mrr_at_20 < 0.3
