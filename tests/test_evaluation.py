"""The protocol: ranked before learned, nothing looks ahead, the sets are what they say, popularity as brute force."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from logs import SMALL, START_MS, chunk_of, columns_of, random_log
from numpy.typing import NDArray

from millstream.online_learning.blend import gap_context, history_context
from millstream.online_learning.config import LearningConfig
from millstream.online_learning.evaluation import Evaluation, evaluate
from millstream.online_learning.quality import figures
from millstream.online_learning.ranking import rank as rank_kernel
from millstream.online_learning.shortlist import FULL
from millstream.online_learning.step import INTERACTIONS, Step
from millstream.schemas.columns import InteractionColumns, vectors_chunk
from millstream.schemas.item_vectors import CONTENT, quantise
from millstream.schemas.records import Kind

EXCLUDING = replace(SMALL, exclude_consumed=True)
Ranks = NDArray[np.float64]
both = pytest.mark.parametrize("config", [SMALL, EXCLUDING], ids=["keeping", "excluding"])


def log_for(config: LearningConfig, seed: int = 21) -> InteractionColumns:
    """1,500 events with 500 items, so that some targets are on no shortlist."""
    log = random_log(2_500, users=60, items=500, seed=seed, distinct=config.exclude_consumed)
    return numbered(log.cut(0, min(1_500, len(log))))


def numbered(columns: InteractionColumns) -> InteractionColumns:
    return replace(columns, offsets=np.arange(len(columns), dtype=np.int64))


def evaluated(columns: InteractionColumns, config: LearningConfig = SMALL) -> Evaluation:
    return evaluate(columns, Step(config), topic=INTERACTIONS)


def scrambled_after(columns: InteractionColumns, last: int, seed: int = 1) -> InteractionColumns:
    """The same log up to and with event `last`; users, items and order of the rest drawn anew, times kept."""
    rng = np.random.default_rng(seed)
    users, items = columns.user_ids[:], columns.item_ids[:]
    tail = range(last + 1, len(columns))
    for column in (users, items):
        column[last + 1 :] = [column[at] for at in rng.permutation(tail)]
    return replace(columns, user_ids=users, item_ids=items)


def looks_ahead(ranks_of: Callable[[InteractionColumns], Ranks], columns: InteractionColumns, last: int) -> bool:
    """Tell whether any rank up to `last` changes with what comes after it."""
    before, after = ranks_of(columns), ranks_of(scrambled_after(columns, last))
    return not np.array_equal(before[: last + 1], after[: last + 1], equal_nan=True)


def ranks_that_know_the_future(columns: InteractionColumns) -> Ranks:
    """A leaky measurement: the whole log is learned first, then measured on the second pass."""
    step = Step(SMALL)
    step.apply(chunk_of(columns), lists=False)
    again = replace(columns, offsets=columns.offsets + len(columns))
    measured = step.apply(chunk_of(again), lists=False).measured
    assert measured is not None
    return measured.rank


@both
@pytest.mark.parametrize("last", [0, 300, 1_000, 1_200])
def test_scrambling_the_log_after_an_event_leaves_every_earlier_rank(config: LearningConfig, last: int) -> None:
    """No rank knows what comes later, not even within the chunk the log is read in."""
    assert not looks_ahead(lambda columns: evaluated(columns, config).rank, log_for(config), last)


def test_a_measurement_that_knows_the_future_is_caught() -> None:
    """The check above fails for ranks measured after learning the whole log."""
    assert looks_ahead(ranks_that_know_the_future, log_for(SMALL), 1_000)


def every_items_rank(step: Step, user_id: str, ts_ms: int) -> dict[str, float]:
    """The rank each item would get as the next event's target: one ranking, made without knowing which it is."""
    exclude, m, b = step.config.exclude_consumed, step.model, step.bench
    user = np.int32(step.users.rows([user_id])[0])
    events = int(m.histories.events[user])
    history, gap = history_context(events), gap_context(events, ts_ms - int(m.histories.last_ms[user]))
    n = rank_kernel(m, b, user, ts_ms, step.seq + 1, history, gap, exclude, FULL)
    rows, scores = b.scratch.items[:n].tolist(), b.scores[:n].astype(np.float64)
    ranks = {
        step.items.ids[row]: 1 + np.sum(scores > mine) + (np.sum(scores == mine) - 1) / 2
        for row, mine in zip(rows, scores.tolist(), strict=True)
    }
    barred = int(m.consumed.chosen[user]) if exclude else 0
    others = len(step.items) - barred - n
    return {id_: ranks.get(id_, 1 + n + (others - 1) / 2) for id_ in step.items.ids}


def targets_seen_by_the_ranking(config: LearningConfig, learn_first: bool) -> list[tuple[float, float]]:
    """Of the log's last events: the rank as measured, and as it follows from one ranking for all possible targets."""
    log = log_for(config)
    step = Step(config)
    step.apply(chunk_of(log.cut(0, 1_000)), lists=False)
    pairs = []
    offset = 1_000
    for at in range(1_000, 1_200):
        event = log.cut(at, at + 1)
        expected = every_items_rank(step, event.user_ids[0], int(event.ts_ms[0])).get(event.item_ids[0])
        for _ in range(2 if learn_first else 1):
            measured = step.apply(chunk_of(replace(event, offsets=np.array([offset]))), lists=False).measured
            offset += 1
        assert measured is not None
        if expected is not None:
            pairs.append((float(measured.rank[0]), float(expected)))
    return pairs


@both
def test_the_target_has_no_part_in_its_own_ranking(config: LearningConfig) -> None:
    """The measured rank is the one in a ranking made before anyone said which item it is about.

    Were the target put on the shortlist, those that are not on it by themselves (some here) would rank higher.
    """
    pairs = targets_seen_by_the_ranking(config, learn_first=False)
    assert len(pairs) > 150
    assert sum(expected > 100 for _, expected in pairs) > 3
    for measured, expected in pairs:
        assert measured == expected


def test_a_target_learned_before_it_is_ranked_is_caught() -> None:
    """The check above fails when each event is learned, then measured."""
    pairs = targets_seen_by_the_ranking(SMALL, learn_first=True)
    assert sum(measured < expected for measured, expected in pairs) > len(pairs) / 2


def test_the_sets_are_what_they_say() -> None:
    """Six events by hand: who is scored, half, new, and all."""
    #        0    1    2    3    4    5    6    7
    users = ["u", "v", "u", "v", "u", "w", "v", "u"]
    items = ["a", "a", "b", "b", "a", "a", "c", "b"]
    result = evaluated(columns_of(users, items))
    # scored: user and item seen before: 3 (v, b), 4 (u, a), 7 (u, b); 5 is w's first, 6 the first of c
    assert result.target.all()
    assert [bool(np.isnan(rank)) for rank in result.rank] == [True, False, True, False, False, False, True, False]
    assert (result.all.n, result.scored.n, result.half.n) == (8, 3, 2)
    assert np.flatnonzero(result.is_scored).tolist() == [3, 4, 7]
    assert np.flatnonzero(result.is_half).tolist() == [4, 7]
    assert result.new.n == 0
    assert result.scored == figures(result.rank[[3, 4, 7]])
    assert result.half == figures(result.rank[[4, 7]])
    assert result.all == figures(result.rank)


def test_new_means_that_the_user_never_chose_the_item_however_long_ago() -> None:
    """A repeat from beyond the history's reach is no new pair."""
    config = replace(SMALL, history_length=3)
    long_ago = ["a", "b", "c", "d", "e", "f"]
    users = ["u"] * 6 + ["v"] * 4 + ["u", "u"]
    items = [*long_ago, "a", "b", "g", "h", "a", "g"]
    result = evaluated(columns_of(users, items), config)
    # of the last half: v chose a, b (v unknown before a); u chose a again (not new), then g (new)
    assert result.half.n == 3
    assert result.new.n == 2


def test_impressions_and_dismissals_are_no_targets() -> None:
    """They count in no set, and have no rank."""
    log = random_log(300, users=10, items=20, seed=5)
    kinds = np.where(np.arange(300) % 3 == 0, Kind.impression, np.where(np.arange(300) % 7 == 0, Kind.hide, Kind.click))
    result = evaluated(replace(log, kinds=kinds.astype(np.int8)))
    assert result.all.n == int((kinds == Kind.click).sum()) == int(result.target.sum())
    assert np.isnan(result.rank[kinds != Kind.click]).all()


def popularity_ranks(columns: InteractionColumns, half_life: float, exclude: bool) -> Ranks:
    """Ranks by a decayed count over all items seen, done with a dictionary."""
    last: dict[str, float] = {}
    count: dict[str, float] = {}
    chosen: dict[str, set[str]] = {}
    ranks = []
    for at, (user, item) in enumerate(zip(columns.user_ids, columns.item_ids, strict=True), start=1):
        now = {i: value * 2.0 ** (-(at - last[i]) / half_life) for i, value in count.items()}
        mine = now.get(item)
        barred = chosen.setdefault(user, set()) if exclude else set()
        if mine is None:
            ranks.append(np.nan)
        else:
            others = [value for i, value in now.items() if i != item and i not in barred]
            same = [bool(np.isclose(value, mine, rtol=1e-6, atol=0)) for value in others]
            above = sum(value > mine and not tied for value, tied in zip(others, same, strict=True))
            ranks.append(1 + above + sum(same) / 2)
        count[item], last[item] = now.get(item, 0.0) + 1, at
        chosen.setdefault(user, set()).add(item)
    return np.array(ranks)


@both
def test_popularity_is_the_better_of_two_brute_force_counts(config: LearningConfig) -> None:
    """Over `half`: all-time counts, and half-life 40 events, ties at half, consumed items left out where excluded."""
    log = log_for(config).cut(0, 900)
    result = evaluated(log, config)
    users: set[str] = set()
    scored = np.zeros(len(log), np.bool_)
    for at, user in enumerate(log.user_ids):
        scored[at] = user in users and not np.isnan(result.rank[at])
        users.add(user)
    half = scored & (np.arange(len(log)) >= len(log) // 2)
    exclude = config.exclude_consumed
    candidates = [figures(popularity_ranks(log, h, exclude)[half]) for h in (np.inf, 40.0)]
    best = max(candidates, key=lambda one: one.hit_at_10)
    assert result.half.n == best.n
    assert result.popularity_half.hit_at_10 == pytest.approx(best.hit_at_10, abs=0.002)
    assert result.popularity_half.ndcg_at_10 == pytest.approx(best.ndcg_at_10, abs=0.002)
    assert result.popularity_half.mrr_at_20 == pytest.approx(best.mrr_at_20, abs=0.002)


def measured_columns(columns: InteractionColumns, config: LearningConfig) -> tuple[Ranks, Ranks]:
    measured = Step(config).apply(chunk_of(columns), lists=False).measured
    assert measured is not None
    return measured.popular_rank, measured.trending_rank


@both
@pytest.mark.parametrize(("which", "half_life"), [(0, np.inf), (1, 40.0)], ids=["all time", "half-life 40"])
def test_each_popularity_rank_is_brute_forces_up_to_twenty(
    config: LearningConfig, which: int, half_life: float
) -> None:
    """Event by event; a rank beyond 20 counts in no metric and need only be beyond 20."""
    log = log_for(config).cut(0, 600)
    mine = measured_columns(log, config)[which]
    exact = popularity_ranks(log, half_life, config.exclude_consumed)
    assert np.array_equal(np.isnan(mine), np.isnan(exact))
    seen = ~np.isnan(exact)
    differ = np.where(exact[seen] <= 20, np.abs(mine[seen] - exact[seen]), np.where(mine[seen] > 20, 0.0, 1.0))
    assert np.mean(differ > 0) < 0.01 if half_life == 40.0 else not differ.any()  # a float32's near-ties aside


def test_a_tiny_log_of_one_popular_item() -> None:
    """Everyone chooses a, once in three times something else: a is ranked first once it has been seen."""
    n = 60
    users = [f"u{at}" for at in range(n)]
    items = ["a" if at % 3 else f"other{at}" for at in range(n)]
    result = evaluated(columns_of(users, items))
    chose_a = np.array([item == "a" for item in items])
    assert (result.rank[chose_a][2:] == 1.0).all()
    assert result.scored.n == 0  # nobody came twice
    assert result.all.n == n


def test_a_log_without_events_gives_no_figures() -> None:
    """Nothing to rank is not an error."""
    result = evaluated(columns_of([], []))
    assert result.all.n == result.half.n == 0
    assert len(result.rank) == 0


def test_evaluation_ends_in_the_state_the_stream_ends_in() -> None:
    """The hash is that of the same events applied in one chunk, lists made or not; progress is told to the end."""
    log = log_for(SMALL)
    heard: list[int] = []
    result = evaluate(log, Step(SMALL), topic=INTERACTIONS, on_progress=heard.append)
    step = Step(SMALL)
    step.apply(chunk_of(log))
    assert result.state_hash == step.state_hash()
    assert heard == [1_000, 1_500]


def test_learning_beats_popularity_on_a_shop_with_habits() -> None:
    """Each user goes round a loop of four items: after a while the next one is known, which no popularity can say."""
    rng = np.random.default_rng(2)
    users = rng.integers(0, 30, 2_000)
    turns = [int(np.sum(users[:at] == user)) for at, user in enumerate(users)]
    items = [f"i{user * 4 + turn % 4}" for user, turn in zip(users.tolist(), turns, strict=True)]
    times = [START_MS + 60_000 * at for at in range(2_000)]
    result = evaluated(columns_of([f"u{user}" for user in users], items, ts_ms=times))
    assert result.half.mrr_at_20 > 0.8
    assert result.popularity_half.mrr_at_20 < 0.2


def test_cold_targets_are_those_of_items_chosen_seldom_before() -> None:
    """By counting; without content one that was never chosen is a miss."""
    log = log_for(SMALL)
    result = evaluated(log)
    times: Counter[str] = Counter()
    never, seldom = [], []
    for at, item_id in enumerate(log.item_ids):
        if times[item_id] <= 5:
            seldom.append(at)
        if times[item_id] == 0:
            never.append(at)
        times[item_id] += 1
    assert np.flatnonzero(result.is_cold).tolist() == seldom
    assert (result.cold, result.cold0) == (figures(result.rank[seldom]), figures(result.rank[never]))
    assert result.cold0.hit_at_10 == 0
    assert np.isnan(result.rank[never]).all()


@pytest.mark.parametrize("comes", [0, 700])
def test_an_item_is_a_candidate_from_when_its_content_comes(comes: int) -> None:
    """Before that, one that was never chosen has no rank; after it, what says what the user's items say is found."""
    rng = np.random.default_rng(4)
    groups = rng.integers(0, 20, 300)
    kind = np.arange(1_200) % 20
    items = [int(rng.choice(np.flatnonzero(groups == each))) for each in kind]
    log = numbered(columns_of([f"u{each}" for each in kind], [f"i{item}" for item in items]))
    middles = rng.normal(size=(20, CONTENT))
    coded = [quantise(each.astype(np.float32)) for each in middles[groups] + 0.3 * rng.normal(size=(300, CONTENT))]
    scales = np.array([scale for _, scale in coded], np.float32)
    chunk = vectors_chunk([f"i{item}" for item in range(300)], np.array([each for each, _ in coded]), scales)
    result = evaluate(log, Step(SMALL), topic=INTERACTIONS, arrivals={comes: chunk})
    _, first = np.unique(log.item_ids, return_index=True)
    before, after = np.sort(first[first < comes]), np.sort(first[(first >= comes) & (first >= 40)])
    assert np.isnan(result.rank[before]).all()
    assert not np.isnan(result.rank[after]).any()
    assert np.median(result.rank[after]) < 20  # 15 of the 300 are of a kind, and most of those were chosen before
