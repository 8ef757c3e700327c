"""What one rank is worth: hand-computed, and the reported figures are its means."""

from __future__ import annotations

import math

import numpy as np
import pytest

from millstream.online_learning.quality import figures
from millstream.online_learning.rank_metrics import METRICS, metrics_by_event


def test_each_metric_ends_where_it_says() -> None:
    """Ranks 1, 10, 10.5, 20, 21 and never seen: hits end after 10, reciprocal ranks after 20."""
    hit, ndcg, mrr = metrics_by_event(np.array([1.0, 10.0, 10.5, 20.0, 21.0, math.nan])).tolist()
    assert hit == [1, 1, 0, 0, 0, 0]
    assert ndcg == pytest.approx([1, 1 / math.log2(11), 0, 0, 0, 0])
    assert mrr == pytest.approx([1, 0.1, 1 / 10.5, 0.05, 0, 0])


def test_reported_figures_are_means_over_events() -> None:
    """By name, for ranks of every size, some of them misses."""
    rng = np.random.default_rng(5)
    rank = np.where(rng.random(500) < 0.2, np.nan, rng.integers(1, 60, 500) / 2 + 0.5)
    reported = figures(rank).as_json()
    for name, mean in zip(METRICS, metrics_by_event(rank).mean(axis=1).tolist(), strict=True):
        assert reported[name] == pytest.approx(mean, abs=1e-6)


def test_no_events_have_no_values() -> None:
    """Three rows of nothing."""
    assert metrics_by_event(np.zeros(0)).shape == (3, 0)
