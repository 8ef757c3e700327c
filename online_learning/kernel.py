"""The way of one event through the model: measure, learn, remember, and, where wanted, make the user's list.

This is the only place that knows the order of things. Everything is strict: the next event sees all of this one, so
where a chunk is cut changes nothing. Making a list changes no state.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .blend import BY_GAP, explain, gap_context, history_context, learn
from .categories import follow
from .compiled import kernel
from .consumed import consume, has_consumed, held
from .covisitation import covisit
from .dismissals import pushed_down, put_away, take_back
from .histories import drop_items, find, remember
from .interest import BLOCK, collect, welcome
from .neighbours import note_user
from .occasion import count_occasion
from .popularity import ALL_TIME, BEST, EVENTS, H40, count, counted
from .ranking import Bench, Model, rank
from .recency import chosen
from .scratch import is_barred, place_of_largest
from .shortlist import FULL, LEAN
from .signal import DISMISSED

SERVING_GAP_MS = 10_000
"""A published list is made for a look this long after the event: the gap to the next one is not known yet."""


class Events(NamedTuple):
    """Columns of a slice, shape (n,) each.

    A row below 0 teaches nothing: an id that was not admitted, or a kind that neither chooses nor puts away.
    """

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    ts_ms: NDArray[np.int64]
    away: NDArray[np.int8]
    """0: the item was chosen; else how it was put away."""
    listed: NDArray[np.int32]
    """Where the user's list goes in `Lists`, or -1."""


class Measured(NamedTuple):
    """What was measured before learning, shape (n,) each; rank is NaN for an item never seen, or where skipped."""

    rank: NDArray[np.float64]
    popular_rank: NDArray[np.float64]
    """By all-time count."""
    trending_rank: NDArray[np.float64]
    """By the count of half-life 40 events."""
    user_known: NDArray[np.bool_]
    item_known: NDArray[np.bool_]
    pair_new: NDArray[np.bool_]
    loss: NDArray[np.float64]
    """−ln p(target) among the shortlist; NaN where the target was not on it."""


class Lists(NamedTuple):
    """Ranked lists, best first, shape (lists, length, …); an item below 0 ends a list."""

    item: NDArray[np.int32]
    score: NDArray[np.float32]
    contribution: NDArray[np.float32]
    """Of each group of signals, shape (lists, length, GROUPS)."""
    via: NDArray[np.int32]
    """The item of the user's history that speaks most for it, or -1."""
    seq: NDArray[np.int64]
    """`seq` each list was made at, shape (lists,)."""


@kernel
def learn_events(
    m: Model,
    b: Bench,
    e: Events,
    first: int,
    seq: int,
    partition: int,
    items: int,
    exclude: bool,
    train_every: int,
    measured: Measured,
    lists: Lists,
) -> int:
    """Take the events in order, from place `first` on; return the place after the last one taken.

    That is the end, or sooner where an event has filled the open block of the interest vectors, which is then for the
    caller to turn. `seq` is how many events came before, `items` how many item rows are given out. One event in
    `train_every`, by `seq`, is ranked, measured and trained on; all are counted and remembered. Lists are lean where
    not every event trains.
    """
    for at in range(first, len(e.user)):
        user, item, ts_ms = e.user[at], e.item[at], e.ts_ms[at]
        seq += 1
        if user >= 0 and item >= 0 and e.away[at] == 0:
            train = seq % train_every == 0
            _one_event(m, b, user, item, ts_ms, seq, partition, items, exclude, train, measured, at)
        else:
            measured.rank[at] = np.nan
            measured.loss[at] = np.nan
            if user >= 0 and item >= 0:
                put_away(m.dismissals, user, item, ts_ms, e.away[at])
        if e.listed[at] >= 0:
            make_list(m, b, user, ts_ms, seq, exclude, FULL if train_every == 1 else LEAN, lists, e.listed[at])
        if m.interest.filled[0] == BLOCK:
            return at + 1
    return len(e.user)


@kernel
def make_lists(m: Model, b: Bench, users: NDArray[np.int32], ts_ms: int, seq: int, exclude: bool, lists: Lists) -> None:
    """Make the lists of `users` (user rows) without an event, as if each had last been seen at `ts_ms`."""
    for row in range(len(users)):
        make_list(m, b, users[row], ts_ms, seq, exclude, FULL, lists, row)


@kernel
def _one_event(
    m: Model,
    b: Bench,
    user: int,
    item: int,
    ts_ms: int,
    seq: int,
    partition: int,
    items: int,
    exclude: bool,
    train: bool,
    measured: Measured,
    at: int,
) -> None:
    h, p = m.histories, m.popularity
    if m.limbo.items[0] > 0:
        drop_items(h, m.limbo.item, user)
    known = p.facts[item, EVENTS] > 0
    place = find(h, user, item)
    fresh = place < 0
    if exclude:
        fresh = fresh and not has_consumed(m.consumed, user, item)
    measured.user_known[at] = h.events[user] > 0
    measured.item_known[at] = known
    measured.pair_new[at] = fresh
    measured.rank[at] = np.nan
    measured.loss[at] = np.nan
    if not known:
        welcome(m.interest, item)
    elif train:
        _measure_and_train(m, b, user, item, ts_ms, seq, items, exclude, measured, at)
    if train:
        collect(m.interest, h, user, item, ts_ms)
    events = h.events[user]
    gap_class = gap_context(events, ts_ms - h.ts_ms[user, 0]) - BY_GAP
    covisit(m.covisitation, h, user, item, ts_ms, seq)
    follow(m.categories, h, user, item, seq)
    note_user(m.neighbours, user, item)
    count(p, item, place < 0, ts_ms, seq)
    count_occasion(m.occasion, item, events, gap_class, ts_ms, seq)
    chosen(m.recency, item)
    take_back(m.dismissals, user, item)
    if exclude and fresh:
        consume(m.consumed, user, item)
    remember(h, user, item, ts_ms, partition)


@kernel
def _measure_and_train(
    m: Model,
    b: Bench,
    user: int,
    item: int,
    ts_ms: int,
    seq: int,
    items: int,
    exclude: bool,
    measured: Measured,
    at: int,
) -> None:
    """Rank for the user as things were before the event; measure where its item stood; take one step of the blend.

    An item never seen before has no rank and cannot be learned from: the caller leaves it out.
    """
    h, p = m.histories, m.popularity
    history = history_context(h.events[user])
    gap = gap_context(h.events[user], ts_ms - h.ts_ms[user, 0])
    n = rank(m, b, user, ts_ms, seq, history, gap, exclude, FULL)
    candidates = p.seen[ALL_TIME] - (held(m.consumed, user) if exclude else 0)
    target = -1
    for k in range(n):
        if b.scratch.items[k] == item:
            target = k
    if target >= 0:
        measured.rank[at] = _rank_of(b.scores, n, target)
        measured.loss[at] = learn(m.blend, b.work, history, gap, b.scratch.items, b.signals, b.scores, n, target)
    else:
        measured.rank[at] = 1.0 + n + max(0, candidates - n - 1) / 2.0
    measured.popular_rank[at] = _rank_by_count(m, b, item, ALL_TIME, seq, ts_ms, items)
    measured.trending_rank[at] = _rank_by_count(m, b, item, H40, seq, ts_ms, items)


@kernel
def make_list(
    m: Model, b: Bench, user: int, ts_ms: int, seq: int, exclude: bool, effort: int, lists: Lists, row: int
) -> None:
    """Write the user's list, as of event `seq`, into row `row` of `lists`. Ties go to the item seen first."""
    h, s = m.histories, b.scratch
    now_ms = ts_ms + SERVING_GAP_MS
    events = h.events[user]
    gap = gap_context(events, now_ms - h.ts_ms[user, 0])
    n = rank(m, b, user, now_ms, seq, history_context(events), gap, exclude, effort)
    lists.seq[row] = seq
    held = _best(b, n)
    lists.item[row, held:] = -1
    for at in range(held):
        best = b.order[at]
        item = s.items[best]
        lists.item[row, at] = item
        lists.score[row, at] = b.scores[best]
        pushed = pushed_down(m.dismissals, user, item, now_ms)
        explain(m.blend, b.work, b.signals, best, b.scores[best] + pushed, lists.contribution[row, at])
        lists.contribution[row, at, DISMISSED] = -pushed
        via = place_of_largest(s, item)
        lists.via[row, at] = h.item[user, via] if via >= 0 else -1


@kernel
def _best(b: Bench, n: int) -> int:
    """Write into `b.order` the places of the highest scores of the first `n`, best first; return how many."""
    held = 0
    for k in range(n):
        at = held
        while at > 0 and _before(b, k, b.order[at - 1]):
            at -= 1
        if at == len(b.order):
            continue
        held = min(held + 1, len(b.order))
        for later in range(held - 1, at, -1):
            b.order[later] = b.order[later - 1]
        b.order[at] = k
    return held


@kernel
def _before(b: Bench, one: int, other: int) -> bool:
    """Tell whether shortlist place `one` goes before `other`: by score, ties by the lower row."""
    if b.scores[one] != b.scores[other]:
        return bool(b.scores[one] > b.scores[other])
    return bool(b.scratch.items[one] < b.scratch.items[other])


@kernel
def _rank_of(scores: NDArray[np.float32], n: int, target: int) -> float:
    """Return 1 + #(above) + #(tied with it) / 2."""
    above = 0
    tied = 0
    for k in range(n):
        if scores[k] > scores[target]:
            above += 1
        elif scores[k] == scores[target] and k != target:
            tied += 1
    return 1.0 + above + tied / 2.0


@kernel
def _rank_by_count(m: Model, b: Bench, item: int, which: int, seq: int, now_ms: int, items: int) -> float:
    """Return the rank of `item` among all items seen that are not barred, by one popularity count.

    The board answers when the item is on it above its last place; otherwise, and where barred items leave fewer than
    20 above the board's end, every item is counted.
    """
    p, s = m.popularity, b.scratch
    mine = counted(p, item, which, seq, now_ms)
    above = 0
    tied = 0
    last = np.inf
    for at in range(p.best_held[which]):
        j = p.best[which, at]
        last = counted(p, j, which, seq, now_ms)
        if j != item and not is_barred(s, j):
            if last > mine:
                above += 1
            elif last == mine:
                tied += 1
    if p.best_held[which] == BEST and mine <= last and above < 20:
        above = 0
        tied = 0
        for j in range(items):
            if p.facts[j, EVENTS] > 0 and j != item and not is_barred(s, j):
                theirs = counted(p, j, which, seq, now_ms)
                if theirs > mine:
                    above += 1
                elif theirs == mine:
                    tied += 1
    return 1.0 + above + tied / 2.0
