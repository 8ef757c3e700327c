"""The paired block bootstrap: resamples by hand, what must hold for every log, and how often the truth is inside."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from millstream.online_learning.bootstrap import (
    Comparison,
    Interval,
    block_events,
    compare,
    mean_intervals,
    resampled_means,
)

Values = NDArray[np.float64]


def correlated(runs: int, n: int, carried: float, seed: int) -> Values:
    """`runs` series of mean 0, each value `carried` times the one before plus noise; shape (runs, n)."""
    rng = np.random.default_rng(seed)
    values = np.zeros((runs, n))
    last = rng.normal(size=runs) / math.sqrt(1 - carried**2)
    for at in range(n):
        last = carried * last + rng.normal(size=runs)
        values[:, at] = last
    return values


def coverage(values: Values, block: int) -> float:
    """The share of runs whose interval holds the true mean, 0."""
    intervals = mean_intervals(values, block=block, resamples=500)
    return sum(each.low <= 0 <= each.high for each in intervals) / len(intervals)


@pytest.mark.parametrize(
    ("starts", "drawn"),
    [
        ([0, 2, 4], [1, 2, 4, 8, 16]),  # each once, the last block cut to one value
        ([4, 1, 3], [16, 1, 2, 4, 8]),  # the first goes round the end
        ([3, 3, 4], [8, 16, 8, 16, 16]),
    ],
)
def test_a_resample_is_its_blocks_cut_to_length(starts: list[int], drawn: list[float]) -> None:
    """Five values in blocks of two: two whole ones and one value."""
    values = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    assert resampled_means(values, np.array([starts]), 2).tolist() == pytest.approx([sum(drawn) / 5])


def test_resampled_means_are_brute_forces() -> None:
    """Against drawing the values one by one, for blocks of every size up to the whole."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=23)
    for block in range(1, 24):
        starts = rng.integers(0, 23, (4, math.ceil(23 / block)))
        slow = [np.mean([values[(first + step) % 23] for first in row for step in range(block)][:23]) for row in starts]
        assert resampled_means(values, starts, block) == pytest.approx(slow)


def test_a_constant_difference_is_certain() -> None:
    """Whatever is drawn, the mean is the same."""
    (interval,) = mean_intervals(np.full((1, 400), 0.25), block=20)
    assert (interval.difference, interval.low, interval.high) == pytest.approx((0.25, 0.25, 0.25))
    assert interval.excludes_zero


def test_blocks_as_long_as_the_stream_are_always_the_whole_of_it() -> None:
    """On a circle every such block holds each value once."""
    values = np.random.default_rng(1).normal(size=(1, 60))
    (interval,) = mean_intervals(values, block=60)
    assert (interval.low, interval.high) == pytest.approx((values.mean(), values.mean()))


def test_blocks_of_one_are_the_plain_bootstrap() -> None:
    """Independent values: the interval is ± 1.96 standard errors of the mean."""
    values = np.random.default_rng(2).normal(size=(1, 2_000))
    (interval,) = mean_intervals(values, block=1, resamples=4_000)
    error = values.std() / math.sqrt(2_000)
    assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_where_neighbours_are_alike_the_interval_still_holds_the_truth() -> None:
    """300 series with a correlation of .8: 95 % meant; blocks of √n come near, single events are far too sure."""
    values = correlated(300, 1_000, 0.8, seed=4)
    assert coverage(values, block_events(1_000)) >= 0.89
    assert coverage(values, 1) < 0.6


def test_where_neighbours_are_independent_blocks_cost_little() -> None:
    """300 series of noise: the share is what is meant, give or take the chance of 300."""
    assert 0.90 <= coverage(correlated(300, 1_000, 0.0, seed=5), block_events(1_000)) <= 0.98


def test_pairing_takes_out_what_is_hard_for_both() -> None:
    """Ranks that differ in few events: a small difference is certain, though either run alone varies far more."""
    rng = np.random.default_rng(6)
    other = rng.integers(1, 60, 5_000).astype(float)
    ours = np.where(rng.random(5_000) < 0.05, np.maximum(1, other - 15), other)
    interval = compare(ours, other).by_metric["hit@10"]
    alone = 1.96 * math.sqrt(1 / 6 * 5 / 6 / 5_000)
    assert 0 < interval.low < interval.difference < interval.high < 2 * interval.difference
    assert interval.difference < 2 * alone


def test_a_comparison_by_hand() -> None:
    """Four events: ranks 1, 2, never, 20 against 2, 1, 5, 30, hand-computed by each metric."""
    compared = compare(np.array([1.0, 2.0, np.nan, 20.0]), np.array([2.0, 1.0, 5.0, 30.0]))
    by = compared.by_metric
    assert (compared.events, compared.block_events, compared.blocks) == (4, 2, 2)
    assert by["hit@10"].difference == pytest.approx((0 + 0 - 1 + 0) / 4)
    assert by["ndcg@10"].difference == pytest.approx(-1 / math.log2(6) / 4)
    assert by["mrr@20"].difference == pytest.approx((0.5 - 0.5 - 0.2 + 0.05) / 4)
    for interval in by.values():
        assert interval.low <= interval.difference <= interval.high


def test_turned_round_it_says_the_opposite() -> None:
    """The same blocks are drawn, so the interval is mirrored; equal runs differ by exactly nothing."""
    rng = np.random.default_rng(7)
    one, other = rng.integers(1, 40, 300).astype(float), rng.integers(1, 40, 300).astype(float)
    for name, interval in compare(one, other).by_metric.items():
        mirror = compare(other, one).by_metric[name]
        assert (mirror.low, mirror.high) == pytest.approx((-interval.high, -interval.low))
    assert all(each == Interval(0.0, 0.0, 0.0) for each in compare(one, one).by_metric.values())


def test_the_seed_decides_and_nothing_else() -> None:
    """Twice the same, and another seed another interval of the same difference."""
    rng = np.random.default_rng(8)
    one, other = rng.integers(1, 40, 300).astype(float), rng.integers(1, 40, 300).astype(float)
    assert compare(one, other) == compare(one, other)
    again = compare(one, other, seed=2)
    assert again != compare(one, other)
    assert again.by_metric["mrr@20"].difference == compare(one, other).by_metric["mrr@20"].difference


def test_no_events_have_no_interval() -> None:
    """Nothing to compare is not an error, and null in JSON."""
    compared = compare(np.zeros(0), np.zeros(0))
    assert (compared.events, compared.blocks) == (0, 0)
    assert compared.as_json()["hit@10"] == {"difference": None, "low": None, "high": None}
    assert not compared.by_metric["hit@10"].excludes_zero


def test_a_single_event_is_compared_with_itself() -> None:
    """One block of one: the interval is a point."""
    compared: Comparison = compare(np.array([1.0]), np.array([2.0]))
    assert compared.by_metric["mrr@20"] == Interval(0.5, 0.5, 0.5)


def test_ranks_of_different_events_are_refused() -> None:
    """Without a partner for each rank there is no pair."""
    with pytest.raises(ValueError, match="3 ranks against 2"):
        compare(np.ones(3), np.ones(2))


@pytest.mark.parametrize(("n", "block"), [(0, 1), (1, 1), (2, 2), (4, 2), (5, 3), (1_000, 32), (31_372, 178)])
def test_a_block_is_the_root_of_the_stream(n: int, block: int) -> None:
    """Rounded up, at least one."""
    assert block_events(n) == block
