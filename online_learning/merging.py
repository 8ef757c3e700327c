"""Merging two users: what an anonymous visitor did becomes a part of the account that they signed in to.

An `alias` event names both. Every worker has both histories, so the event itself merges them, between the events before
and after it in the recorded order; nothing has to be sent from one worker to another. What the visitor did already
counted for others when they did it, and does not count again. Afterwards their row is as that of somebody new, so that
a second alias adds nothing twice, and who goes on under the old id begins anew.
"""

from __future__ import annotations

import numpy as np

from .bought import PLACES as BOUGHT
from .bought import Bought, buy
from .compiled import entry, kernel
from .consumed import Consumed, consume, has_consumed, held
from .dismissals import DISMISS, HIDE, Dismissals, put_away
from .dismissals import PLACES as PUT_AWAY
from .histories import Histories, adopt, chosen_since
from .impressions import adopt_shown
from .influence import Influence
from .prompts import take_surface
from .ranking import Model
from .ratings import MEMORY, Ratings
from .said import adopt_words
from .slab import UNIT


@entry
def merge(m: Model, old: int, user: int, exclude: bool) -> None:
    """Add what is remembered of the user `old` to what is remembered of `user`. The row of `old` is to be cleared."""
    h = m.histories
    adopt_shown(m.impressions, h, old, user)
    adopt_words(m.said, h, old, user)
    _merge_histories(h, old, user)
    if exclude:
        _merge_consumed(m.consumed, old, user)
    _merge_dismissals(m.dismissals, h, old, user)
    _merge_bought(m.bought, old, user)
    _merge_ratings(m.ratings, old, user)
    _merge_influence(m.influence, old, user)
    take_surface(m.interest.prompts, old, user)


@kernel
def _merge_histories(h: Histories, old: int, user: int) -> None:
    """Oldest first, so that each item finds those after it in place."""
    for at in range(h.held[old] - 1, -1, -1):
        adopt(h, old, at, user)
    if h.held[old] > 0:
        h.last_ms[user] = max(h.last_ms[user], h.last_ms[old])
    h.events[user] += h.events[old]
    h.dirty[user] = 1


@kernel
def _merge_consumed(c: Consumed, old: int, user: int) -> None:
    n = held(c, old)
    oldest = c.chosen[old] % n if c.chosen[old] > n else 0
    for k in range(n):
        at = (oldest + k) % n
        item = c.item[c.start[old] + at // UNIT, at % UNIT]
        if not has_consumed(c, user, item):
            consume(c, user, item)


@kernel
def _merge_dismissals(d: Dismissals, h: Histories, old: int, user: int) -> None:
    for k in range(PUT_AWAY):
        at = (d.times[old] + k) % PUT_AWAY
        if d.item[old, at] != 0:
            item, ts_ms = abs(d.item[old, at]) - 1, int(np.int64(d.second[old, at]) * 1000)
            if not chosen_since(h, user, item, ts_ms):
                put_away(d, user, item, ts_ms, int(HIDE) if d.item[old, at] < 0 else int(DISMISS))


@kernel
def _merge_bought(b: Bought, old: int, user: int) -> None:
    if len(b.times) > 0:
        for k in range(BOUGHT):
            at = (b.times[old] + k) % BOUGHT
            if b.item[old, at] > 0:
                buy(b, user, b.item[old, at] - 1, int(np.int64(b.second[old, at]) * 1000))


@kernel
def _merge_ratings(r: Ratings, old: int, user: int) -> None:
    both = r.rated[old] + r.rated[user]
    if both > 0:
        share = np.float32(r.rated[old]) / np.float32(both)
        r.mean[user] += (r.mean[old] - r.mean[user]) * share
        r.rated[user] = min(MEMORY, both)
        r.dirty[user] = 1


@kernel
def _merge_influence(f: Influence, old: int, user: int) -> None:
    """What either has given is given."""
    f.until_s[user] = max(f.until_s[user], f.until_s[old])
    f.dirty[user] = 1
