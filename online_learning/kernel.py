"""The way of one event through the model: measure, learn, remember, and, where wanted, make the user's list.

This is the only place that knows the order of things. Everything is strict: the next event sees all of this one, so
where a chunk is cut changes nothing. Making a list changes no state.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arranging import arrange, arranged, arranges, occasion_of
from .blend import BY_GAP, Blend, explain, gap_context, history_context, score
from .blend_learning import learn
from .bought import buy
from .categories import follow
from .compiled import entry, inlined, kernel
from .consumed import consume, has_consumed, held
from .content import grown, says_most
from .covisitation import covisit
from .dismissals import pushed_down, put_away, take_back
from .histories import Histories, chosen_since, drop_items, find, present_ms, remember, remember_late, reside
from .impressions import SHOWN, show, sunk, take_up
from .impressions_learning import learn_from_shown
from .influence import charge, is_shared
from .interest import BLOCK, Interest, collect, speaks_most, welcome
from .measured import Measured
from .neighbours import note_user
from .occasion import count_occasion
from .places import place_of, rank_by_count, rank_of
from .popularity import ALL_TIME, EVENTS, H40, count
from .prices import price_part
from .prompts import note_surface
from .ranking import Bench, Model, rank, score_to_buy
from .ratings import rate, rating_weight
from .recency import chosen
from .said import lifted
from .scratch import place_of_largest
from .session import is_read, note_session
from .session_reading import learn_session
from .shortlist import FULL, LEAN
from .signal import ASKED, DISMISSED, IGNORED, POPULAR, PRICE, SAYS, TASTE, TOGETHER, YOURS
from .vocabulary import NOT_ADMITTED

FIRST_EVERY = 4
"""Of the first events, one in so many trains at least, whatever the effort."""
SERVING_GAP_MS = 10_000
"""A published list is made for a look this long after the event: the gap to the next one is not known yet."""


class Events(NamedTuple):
    """Columns of a slice, shape (n,) each.

    A row below 0 teaches nothing: an id that was not admitted, or a kind that says nothing of its item.
    """

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    ts_ms: NDArray[np.int64]
    deed: NDArray[np.int8]
    """0: the item was chosen; else how it was put away, or that it was shown."""
    weight: NDArray[np.float32]
    """What a choice of this kind adds; above 0 where the item was chosen."""
    bought: NDArray[np.bool_]
    """Whether the event is a purchase."""
    kept_off: NDArray[np.bool_]
    """Whether its item is kept off the user's lists from then on."""
    rating: NDArray[np.float64]
    """The value of a rating, NaN for none."""
    slate: NDArray[np.uint32]
    """The slate it happened on, 0 for none that has a name."""
    slot: NDArray[np.int16]
    """The place on that slate, -1 for unknown."""
    surface: NDArray[np.uint32]
    """The surface it happened on, 0 for none that has a name."""
    seq: NDArray[np.int64]
    """How many events there have been with this one."""
    listed: NDArray[np.int64]
    """Where the user's list goes in `Lists`, or -1."""


NOWHERE = -1
"""The partition of what is no event."""


def looks(users: NDArray[np.int32], ts_ms: int, seq: int) -> Events:
    """Return what is no event: that the lists of `users` (user rows) are made, as if each had been seen at `ts_ms`."""
    n = len(users)
    return Events(
        user=users,
        item=np.full(n, NOT_ADMITTED, np.int32),
        ts_ms=np.full(n, ts_ms),
        deed=np.zeros(n, np.int8),
        weight=np.zeros(n, np.float32),
        bought=np.zeros(n, np.bool_),
        kept_off=np.zeros(n, np.bool_),
        rating=np.full(n, np.nan),
        slate=np.zeros(n, np.uint32),
        slot=np.full(n, -1, np.int16),
        surface=np.zeros(n, np.uint32),
        seq=np.full(n, seq),
        listed=np.arange(n),
    )


class Lists(NamedTuple):
    """Ranked lists, best first, shape (lists, length, …); an item below 0 ends a list."""

    item: NDArray[np.int32]
    score: NDArray[np.float32]
    contribution: NDArray[np.float32]
    """Of each group of signals, shape (lists, length, GROUPS)."""
    evidence: NDArray[np.int32]
    """The item that each group's part comes from, or -1, shape (lists, length, GROUPS)."""
    propensity: NDArray[np.float32]
    """How likely chance was to put it there, NaN where no chance was involved."""
    seq: NDArray[np.int64]
    """`seq` each list was made at, shape (lists,)."""


@entry
def learn_events(
    m: Model,
    b: Bench,
    e: Events,
    first: int,
    partition: int,
    items: int,
    exclude: bool,
    train_every: int,
    first_trained: int,
    measured: Measured,
    lists: Lists,
    buys: Lists,
) -> int:
    """Take the events in order, from place `first` on; return the place after the last one taken.

    That is the end, or sooner where an event has filled the open block of the interest vectors, which is then for the
    caller to turn. `items` is how many item rows are given out. One event in `train_every`, by `seq`, is ranked,
    measured and trained on, and one in `FIRST_EVERY` at least until the blend has learned from `first_trained`; all are
    counted and remembered. Lists are lean where not every event trains; `buys` has a row for each of `lists`, or none
    where no such list is made.
    """
    for at in range(first, len(e.user)):
        user, item, ts_ms, seq = e.user[at], e.item[at], e.ts_ms[at], e.seq[at]
        if user >= 0 and partition != NOWHERE and e.deed[at] != SHOWN:
            reside(m.histories, user, partition)
        if user >= 0 and item >= 0 and e.deed[at] == 0:
            train = seq % train_every == 0 or (seq % FIRST_EVERY == 0 and m.blend.trained[0] < first_trained)
            weight = e.weight[at] * rating_weight(m.ratings, user, e.rating[at])
            _one_event(
                m,
                b,
                user,
                item,
                ts_ms,
                weight,
                e.bought[at],
                e.slate[at],
                seq,
                items,
                exclude,
                train,
                measured,
                at,
            )
            rate(m.ratings, user, e.rating[at])
            if e.kept_off[at]:
                buy(m.bought, user, item, ts_ms)
        else:
            measured.rank[at] = np.nan
            measured.loss[at] = np.nan
            if user >= 0 and item >= 0 and not chosen_since(m.histories, user, item, ts_ms):
                if e.deed[at] == SHOWN:
                    show(m.impressions, user, item, ts_ms, e.slate[at], e.slot[at])
                else:
                    put_away(m.dismissals, user, item, ts_ms, e.deed[at])
        if user >= 0 and e.surface[at] != 0:
            note_surface(m.interest.prompts, user, e.surface[at])
        if e.listed[at] >= 0:
            now_ms = present_ms(m.histories, user, ts_ms)
            n = make_list(m, b, user, now_ms, seq, exclude, FULL if train_every == 1 else LEAN, lists, e.listed[at])
            if len(buys.seq) > 0:
                make_buy_list(m, b, user, n, now_ms, seq, buys, e.listed[at])
        if m.interest.filled[0] == BLOCK:
            return at + 1
    return len(e.user)


@inlined
def _one_event(
    m: Model,
    b: Bench,
    user: int,
    item: int,
    ts_ms: int,
    weight: np.float32,
    bought: bool,
    slate: int,
    seq: int,
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
    now_ms = present_ms(h, user, ts_ms)  # for a late event; what is counted and remembered of it has its own time
    shared = is_shared(m.influence, h, user, place, now_ms)
    if exclude:
        fresh = fresh and not has_consumed(m.consumed, user, item)
    measured.user_known[at] = h.events[user] > 0
    measured.item_known[at] = known
    measured.pair_new[at] = fresh
    measured.rank[at] = np.nan
    measured.loss[at] = np.nan
    if train and (known or m.content.scale[item] > np.float32(0.0)):
        step_weight = weight if shared else np.float32(0.0)
        _measure_and_train(m, b, user, item, now_ms, step_weight, bought, slate, seq, items, exclude, measured, at)
    if not known:
        welcome(m.interest, item)
    if train and shared:
        collect(m.interest, h, user, item, now_ms)
        if is_read(m.session):
            note_session(m.session, m.interest, h, user)
    if shared:
        _share(m, user, item, place < 0, ts_ms, now_ms, weight, seq)
    take_back(m.dismissals, user, item, ts_ms)
    take_up(m.impressions, user, item, ts_ms)
    if exclude and fresh:
        consume(m.consumed, user, item)
    owed = charge(m.influence, h, user, place, ts_ms, now_ms, weight, shared)
    if now_ms == ts_ms:
        remember(h, user, item, ts_ms, weight, owed, not shared)
    else:
        remember_late(h, user, item, ts_ms, weight, owed, not shared)


@inlined
def _share(
    m: Model, user: int, item: int, new_to_user: bool, ts_ms: int, now_ms: int, weight: np.float32, seq: int
) -> None:
    """Let a choice count in all that other users' lists are made of; `now_ms` is after `ts_ms` where it is late."""
    h = m.histories
    events = h.events[user]
    gap_class = gap_context(events, now_ms - h.last_ms[user]) - BY_GAP
    covisit(m.covisitation, h, user, item, now_ms, seq, weight)
    follow(m.categories, h, user, item, seq, weight)
    note_user(m.neighbours, user, item)
    count(m.popularity, item, new_to_user, ts_ms, seq, weight)
    grown(m.content, m.popularity, item)
    count_occasion(m.occasion, item, events, gap_class, ts_ms, seq, weight)
    chosen(m.recency, item)


@inlined
def _measure_and_train(
    m: Model,
    b: Bench,
    user: int,
    item: int,
    ts_ms: int,
    weight: np.float32,
    bought: bool,
    slate: int,
    seq: int,
    items: int,
    exclude: bool,
    measured: Measured,
    at: int,
) -> None:
    """Rank for the user as things were before the event; measure where its item stood; take one step of the blend.

    A step of `weight` 0 is none. An item that was never seen and has no content has no rank and cannot be learned from:
    the caller leaves it out.
    """
    h, p = m.histories, m.popularity
    history = history_context(h.events[user])
    gap = gap_context(h.events[user], ts_ms - h.last_ms[user])
    n = rank(m, b, user, ts_ms, seq, history, gap, exclude, int(FULL))
    candidates = p.seen[ALL_TIME] + m.content.unchosen[0] - (held(m.consumed, user) if exclude else 0)
    target = place_of(item, b.scratch.items, n)
    if target >= 0:
        measured.rank[at] = rank_of(b.scores, n, target)
        if arranges(b.arrangement):
            measured.rank[at] = _rank_shown(b, m.interest, h, user, n, target)
        learn_from_shown(m.impressions, b.work, user, slate, ts_ms, b.scratch.items, b.scores, n, target, weight)
        if is_read(m.session):
            learn_session(m.session, b.reading, history, gap, b.scores, n, target, weight)
        measured.loss[at] = learn(
            m.blend, b.work, history, gap, b.scratch.items, b.signals, b.scores, n, target, weight
        )
        if bought and weight > np.float32(0.0) and len(m.buy.bias) > 0:
            score(m.buy, b.work, history, gap, b.scratch.items, b.signals, n, b.scores)
            learn(m.buy, b.work, history, gap, b.scratch.items, b.signals, b.scores, n, target, np.float32(1.0))
    else:
        measured.rank[at] = 1.0 + n + max(0, candidates - n - 1) / 2.0
    measured.popular_rank[at] = rank_by_count(p, b.scratch, item, int(ALL_TIME), seq, ts_ms, items)
    measured.trending_rank[at] = rank_by_count(p, b.scratch, item, int(H40), seq, ts_ms, items)


@kernel
def _rank_shown(b: Bench, v: Interest, h: Histories, user: int, n: int, target: int) -> float:
    """Return the place of a shortlisted item on the list that the user would be shown, by its score where it is not."""
    held = arrange(b.arrangement, b.scratch, v, b.scores, n, occasion_of(user, h.events[user]))
    place = place_of(target, b.arrangement.order, held)
    return place + 1.0 if place >= 0 else max(held + 1.0, rank_of(b.scores, n, target))


@inlined
def make_list(
    m: Model, b: Bench, user: int, ts_ms: int, seq: int, exclude: bool, effort: int, lists: Lists, row: int
) -> int:
    """Write the user's list, as of event `seq`, into row `row` of `lists`; return how many items it was chosen from.

    Ties go to the item seen first. Leaves in `b` what another list of the same user may be made from.
    """
    h = m.histories
    now_ms = ts_ms + SERVING_GAP_MS
    events = h.events[user]
    gap = gap_context(events, now_ms - h.last_ms[user])
    n = rank(m, b, user, now_ms, seq, history_context(events), gap, exclude, effort)
    write_list(m, b, user, n, now_ms, seq, lists, row)
    return int(n)


@inlined
def make_buy_list(m: Model, b: Bench, user: int, n: int, ts_ms: int, seq: int, buys: Lists, row: int) -> None:
    """Write the list of what is worth most as something the user will buy, right after `make_list` returned `n`."""
    h = m.histories
    now_ms = ts_ms + SERVING_GAP_MS
    events = h.events[user]
    gap = gap_context(events, now_ms - h.last_ms[user])
    score_to_buy(m, b, user, n, history_context(events), gap, now_ms)
    held = begin_list(b, m.interest, h, user, n, seq, buys, row)
    for at in range(held):
        write_buy_place(m, b, user, b.arrangement.order[at], now_ms, buys, row, at)
        arranged(b.arrangement, at, buys.score, buys.contribution, buys.evidence, buys.propensity, row)


@inlined
def write_list(m: Model, b: Bench, user: int, n: int, now_ms: int, seq: int, lists: Lists, row: int) -> None:
    """Write the best of the `n` items that were scored, and why, into row `row` of `lists`."""
    held = begin_list(b, m.interest, m.histories, user, n, seq, lists, row)
    for at in range(held):
        place = b.arrangement.order[at]
        write_place(m, b, m.blend, user, place, now_ms, lists, row, at)
        arranged(b.arrangement, at, lists.score, lists.contribution, lists.evidence, lists.propensity, row)


@kernel
def begin_list(b: Bench, v: Interest, h: Histories, user: int, n: int, seq: int, lists: Lists, row: int) -> int:
    """Arrange the best of the `n` items that were scored; return how many a list of row `row` holds."""
    lists.seq[row] = seq
    held = arrange(b.arrangement, b.scratch, v, b.scores, n, occasion_of(user, h.events[user]))
    lists.item[row, held:] = -1
    return held


@kernel
def write_place(
    m: Model, b: Bench, by: Blend, user: int, place: int, now_ms: int, lists: Lists, row: int, at: int
) -> None:
    """Write the item at a place of the shortlist, scored with the blend `by`, and why, into place `at` of a list."""
    s = b.scratch
    item = s.items[place]
    lists.item[row, at] = item
    lists.score[row, at] = b.scores[place]
    pushed, sank = pushed_down(m.dismissals, user, item, now_ms), sunk(m.impressions, user, item, now_ms)
    asked = lifted(m.content, s.liking, item)
    explain(by, b.work, b.signals, place, b.scores[place] + pushed + sank - asked, lists.contribution[row, at])
    lists.contribution[row, at, DISMISSED] = -pushed
    lists.contribution[row, at, IGNORED] = -sank
    lists.contribution[row, at, ASKED] = asked
    if is_read(m.session):
        lists.contribution[row, at, POPULAR] -= b.reading.said[1, place]
        lists.contribution[row, at, TASTE] += b.reading.said[1, place]
    evidence, via = lists.evidence[row, at], place_of_largest(s, item)
    evidence[:] = -1
    evidence[YOURS] = evidence[DISMISSED] = evidence[IGNORED] = item
    if via >= 0 and not m.limbo.item[m.histories.item[user, via]]:
        evidence[TOGETHER] = m.histories.item[user, via]
    evidence[SAYS] = says_most(m.content, m.histories, user, item, m.limbo.item)
    evidence[TASTE] = speaks_most(m.interest, m.histories, user, item, m.limbo.item, s.pooled)


@kernel
def write_buy_place(m: Model, b: Bench, user: int, place: int, now_ms: int, buys: Lists, row: int, at: int) -> None:
    """Do the same on a list of things to buy: a part of the score is the price's."""
    write_place(m, b, m.buy, user, place, now_ms, buys, row, at)
    priced = price_part(m.prices, buys.item[row, at])
    buys.contribution[row, at, POPULAR] -= priced
    buys.contribution[row, at, PRICE] = priced
