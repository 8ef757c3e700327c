"""Ranking one user: walk, shortlist, describe, score. Reads the model, changes none of it.

Learning ranks before it learns, lists are the best of a ranking, and benches take it apart.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .adapter import Adapter
from .arranging import Arrangement, arrangement
from .availability import Availability
from .blend import BY_GAP, Blend, Workspace, score, workspace
from .bought import Bought, bar_bought
from .categories import Categories
from .compiled import inlined, kernel
from .config import LearningConfig
from .consumed import Consumed, held
from .content import Content, like
from .covisitation import Covisitation
from .dismissals import Dismissals, bar_hidden, push_down
from .histories import Histories
from .impressions import Impressions, bar_shown, sink
from .influence import Influence
from .interest import Interest, pool
from .limbo import Limbo
from .neighbours import Neighbours, walk_neighbours
from .occasion import Occasion
from .popularity import Popularity
from .prices import Prices, price_part
from .ratings import Ratings
from .recency import Recency
from .said import Said, lift, wish
from .scratch import CAP, Scratch, bar, begin, scratch
from .second_order import walk_second
from .session import Session, is_read
from .session_reading import Reading, add_session, reading
from .shortlist import FULL, MOST_OWN, shortlist
from .signals import SIGNALS, describe, scales
from .slab import UNIT
from .walk import walk


class Model(NamedTuple):
    """All state that learning and ranking read, by part."""

    histories: Histories
    consumed: Consumed
    popularity: Popularity
    occasion: Occasion
    recency: Recency
    covisitation: Covisitation
    neighbours: Neighbours
    categories: Categories
    availability: Availability
    ratings: Ratings
    influence: Influence
    interest: Interest
    adapter: Adapter
    content: Content
    said: Said
    session: Session
    """Without rows where it is not read."""
    dismissals: Dismissals
    bought: Bought
    impressions: Impressions
    blend: Blend
    buy: Blend
    """Learns from purchases alone; without rows where no such list is made."""
    prices: Prices
    """Without rows likewise."""
    limbo: Limbo


class Bench(NamedTuple):
    """Working memory of one thread; holds nothing between two events."""

    scratch: Scratch
    work: Workspace
    scale: NDArray[np.float32]
    logarithmic: NDArray[np.bool_]
    signals: NDArray[np.float32]
    """Shape (SIGNALS, CAP)."""
    scores: NDArray[np.float32]
    """Shape (CAP,)."""
    arrangement: Arrangement
    reading: Reading


def bench(config: LearningConfig, off: frozenset[str] = frozenset()) -> Bench:
    """Reserve the working memory of one thread; the parts that are `off` say nothing."""
    scale, logarithmic = scales(off)
    return Bench(
        scratch=scratch(config),
        work=workspace(),
        scale=scale,
        logarithmic=logarithmic,
        signals=np.zeros((SIGNALS, CAP), np.float32),
        scores=np.zeros(CAP, np.float32),
        arrangement=arrangement(config),
        reading=reading(),
    )


@kernel
def rank(
    m: Model, b: Bench, user: int, now_ms: int, seq: int, history: int, gap: int, exclude: bool, effort: int
) -> int:
    """Shortlist and score for `user` as of `now_ms`, into `b`; return how many. Scoring never creates state."""
    s, h = b.scratch, m.histories
    begin(s)
    walk(s, m.covisitation, h, user, now_ms, seq, effort)
    if effort == FULL:
        walk_second(s, m.covisitation, h, user, seq)
        walk_neighbours(s, m.neighbours, h, user)
    s.held[1] = s.held[0]
    bar_unwanted(m, s, user, now_ms, exclude)
    pool(m.interest, h, user, now_ms, s.pooled)
    like(m.content, h, user, s.liking)
    wish(m.said, m.content, h, user, now_ms, s.liking)
    n = shortlist(
        s, h, m.popularity, m.recency, m.interest, m.content, m.said, m.availability, user, not exclude, effort
    )
    own = 0 if exclude else min(h.held[user], MOST_OWN[effort])
    appraise(m, b, user, n, own, history, gap, now_ms, seq)
    return n


@kernel
def appraise(m: Model, b: Bench, user: int, n: int, own: int, history: int, gap: int, now_ms: int, seq: int) -> None:
    """Describe and score the scratch's first `n` items, after the walks; `own` as `describe_items` has it."""
    describe_items(m, b, user, n, own, gap, now_ms, seq)
    score_items(m, b, user, n, history, gap, now_ms)


@inlined
def bar_unwanted(m: Model, s: Scratch, user: int, now_ms: int, exclude: bool) -> None:
    """Keep off the shortlist what the user hid, bought or was shown and, with `exclude`, what they chose before."""
    if exclude:
        c = m.consumed
        for at in range(held(c, user)):
            bar(s, c.item[c.start[user] + at // UNIT, at % UNIT])
    bar_hidden(m.dismissals, s, user)
    bar_bought(m.bought, s, user, now_ms)
    bar_shown(m.impressions, s, user, now_ms)


@inlined
def describe_items(m: Model, b: Bench, user: int, n: int, own: int, gap: int, now_ms: int, seq: int) -> None:
    """Write the signals of the scratch's first `n` items into `b.signals`, after the walks.

    They begin with the user's own of the `own` newest places of the history, in its order.
    """
    describe(
        b.scratch,
        n,
        own,
        m.histories,
        m.popularity,
        m.occasion,
        m.covisitation,
        m.categories,
        m.interest,
        m.content,
        user,
        gap - BY_GAP,
        now_ms,
        seq,
        b.scale,
        b.logarithmic,
        b.signals,
    )


@inlined
def score_to_buy(m: Model, b: Bench, user: int, n: int, history: int, gap: int, now_ms: int) -> None:
    """Write the scores of the items described as things to buy, weighed by their prices, into `b.scores`.

    After `score_items`: what the session says is the same.
    """
    score(m.buy, b.work, history, gap, b.scratch.items, b.signals, n, b.scores)
    push_down(m.dismissals, user, now_ms, b.scratch.items, n, b.scores)
    sink(m.impressions, user, now_ms, b.scratch.items, n, b.scores)
    lift(m.content, b.scratch.liking, b.scratch.items, n, b.scores)
    for k in range(n):
        b.scores[k] += price_part(m.prices, b.scratch.items[k])
        if is_read(m.session):
            b.scores[k] += b.reading.said[1, k]


@inlined
def score_items(m: Model, b: Bench, user: int, n: int, history: int, gap: int, now_ms: int) -> None:
    """Write the scores of the items described into `b.scores`."""
    score(m.blend, b.work, history, gap, b.scratch.items, b.signals, n, b.scores)
    if is_read(m.session):
        add_session(m.session, m.interest, m.histories, user, history, gap, b.scratch.items, n, b.reading, b.scores)
    push_down(m.dismissals, user, now_ms, b.scratch.items, n, b.scores)
    sink(m.impressions, user, now_ms, b.scratch.items, n, b.scores)
    lift(m.content, b.scratch.liking, b.scratch.items, n, b.scores)
