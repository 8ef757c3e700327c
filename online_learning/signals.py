"""All signals of a user and the items of a shortlist, part by part: the one place that knows what the blend sees.

A new idea is a part of its own file (`SIGNALS` and a `describe_…` kernel), one line in `PARTS` and one call here. The
rows of the matrix are signals and its columns items, so that logarithms, scores and gradients run over whole vectors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import categories, content, interest, neighbours, occasion, own_past, popularity, together, trend
from .categories import Categories, describe_categories
from .compiled import inlined
from .content import Content, describe_content
from .covisitation import Covisitation
from .histories import Histories
from .interest import Interest, describe_interest
from .logarithm import logarithm
from .neighbours import describe_neighbours
from .occasion import Occasion, describe_occasion
from .own_past import describe_own_past
from .popularity import Popularity, describe_popularity
from .scratch import Scratch
from .signal import PLAIN, Signal
from .together import describe_together
from .trend import describe_trend

PARTS: dict[str, tuple[Signal, ...]] = {
    "popularity": popularity.SIGNALS,
    "trend": trend.SIGNALS,
    "occasion": occasion.SIGNALS,
    "together": together.SIGNALS,
    "neighbours": neighbours.SIGNALS,
    "categories": categories.SIGNALS,
    "own_past": own_past.SIGNALS,
    "interest": interest.SIGNALS,
    "content": content.SIGNALS,
}
"""The signals by part, in the order of the rows."""
ALL = tuple(signal for part in PARTS.values() for signal in part)
NAMES = tuple(signal.name for signal in ALL)
SIGNALS = len(ALL)
GROUP_OF = np.array([signal.group for signal in ALL], np.int64)
_POPULARITY = 0
_TREND = _POPULARITY + len(popularity.SIGNALS)
_OCCASION = _TREND + len(trend.SIGNALS)
_TOGETHER = _OCCASION + len(occasion.SIGNALS)
_NEIGHBOURS = _TOGETHER + len(together.SIGNALS)
_CATEGORIES = _NEIGHBOURS + len(neighbours.SIGNALS)
_OWN_PAST = _CATEGORIES + len(categories.SIGNALS)
_INTEREST = _OWN_PAST + len(own_past.SIGNALS)
_CONTENT = _INTEREST + len(interest.SIGNALS)


def scales(off: frozenset[str] = frozenset()) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return each signal's scale, 0 for the parts that are `off`, and whether it is a logarithm; shape (SIGNALS,).

    Raises `ValueError` for a part that does not exist.
    """
    if odd := sorted(off.difference(PARTS)):
        raise ValueError(f"no part {', '.join(odd)}; the parts are {', '.join(PARTS)}")
    on = np.array([name not in off for name, part in PARTS.items() for _ in part])
    logarithmic = np.array([signal.scale != PLAIN for signal in ALL])
    scale = np.array([signal.scale if signal.scale != PLAIN else 1.0 for signal in ALL])
    return (scale * on).astype(np.float32), logarithmic


@inlined
def describe(
    s: Scratch,
    n: int,
    own: int,
    h: Histories,
    p: Popularity,
    o: Occasion,
    c: Covisitation,
    g: Categories,
    v: Interest,
    t: Content,
    user: int,
    gap_class: int,
    now_ms: int,
    seq: int,
    scale: NDArray[np.float32],
    logarithmic: NDArray[np.bool_],
    out: NDArray[np.float32],
) -> None:
    """Write the signals of the first `n` shortlisted items into `out`, shape (SIGNALS, CAP).

    They begin with the user's own of the `own` newest places of the history, in its order.
    """
    describe_popularity(p, s.items, n, s.per_event, out, _POPULARITY)
    describe_trend(p, s.items, n, now_ms, seq, out, _TREND)
    describe_occasion(o, s.items, n, h.events[user], gap_class, now_ms, out, _OCCASION)
    describe_together(s, c, n, seq, out, _TOGETHER)
    describe_neighbours(s, n, out, _NEIGHBOURS)
    describe_categories(s, g, h, n, user, seq, out, _CATEGORIES)
    describe_own_past(h, s.items, user, own, n, now_ms, out, _OWN_PAST)
    describe_interest(v, s.items, n, s.pooled, out, _INTEREST)
    describe_content(t, p, s.items, n, s.liking, out, _CONTENT)
    for k in range(SIGNALS):
        row, by = out[k], scale[k]
        if logarithmic[k]:
            for at in range(n):
                row[at] = by * logarithm(row[at])
        else:
            for at in range(n):
                row[at] = by * row[at]
