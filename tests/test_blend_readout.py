"""The blend's weights read out: what each number is, which contexts there are, and the order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from logs import SMALL, chunk_of, random_log

from millstream.online_learning.blend import BY_GAP, BY_HISTORY, SHARED, gap_context, history_context
from millstream.online_learning.blend_readout import CONTEXTS, PAIRS, TABLES, SignalWeight, read_weights
from millstream.online_learning.signals import NAMES, PARTS
from millstream.online_learning.snapshot import Dump, read_snapshot, write_snapshot
from millstream.online_learning.step import Step


@pytest.fixture(scope="module")
def step() -> Step:
    step = Step(SMALL)
    step.apply(chunk_of(random_log(600, users=20, items=60, seed=3)), lists=False)
    return step


def of(dump: Dump, name: str) -> SignalWeight:
    return next(each for each in read_weights(dump).signals if each.name == name)


def test_every_weight_is_the_blends_own(step: Step, tmp_path: Path) -> None:
    """By name and context, through a file of which only the blend's tables are read."""
    dump = read_snapshot(write_snapshot(step.dump(), tmp_path, keep=1), TABLES)
    found = read_weights(dump)
    b = step.model.blend
    assert (found.seq, found.trained) == (600, b.trained[0])
    assert sorted(each.name for each in found.signals) == sorted(NAMES)
    for each in found.signals:
        k = NAMES.index(each.name)
        assert np.array_equal(each.weight, b.weight[:, k])
        assert each.deviation == pytest.approx(np.sqrt(b.variance[k]))
        assert each.name in [signal.name for signal in PARTS[each.part]]
    assert of(dump, "interest").group == "taste"


@pytest.mark.parametrize(
    ("events", "gap_ms", "history", "gap"),
    [
        (0, 0, "history_0", "gap_none"),
        (1, 0, "history_1", "gap_0"),
        (2, 1, "history_2_to_4", "gap_under_1_min"),
        (4, 59_999, "history_2_to_4", "gap_under_1_min"),
        (5, 60_000, "history_5_to_15", "gap_under_30_min"),
        (15, 1_799_999, "history_5_to_15", "gap_under_30_min"),
        (16, 1_800_000, "history_16_up", "gap_under_1_day"),
        (99, 86_400_000, "history_16_up", "gap_1_day_up"),
    ],
)
def test_contexts_are_called_what_they_are(events: int, gap_ms: int, history: str, gap: str) -> None:
    """The rows that ranking takes have these names."""
    assert CONTEXTS[history_context(events)] == history
    assert CONTEXTS[gap_context(events, gap_ms)] == gap


def test_pairs_are_the_contexts_that_occur_together() -> None:
    """All that ranking can come to, and no other."""
    gaps = (0, 1_000, 600_000, 7_200_000, 10**9)
    met = {(history_context(events), gap_context(events, gap)) for events in (0, 1, 3, 9, 30) for gap in gaps}
    assert met == set(PAIRS)
    assert len(PAIRS) == len(met)


def test_what_a_signal_counts_for_is_its_weight_times_its_deviation() -> None:
    """By hand: .5 shared, +.25 for the newcomer, -1 after a day with 16 events; a deviation of 2."""
    step = Step(SMALL)
    b, k = step.model.blend, NAMES.index("next")
    b.weight[:, k] = 0.0
    b.weight[SHARED, k] = 0.5
    b.weight[BY_HISTORY, k] = 0.25
    b.weight[BY_HISTORY + 4, k], b.weight[BY_GAP + 5, k] = -0.75, -0.25
    b.variance[k] = 4.0
    b.trained[0] = 1
    found = of(step.dump(), "next")
    assert found.counts is not None
    assert dict(zip(CONTEXTS, found.counts.tolist(), strict=True)) == dict.fromkeys(CONTEXTS, 0.0) | {
        "shared": 1.0,
        "history_0": 0.5,
        "history_16_up": -1.5,
        "gap_1_day_up": -0.5,
    }
    assert found.span == (1.0 - 1.5 - 0.5, 1.0 + 0.5)


def test_what_counts_most_comes_first(step: Step) -> None:
    """By the farther end of the span, whatever its sign."""
    spans = [each.span for each in read_weights(step.dump()).signals]
    ends = [max(map(abs, span)) for span in spans if span is not None]
    assert len(ends) == len(NAMES)
    assert ends == sorted(ends, reverse=True)


def test_a_blend_that_has_not_learned_has_weights_and_no_deviations() -> None:
    """The spread of a signal is measured by learning: until then weights alone are in order."""
    found = read_weights(Step(SMALL).dump())
    assert found.trained == 0
    assert all(each.deviation is each.counts is each.span is None for each in found.signals)
    shared = [each.weight[SHARED] for each in found.signals]
    assert shared == sorted(shared, reverse=True)


def test_weights_of_other_signals_are_refused(step: Step) -> None:
    """A snapshot of a version with more signals: the array is named, nothing is mislabelled."""
    dump = step.dump()
    dump.arrays["blend/weight"] = np.repeat(dump.arrays["blend/weight"], 2, axis=1)
    with pytest.raises(ValueError, match="blend/weight"):
        read_weights(dump)
