"""Where an event's time goes, stage by stage, in µs.

No clock runs inside the kernels. The log is run through once for each stage: every event is ranked as far as that
stage and no further, then remembered, so that the next one meets the state that it should. One stage is the difference
of two passes. `rank_as_far_as` follows `ranking.rank`; a test holds the two to the same scores.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from millstream.online_learning.blend import gap_context, history_context
from millstream.online_learning.blend_learning import learn
from millstream.online_learning.compiled import entry, kernel
from millstream.online_learning.content import like
from millstream.online_learning.evaluation import CHUNK_EVENTS
from millstream.online_learning.interest import pool
from millstream.online_learning.kernel import Events, _one_event
from millstream.online_learning.kinds import TEACHING, kind_weights, ratings_of
from millstream.online_learning.measured import Measured, reserve_measured
from millstream.online_learning.neighbours import walk_neighbours
from millstream.online_learning.popularity import EVENTS
from millstream.online_learning.ranking import Bench, Model, bar_unwanted, bench, describe_items, score_items
from millstream.online_learning.ratings import rate, rating_weight
from millstream.online_learning.said import wish
from millstream.online_learning.scratch import begin
from millstream.online_learning.second_order import walk_second
from millstream.online_learning.shortlist import FULL, MOST_OWN, shortlist
from millstream.online_learning.step import Step
from millstream.online_learning.vocabulary import NOT_ADMITTED
from millstream.online_learning.walk import walk
from millstream.schemas.columns import InteractionColumns
from millstream.schemas.records import Kind

STAGES = ("remember", "walk", "second_order_and_neighbours", "shortlist", "signals", "score", "train")
"""`remember`: ids, counts, edges and histories; then a ranking, in order; `train`: the blend's step."""
WALK, SECOND, SHORTLIST, SIGNALS, SCORE, TRAIN = range(1, len(STAGES))


@entry
def learn_as_far_as(m: Model, b: Bench, e: Events, items: int, exclude: bool, last: int, measured: Measured) -> None:
    """Take the events in order, each only up to and with the stage `last`; the interest vectors stay as they are."""
    for at in range(len(e.user)):
        user, item, ts_ms, seq = e.user[at], e.item[at], e.ts_ms[at], e.seq[at]
        if user < 0 or item < 0:
            continue
        weight = e.weight[at] * rating_weight(m.ratings, user, e.rating[at])
        if m.popularity.facts[item, EVENTS] > 0:
            rank_as_far_as(m, b, user, item, ts_ms, weight, seq, exclude, last)
        _one_event(m, b, user, item, ts_ms, weight, e.bought[at], e.slate[at], seq, items, exclude, False, measured, at)
        rate(m.ratings, user, e.rating[at])


@kernel
def rank_as_far_as(
    m: Model, b: Bench, user: int, item: int, now_ms: int, weight: np.float32, seq: int, exclude: bool, last: int
) -> int:
    """Rank for `user` up to and with the stage `last`, into `b`; return how many items were shortlisted.

    With TRAIN, the blend takes its step towards `item` if that is on the shortlist. Else no state changes.
    """
    if last < WALK:
        return 0
    s, h = b.scratch, m.histories
    begin(s)
    walk(s, m.covisitation, h, user, now_ms, seq, FULL)
    if last < SECOND:
        return 0
    walk_second(s, m.covisitation, h, user, seq)
    walk_neighbours(s, m.neighbours, h, user)
    if last < SHORTLIST:
        return 0
    s.held[1] = s.held[0]
    bar_unwanted(m, s, user, now_ms, exclude)
    pool(m.interest, h, user, now_ms, s.pooled)
    like(m.content, h, user, s.liking)
    wish(m.said, m.content, h, user, now_ms, s.liking)
    n = shortlist(s, h, m.popularity, m.recency, m.interest, m.content, m.said, m.availability, user, not exclude, FULL)
    if last < SIGNALS:
        return n
    own = 0 if exclude else min(h.held[user], MOST_OWN[FULL])
    history = history_context(h.events[user])
    gap = gap_context(h.events[user], now_ms - h.last_ms[user])
    describe_items(m, b, user, n, own, gap, now_ms, seq)
    if last < SCORE:
        return n
    score_items(m, b, user, n, history, gap, now_ms)
    if last < TRAIN:
        return n
    for target in range(n):
        if s.items[target] == item:
            learn(m.blend, b.work, history, gap, s.items, b.signals, b.scores, n, target, weight)
    return n


def stages_us(columns: InteractionColumns, fresh: Callable[[], Step]) -> dict[str, float]:
    """Return the mean µs an event of each of `STAGES` over the log, each pass through a `fresh` step.

    A stage is a difference of two passes, so one that costs next to nothing may come out below 0.
    """
    nothing = columns.cut(0, 0)
    _pass_us(nothing, fresh(), TRAIN)  # compiles, the first time
    passes = [_pass_us(columns, fresh(), last) for last in range(len(STAGES))]
    return dict(zip(STAGES, np.diff(passes, prepend=0.0).tolist(), strict=True))


def _pass_us(columns: InteractionColumns, step: Step, last: int) -> float:
    """Take the log as far as the stage `last`; return the µs an event took. The step is not to be used after."""
    config, n = step.config, len(columns)
    b = bench(config)
    began_s = time.perf_counter()
    for first in range(0, max(1, n), CHUNK_EVENTS):
        chunk = columns.cut(first, min(n, first + CHUNK_EVENTS))
        events = _events(step, chunk, first)
        measured = reserve_measured(len(chunk))
        learn_as_far_as(step.model, b, events, len(step.items), config.exclude_consumed, last, measured)
    return (time.perf_counter() - began_s) * 1e6 / max(1, n)


def _events(step: Step, columns: InteractionColumns, before: int) -> Events:
    """Return the events as the kernels take them, after `before` others; rows are given out for ids not seen so far."""
    return Events(
        user=np.where(TEACHING[columns.kinds], step.users.rows(columns.user_ids), NOT_ADMITTED).astype(np.int32),
        item=step.items.rows(columns.item_ids),
        ts_ms=columns.ts_ms,
        deed=np.zeros(len(columns), np.int8),
        weight=kind_weights(step.config)[columns.kinds],
        bought=columns.kinds == Kind.purchase,
        kept_off=np.zeros(len(columns), np.bool_),
        rating=ratings_of(columns),
        slate=np.zeros(len(columns), np.uint32),
        slot=np.full(len(columns), -1, np.int16),
        surface=np.zeros(len(columns), np.uint32),
        seq=np.arange(before + 1, before + 1 + len(columns)),
        listed=np.full(len(columns), -1),
    )
