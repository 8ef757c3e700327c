"""Where an event's time goes, stage by stage, in µs.

No clock runs inside the kernels. At points spread evenly over a log, the next events' users are ranked as far as each
stage and no further, in turn: one stage is the difference of two passes. Then some events are taken whole, and some
are only remembered. `as_far_as` follows `kernel.rank`; a test holds the two to the same scores.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from millstream.online_learning.blend import BY_GAP, gap_context, history_context, score
from millstream.online_learning.compiled import kernel
from millstream.online_learning.consumed import held
from millstream.online_learning.kernel import Bench, Events, Model, bench
from millstream.online_learning.neighbours import walk_neighbours
from millstream.online_learning.scratch import bar, begin, scratch
from millstream.online_learning.second_order import walk_second
from millstream.online_learning.shortlist import FULL, MOST_OWN, shortlist
from millstream.online_learning.signals import describe
from millstream.online_learning.slab import UNIT
from millstream.online_learning.step import INTERACTIONS, Step
from millstream.online_learning.walk import walk
from millstream.schemas.columns import Chunk, InteractionColumns

POINTS = 10
"""Places of the log at which the stages are timed."""
EVENTS_EACH = 400
TURNS = 3
"""Passes of each length; the lowest counts."""
REMEMBER_ONLY = 1 << 62
"""One event in so many trains: none."""
RANKING = ("walk", "second_order_and_neighbours", "shortlist", "signals", "score")
"""The stages of a ranking, in order."""


@kernel
def as_far_as(m: Model, b: Bench, e: Events, first: int, last: int, seq: int, exclude: bool, stages: int) -> None:
    """Rank the users of events `first` to `last`, all as of event `seq`, up to and with so many of `RANKING`."""
    h, s = m.histories, b.scratch
    for at in range(first, last):
        user, now_ms = e.user[at], e.ts_ms[at]
        if user < 0:
            continue
        history = history_context(h.events[user])
        gap = gap_context(h.events[user], now_ms - h.ts_ms[user, 0])
        begin(s)
        walk(s, m.covisitation, h, user, now_ms, seq, FULL)
        if stages < 2:
            continue
        walk_second(s, m.covisitation, h, user, seq)
        walk_neighbours(s, m.neighbours, h, user)
        if stages < 3:
            continue
        s.held[1] = s.held[0]
        if exclude:
            c = m.consumed
            for k in range(held(c, user)):
                bar(s, c.item[c.start[user] + k // UNIT, k % UNIT])
        n = shortlist(s, h, m.popularity, m.recency, user, not exclude, FULL)
        if stages < 4:
            continue
        own = 0 if exclude else min(h.held[user], MOST_OWN[FULL])
        describe(
            s,
            n,
            own,
            h,
            m.popularity,
            m.occasion,
            m.covisitation,
            m.categories,
            m.interest,
            user,
            gap - BY_GAP,
            now_ms,
            seq,
            b.scale,
            b.logarithmic,
            b.signals,
        )
        if stages < 5:
            continue
        score(m.blend, b.work, history, gap, s.items, b.signals, n, b.scores)


def stages_us(columns: InteractionColumns, step: Step) -> dict[str, float]:
    """Return the mean µs an event of each stage over the log, for a fresh `step`, which is left with the log learned.

    The stages of `RANKING`, then `remember` (ids, counts, edges, histories) and `measure_and_train` (all the rest:
    where the target stood, a step of the blend, the interest vectors). A difference of two passes, so a stage that
    costs next to nothing may come out below 0.
    """
    config, n = step.config, len(columns)
    b = bench(scratch(config.max_items, config.max_consumed), config.list_length)
    each = max(1, min(EVENTS_EACH, n // (2 * POINTS)))
    found: list[list[float]] = []
    done = 0
    for point in range(POINTS):
        first = max(done, n * (2 * point + 1) // (2 * POINTS) - each)
        if first + 2 * each > n:
            break
        _apply(step, columns, done, first)
        ranked = [_least_us(step, b, columns, first, each, stages) for stages in range(1, len(RANKING) + 1)]
        whole = _apply(step, columns, first, first + each)
        remembered = _apply(step, columns, first + each, first + 2 * each, train_every=REMEMBER_ONLY)
        done = first + 2 * each
        found.append([*np.diff(ranked, prepend=0.0), remembered, whole - remembered - ranked[-1]])
    _apply(step, columns, done, n)
    names = (*RANKING, "remember", "measure_and_train")
    return dict(zip(names, np.mean(found, axis=0).tolist(), strict=True)) if found else dict.fromkeys(names, 0.0)


def _apply(step: Step, columns: InteractionColumns, first: int, last: int, *, train_every: int = 1) -> float:
    """Learn rows `first` to `last`; return the µs an event took."""
    if first >= last:
        return 0.0
    chunk = Chunk(INTERACTIONS, 0, first, last, columns.cut(first, last))
    began_s = time.perf_counter()
    step.apply(chunk, lists=False, train_every=train_every)
    return (time.perf_counter() - began_s) * 1e6 / (last - first)


def _least_us(step: Step, b: Bench, columns: InteractionColumns, first: int, each: int, stages: int) -> float:
    """Rank the users of the next events so far, several times; return the least µs an event took."""
    events, exclude = events_at(step, columns, first, first + each), step.config.exclude_consumed
    least_s = np.inf
    for _ in range(TURNS):
        began_s = time.perf_counter()
        as_far_as(step.model, b, events, 0, each, step.seq, exclude, stages)
        least_s = min(least_s, time.perf_counter() - began_s)
    return least_s * 1e6 / each


def events_at(step: Step, columns: InteractionColumns, first: int, last: int) -> Events:
    """Return rows `first` to `last` as the kernels take them; a user not known yet ranks as one without a history."""
    nobody = step.users.capacity
    rows = [step.users.row(id_) for id_ in columns.user_ids[first:last]]
    nothing: NDArray[np.int32] = np.full(last - first, -1, np.int32)
    return Events(
        np.array([nobody if row is None else row for row in rows], np.int32),
        nothing,
        columns.ts_ms[first:last],
        nothing,
    )
