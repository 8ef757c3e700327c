"""The metrics, each against a case done by hand, and the live window."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from logs import SMALL, chunk_of, simulated
from numpy.typing import NDArray

from millstream.online_learning.arena import Arena
from millstream.online_learning.drift import DriftDetector
from millstream.online_learning.evaluation import evaluate
from millstream.online_learning.kernel import Lists
from millstream.online_learning.measured import Measured
from millstream.online_learning.places import rank_of
from millstream.online_learning.popularity import ALL_TIME, EVENTS, H40, Popularity, popularity
from millstream.online_learning.quality import WINDOW, Figures, Quality, better, figures
from millstream.online_learning.slate_maker import reserve_lists
from millstream.online_learning.step import INTERACTIONS, NOBODY, Step
from millstream.online_learning.vocabulary import Vocabulary

Ranker = Callable[[list[float], int], float]


def ranked(scores: list[float], target: int) -> float:
    """The kernel's own rank."""
    return float(rank_of(np.array(scores, np.float32), len(scores), target))


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


METRICS = ("n", "hit@10", "ndcg@10", "mrr@20")


def counts() -> Popularity:
    """Twelve items; item k was chosen k + 1 times."""
    counted = popularity(Arena(), Vocabulary("items", 100))
    counted.facts[:12, EVENTS] = np.arange(1, 13)
    counted.total[ALL_TIME] = 78
    counted.seen[ALL_TIME] = 12
    for which in (ALL_TIME, H40):
        counted.best[which, :12] = np.arange(12)[::-1]
        counted.best_held[which] = 12
    return counted


def measured(
    rank: NDArray[np.float64],
    popular: NDArray[np.float64],
    trending: NDArray[np.float64],
    *,
    known: bool = True,
    loss: NDArray[np.float64] | None = None,
) -> Measured:
    n = len(rank)
    flags = np.full(n, known)
    return Measured(rank, popular, trending, flags, flags, flags, np.zeros(n) if loss is None else loss)


def lists_of(*items: list[int]) -> Lists:
    lists = reserve_lists(len(items), 20)
    for row, places in enumerate(items):
        lists.item[row, : len(places)] = places
    return lists


NOTHING_MEASURED = measured(np.zeros(0), np.zeros(0), np.zeros(0))


def metrics(summary: dict[str, float | int | None]) -> dict[str, float | int | None]:
    return {key: summary[key] for key in METRICS}


def test_the_live_window_is_the_last_ten_thousand_events_that_count() -> None:
    """Older ranks leave as new ones come, however the slices are cut; unknown users and items do not count."""
    rng = np.random.default_rng(1)
    ranks = rng.integers(1, 40, (3, WINDOW + 4_321)).astype(np.float64)
    live = Quality(counts())
    at = 0
    for size in (1, 999, 0, 5_000, WINDOW, 400_000):
        live.add(measured(*ranks[:, at : at + size]), seq=0)
        live.add(measured(*np.ones((3, 50)), known=False), seq=0)
        live.add(measured(np.full(5, np.nan), np.ones(5), np.ones(5)), seq=0)
        at += size
    ours, all_time, trending = (figures(row[-WINDOW:]) for row in ranks)
    assert metrics(live.summary()["quality"]) == ours.as_json()
    assert metrics(live.summary()["popularity"]) == better(all_time, trending).as_json()


def test_one_slice_larger_than_the_window_is_its_last_events() -> None:
    """A slice of many thousand events is fine."""
    ranks = np.arange(1.0, WINDOW + 501)
    live = Quality(counts())
    live.add(measured(ranks, ranks, ranks), seq=0)
    assert metrics(live.summary()["quality"]) == figures(ranks[-WINDOW:]).as_json()


def test_before_the_first_event_there_is_no_figure() -> None:
    """A fresh window has n = 0 and no list, and JSON has no NaN."""
    nothing = json.loads(json.dumps(Quality(counts()).summary(), allow_nan=False))
    assert nothing["quality"] == nothing["popularity"]
    assert nothing["quality"] == {
        "n": 0, "hit@10": None, "ndcg@10": None, "mrr@20": None, "lists": 0, "coverage": None, "novelty": None
    }  # fmt: skip


def test_live_figures_are_the_evaluations_on_the_same_events() -> None:
    """Fed by the step itself, in the slices of a worker: the set is the evaluation's `scored`."""
    log = simulated(3_000)
    result = evaluate(log, Step(SMALL), topic=INTERACTIONS)
    live = Step(SMALL)
    parts = []
    for first in range(0, len(log), 170):
        applied = live.apply(chunk_of(log.cut(first, min(first + 170, len(log)))))
        assert applied.measured is not None
        parts.append(applied.measured)
    popular, trending = (
        figures(np.concatenate([getattr(part, name) for part in parts])[result.is_scored])
        for name in ("popular_rank", "trending_rank")
    )
    assert result.scored.n > 1_000
    assert metrics(live.quality.summary()["quality"]) == result.scored.as_json()
    assert metrics(live.quality.summary()["popularity"]) == better(popular, trending).as_json()


def test_coverage_and_novelty_are_those_of_the_lists_the_step_made() -> None:
    """The union of their top tens over the items known, and the mean of −log2 of each place's share of all choices."""
    log = simulated(1_200)
    step = Step(SMALL)
    tops: list[str] = []
    lists = 0
    for first in range(0, len(log), 100):
        slates = step.apply(chunk_of(log.cut(first, first + 100))).slates(0)
        tops += [place.item_id for slate in slates for place in slate.items[:10]]
        lists += len(slates)
    step.relist(["u1"]).slates(0)
    step.relist([NOBODY]).slates(0)
    chosen = {item: log.item_ids.count(item) for item in set(log.item_ids)}
    bits = [-np.log2(chosen[item] / len(log)) for item in tops]
    summary = step.quality.summary()["quality"]
    assert summary["lists"] == lists
    assert summary["coverage"] == pytest.approx(len(set(tops)) / len(chosen), abs=1e-6)
    assert summary["novelty"] == pytest.approx(np.mean(bits), abs=1e-6)


def test_the_lists_window_is_the_last_ten_thousand_lists() -> None:
    """What only older lists showed is not covered any more."""
    live = Quality(counts())
    live.add(NOTHING_MEASURED, 0, lists_of([0], [1]))
    assert live.summary()["quality"]["coverage"] == pytest.approx(2 / 12, abs=1e-6)
    for _ in range(9):
        live.add(NOTHING_MEASURED, 0, lists_of(*[[2, 3, 4]] * 1_111))
    assert live.summary()["quality"]["coverage"] == pytest.approx(4 / 12, abs=1e-6)
    live.add(NOTHING_MEASURED, 0, lists_of(*[[2, 3, 4]] * 2_000))
    assert live.summary()["quality"]["lists"] == WINDOW
    assert live.summary()["quality"]["coverage"] == pytest.approx(3 / 12, abs=1e-6)


def test_popularity_shows_its_ten_best_of_each_slice() -> None:
    """Of twelve items all but the two rarest; once the rarest comes first, eleven."""
    counted = counts()
    live = Quality(counted)
    live.add(NOTHING_MEASURED, 0, lists_of([0], [1]))
    assert live.summary()["popularity"]["coverage"] == pytest.approx(10 / 12, abs=1e-6)
    counted.best[ALL_TIME, :12] = np.roll(np.arange(12), 3)
    live.add(NOTHING_MEASURED, 0, lists_of([0]))
    assert live.summary()["popularity"]["coverage"] == 1.0
    counted.best[ALL_TIME, 0] = 0
    assert live.summary()["popularity"]["lists"] == 3


def test_drift_is_looked_for_in_the_loss_of_the_events_that_count() -> None:
    """Each with its own number: unknown and unmeasured events take one, and are left out."""
    rng = np.random.default_rng(4)
    n = 20_000
    loss = rng.gamma(4.0, 0.5, n) + np.where(np.arange(n) < 12_000, 0.0, 2.0)
    rank = np.where(rng.random(n) < 0.1, np.nan, 5.0)
    flags = rng.random(n) < 0.8
    live = Quality(counts())
    for first in range(0, n, 330):
        part = slice(first, min(first + 330, n))
        some = measured(rank[part], rank[part], rank[part], loss=loss[part])
        live.add(some._replace(user_known=flags[part]), seq=part.stop)
    direct = DriftDetector()
    counted = np.flatnonzero(flags & ~np.isnan(rank))
    direct.add(loss[counted], counted + 1)
    assert direct.fired > 0
    assert list(live.drift.drifts) == list(direct.drifts)
    assert direct.drifts[0].seq - 1 in counted


def test_what_is_measured_is_no_part_of_the_state() -> None:
    """Lists made or not, the state hash is the same, and reading the figures changes nothing."""
    log = simulated(300)
    listed, silent = Step(SMALL), Step(SMALL)
    listed.apply(chunk_of(log))
    silent.apply(chunk_of(log), lists=False)
    assert listed.quality.summary() != silent.quality.summary()
    assert listed.quality.summary() == listed.quality.summary()
    assert listed.state_hash() == silent.state_hash()
