"""The metrics, each against a case done by hand, and the live window."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from millstream.online_learning.kernel import Measured, _rank_of
from millstream.online_learning.quality import WINDOW, Figures, Quality, better, figures

Ranker = Callable[[list[float], int], float]


def ranked(scores: list[float], target: int) -> float:
    """The kernel's own rank."""
    return float(_rank_of(np.array(scores, np.float32), len(scores), target))


def ranked_with_ties_whole(scores: list[float], target: int) -> float:
    """What the rank would be were ties counted whole: the case below must tell the two apart."""
    return 1.0 + sum(score >= scores[target] for score in scores) - 1


# ten scores; ranks by hand, ties at half
SCORES = [5.0, 3.0, 3.0, 3.0, 1.0, 0.0, 0.0, -2.0, -2.5, -9.0]
BY_HAND = [1.0, 3.0, 3.0, 3.0, 5.0, 6.5, 6.5, 8.0, 9.0, 10.0]


def follows_the_protocol(rank: Ranker) -> bool:
    return [rank(SCORES, target) for target in range(len(SCORES))] == BY_HAND


def test_ties_count_half() -> None:
    """rank = 1 + #(above) + #(tied) / 2; a rank that counts ties whole does not pass."""
    assert follows_the_protocol(ranked)
    assert not follows_the_protocol(ranked_with_ties_whole)


def test_ties_decide_hits_as_the_protocol_says() -> None:
    """Nine above and two tied: half a rank too late for hit@10. Nine above and none tied: a hit."""
    above = [9.0] * 9
    assert ranked([*above, 1.0], 9) == 10.0
    assert ranked([*above, 1.0, 1.0], 9) == 10.5
    assert ranked([*above[:8], 1.0, 1.0, 1.0], 8) == 10.0


def of(*ranks: float) -> Figures:
    return figures(np.array(ranks, np.float64))


def test_each_metric_of_five_events_done_by_hand() -> None:
    """Ranks 1, 2.5, 10, 10.5 and 21: who counts, and as how much."""
    result = of(1.0, 2.5, 10.0, 10.5, 21.0)
    assert result.n == 5
    assert result.hit_at_10 == pytest.approx(3 / 5)
    assert result.ndcg_at_10 == pytest.approx((1 + 1 / np.log2(3.5) + 1 / np.log2(11)) / 5)
    assert result.mrr_at_20 == pytest.approx((1 + 1 / 2.5 + 1 / 10 + 1 / 10.5) / 5)


def test_an_item_never_seen_is_a_miss() -> None:
    """NaN counts in n and in nothing else."""
    assert of(1.0, float("nan")) == Figures(2, 0.5, 0.5, 0.5)


@pytest.mark.parametrize(("rank", "mrr"), [(20.0, 1 / 20), (20.5, 0.0)])
def test_mrr_ends_at_twenty(rank: float, mrr: float) -> None:
    """Rank 20 counts, half a rank later does not."""
    assert of(rank).mrr_at_20 == pytest.approx(mrr)


def test_figures_of_nothing_are_null_in_json() -> None:
    """A mean over no events is no number, and JSON has no NaN."""
    shown = json.dumps(of().as_json(), allow_nan=False)
    assert json.loads(shown) == {"n": 0, "hit@10": None, "ndcg@10": None, "mrr@20": None}
    assert of(1.0, 3.0, 30.0).as_json() == {"n": 3, "hit@10": 0.666667, "ndcg@10": 0.5, "mrr@20": 0.444444}


def test_the_better_popularity_is_the_one_with_more_hits() -> None:
    """By hit@10, whatever the other metrics say; the first of two equals."""
    first, second = of(9.0, 9.0), of(1.0, 11.0)
    assert better(first, second) is first
    assert better(second, first) is first
    assert better(first, of(9.0, 9.0)) is first
    assert better(of(), of()).n == 0


def measured(
    rank: NDArray[np.float64], popular: NDArray[np.float64], trending: NDArray[np.float64], *, known: bool = True
) -> Measured:
    n = len(rank)
    flags = np.full(n, known)
    return Measured(rank, popular, trending, flags, flags, flags, np.zeros(n))


def test_the_live_window_is_the_last_ten_thousand_events_that_count() -> None:
    """Older ranks leave as new ones come, however the slices are cut; unknown users and items do not count."""
    rng = np.random.default_rng(1)
    ranks = rng.integers(1, 40, (3, WINDOW + 4_321)).astype(np.float64)
    live = Quality()
    at = 0
    for size in (1, 999, 0, 5_000, WINDOW, 400_000):
        live.add(measured(*ranks[:, at : at + size]))
        live.add(measured(*np.ones((3, 50)), known=False))
        live.add(measured(np.full(5, np.nan), np.ones(5), np.ones(5)))
        at += size
    ours, all_time, trending = (figures(row[-WINDOW:]) for row in ranks)
    assert live.summary() == {"quality": ours.as_json(), "popularity": better(all_time, trending).as_json()}


def test_one_slice_larger_than_the_window_is_its_last_events() -> None:
    """A slice of many thousand events is fine."""
    ranks = np.arange(1.0, WINDOW + 501)
    live = Quality()
    live.add(measured(ranks, ranks, ranks))
    assert live.summary()["quality"] == figures(ranks[-WINDOW:]).as_json()


def test_before_the_first_event_there_is_no_figure() -> None:
    """A fresh window has n = 0."""
    assert Quality().summary()["quality"]["n"] == 0
