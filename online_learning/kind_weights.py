"""Kinds of events: how much each adds where choices are counted and learned from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from millstream.schemas.columns import InteractionColumns
from millstream.schemas.records import Kind

from .config import LearningConfig


def kind_weights(config: LearningConfig) -> NDArray[np.float32]:
    """Return the weight of an event by kind, shape (kinds,); 0 for kinds that choose nothing."""
    weights = np.zeros(len(Kind), np.float32)
    weights[Kind.click] = config.click_weight
    weights[Kind.add_to_cart] = config.add_to_cart_weight
    weights[Kind.purchase] = config.purchase_weight
    weights[Kind.like] = config.like_weight
    weights[Kind.rating] = config.rating_weight
    return weights


def ratings_of(columns: InteractionColumns) -> NDArray[np.float64]:
    """Return the value of each rating, NaN where it has none and for other kinds, shape (n,)."""
    return np.where(columns.kinds == Kind.rating, columns.values, np.nan)
