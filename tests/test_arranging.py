"""From scores to places: diversity and exploration, which act on lists alone."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from logs import SMALL, chunk_of, columns_of, simulated
from numpy.typing import NDArray

from millstream.online_learning.arranging import uniform
from millstream.online_learning.config import LearningConfig, differences, plain
from millstream.online_learning.step import Step
from millstream.schemas.records import Slate
from millstream.streams.settings import WrongSettings, load_settings

PLAIN = replace(SMALL, list_length=10)
DIVERSE = replace(PLAIN, diversity=2.0)
CURIOUS = replace(PLAIN, exploration=0.2)
LOG = simulated(6_000)


def learned(config: LearningConfig) -> Step:
    step = Step(config)
    step.apply(chunk_of(LOG), lists=False)
    return step


def lists_of(step: Step, users: int = 100) -> list[Slate]:
    return step.relist(step.users.ids[:users]).slates(0)


def ids(slate: Slate) -> list[str]:
    return [item.item_id for item in slate.items]


def cosine(step: Step, one: str, other: str) -> float:
    rows = [step.items.row(one), step.items.row(other)]
    u, v = step.model.interest.vector[rows].astype(np.float64)
    return float(u @ v / np.sqrt((u @ u) * (v @ v)))


def alike(step: Step, slate: Slate) -> float:
    return float(np.mean([cosine(step, *pair) for pair in itertools.combinations(ids(slate), 2)]))


def test_neither_changes_what_is_learned() -> None:
    """The states are one, and a state made without them goes on with them."""
    plain_step = learned(PLAIN)
    for config in (DIVERSE, CURIOUS):
        assert learned(config).state_hash() == plain_step.state_hash()
        assert Step.load(config, plain_step.dump()).state_hash() == plain_step.state_hash()
        assert differences(config, plain(PLAIN)) == []


def test_diversity_is_maximal_marginal_relevance() -> None:
    """Greedy, by the definition, from what would be on a list three times as long; the scores say what was lost."""
    step, long = learned(DIVERSE), learned(replace(PLAIN, list_length=30))
    changed = 0
    for slate, reserve in zip(lists_of(step, 20), lists_of(long, 20), strict=True):
        left = {item.item_id: item.score for item in reserve.items}
        chosen: list[str] = []
        for item in slate.items:
            lost = {
                other: DIVERSE.diversity * max([0.0, *(cosine(step, other, above) for above in chosen)])
                for other in left
            }
            worth = {other: left[other] - lost[other] for other in left}
            assert item.score == pytest.approx(max(worth.values()), abs=1e-3)
            assert worth[item.item_id] == pytest.approx(item.score, abs=1e-3)
            said = sum(reason.contribution for reason in item.reasons if reason.signal == "alike")
            assert said == pytest.approx(-lost[item.item_id], abs=1e-3)
            assert sum(reason.contribution for reason in item.reasons) == pytest.approx(item.score, abs=1e-4)
            chosen.append(item.item_id)
            del left[item.item_id]
        changed += ids(slate) != ids(reserve)[:10]
    assert changed > 5


def test_diverse_lists_hold_less_of_the_same() -> None:
    """Their items' vectors lie further apart, and the first place is the same."""
    step, before = learned(DIVERSE), learned(PLAIN)
    pairs = list(zip(lists_of(step), lists_of(before), strict=True))
    assert np.mean([alike(step, one) for one, _ in pairs]) < np.mean([alike(step, other) for _, other in pairs]) - 0.02
    assert all(ids(one)[0] == ids(other)[0] for one, other in pairs)


def test_exploration_gives_places_to_what_comes_next_and_says_how_likely_that_was() -> None:
    """About so often as it is told, evenly, never the first place, and the list made again is the same list."""
    step, long = learned(CURIOUS), learned(replace(PLAIN, list_length=30))
    explored, kept, drawn = 0, 0, Counter[int]()
    for slate, reserve in zip(lists_of(step, 400), lists_of(long, 400), strict=True):
        best = ids(reserve)
        assert slate.items[0].item_id == best[0]
        assert slate.items[0].propensity is None
        for place, item in enumerate(slate.items[1:], start=1):
            if item.item_id == best[place]:
                assert item.propensity == pytest.approx(1 - CURIOUS.exploration, abs=1e-5)
                kept += 1
            else:
                assert item.propensity == pytest.approx(CURIOUS.exploration / (len(best) - 10), abs=1e-5)
                explored += 1
                drawn[best.index(item.item_id)] += 1
    assert explored / (explored + kept) == pytest.approx(CURIOUS.exploration, abs=0.03)
    assert len(drawn) == 20 or max(drawn.values()) < explored
    assert lists_of(step, 400) == lists_of(step, 400)


def test_another_choice_is_another_chance() -> None:
    """What is explored for a user changes with what they do."""
    step = learned(CURIOUS)
    user = step.users.ids[0]

    def explored() -> list[int]:
        (slate,) = step.relist([user]).slates(0)
        return [at for at, item in enumerate(slate.items) if item.propensity and item.propensity < 0.5]

    found = [explored()]
    for offset in range(len(LOG), len(LOG) + 20):
        at_ms = [step.last_ms + 1_000]
        columns = columns_of([user], [LOG.item_ids[0]], ts_ms=at_ms, offsets=[offset])
        step.apply(chunk_of(columns), lists=False)
        found.append(explored())
    assert len({tuple(each) for each in found}) > 5


def test_chance_is_even() -> None:
    """Neighbouring occasions and draws say nothing of each other."""
    draws: NDArray[np.float64] = np.array([[uniform(o, d) for d in range(20)] for o in range(500)], np.float64)
    assert draws.min() >= 0
    assert draws.max() < 1
    counts = np.histogram(draws, bins=10, range=(0, 1))[0]
    assert np.abs(counts - 1_000).max() < 150
    assert abs(np.corrcoef(draws[:-1].ravel(), draws[1:].ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(draws[:, :-1].ravel(), draws[:, 1:].ravel())[0, 1]) < 0.05


def test_what_is_measured_is_what_is_shown() -> None:
    """With exploration the rank of what was chosen next is its place on the list, so that its cost can be measured."""
    ranks = {}
    for name, config in (("plain", PLAIN), ("curious", replace(CURIOUS, exploration=0.9))):
        applied = Step(config).apply(chunk_of(LOG), lists=False)
        assert applied.measured is not None
        rank = applied.measured.rank
        ranks[name] = float(np.nanmean(rank <= 10)), float(np.nanmean(rank == 1))
    assert ranks["curious"][0] < ranks["plain"][0] - 0.05
    assert ranks["curious"][1] == pytest.approx(ranks["plain"][1], abs=0.01)


@pytest.mark.parametrize(("name", "value"), [("DIVERSITY", "-1"), ("DIVERSITY", "21"), ("EXPLORATION", "1")])
def test_settings_out_of_range_are_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"MILLSTREAM_LEARNING__{name}", value)
    with pytest.raises(WrongSettings, match=name):
        load_settings()
