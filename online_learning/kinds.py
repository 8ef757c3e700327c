"""Kinds of events: which choose their item, put it away or show it, and how much a choice of each kind adds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from millstream.schemas.columns import Columns, InteractionColumns
from millstream.schemas.mapping import SPOKEN_KINDS
from millstream.schemas.records import Kind

from .config import CHOICES, LearningConfig
from .dismissals import DISMISS, HIDE
from .impressions import SHOWN

TEACHING: NDArray[np.bool_] = np.array([kind.name in CHOICES for kind in Kind])
"""By kind: whether an event is a choice of its item, which the model learns from and is measured on."""
_DEEDS = {Kind.dismiss: DISMISS, Kind.hide: HIDE, Kind.impression: SHOWN}
DEEDS: NDArray[np.int8] = np.array([_DEEDS.get(kind, 0) for kind in Kind], np.int8)
"""By kind: how an event puts its item away for its user, or that it shows it; 0: neither."""
SPEAKING: NDArray[np.bool_] = TEACHING | (DEEDS > 0) | np.isin(np.arange(len(Kind)), (Kind.alias, *SPOKEN_KINDS))
"""By kind: whether an event says something of its user."""
REFRESHING: NDArray[np.bool_] = SPEAKING & (DEEDS != SHOWN)
"""By kind: whether its user's list is made anew for an event. Not for what is shown: a page that shows each new list,
and says so, would go round in circles."""


def kind_weights(config: LearningConfig) -> NDArray[np.float32]:
    """Return the weight of an event by kind, shape (kinds,); 0 for kinds that choose nothing."""
    weights = np.zeros(len(Kind), np.float32)
    weights[Kind.click] = config.click_weight
    weights[Kind.add_to_cart] = config.add_to_cart_weight
    weights[Kind.purchase] = config.purchase_weight
    weights[Kind.like] = config.like_weight
    weights[Kind.rating] = config.rating_weight
    return weights


def kept_off(config: LearningConfig) -> NDArray[np.bool_]:
    """Mark the kinds whose items are kept off the user's lists from then on, shape (kinds,)."""
    return np.array([kind.name in config.kept_off_kinds for kind in Kind])


def ratings_of(columns: InteractionColumns) -> NDArray[np.float64]:
    """Return the value of each rating, NaN where it has none and for other kinds, shape (n,)."""
    return np.where(columns.kinds == Kind.rating, columns.values, np.nan)


def last_of_each_user(columns: Columns) -> NDArray[np.bool_]:
    """Mark each event that changes its user's list and is the last such of its user, shape (n,)."""
    last = np.zeros(len(columns), np.bool_)
    if not isinstance(columns, InteractionColumns):
        return last
    changes = np.flatnonzero(REFRESHING[columns.kinds]).tolist()
    last[list({columns.user_ids[at]: at for at in changes}.values())] = True
    return last
