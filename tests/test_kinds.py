"""Kinds of events: what each adds, where it adds it, and what stays a count of events."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from logs import SMALL, chunk_of, columns_of, random_log
from oracles import signals_of

from millstream.online_learning.covisitation import LONG_MASS, NEAR_MASS, NEXT, SESSION_MASS
from millstream.online_learning.evaluation import evaluate
from millstream.online_learning.histories import weight_at
from millstream.online_learning.kinds import TEACHING, kind_weights, ratings_of
from millstream.online_learning.popularity import ALL_TIME, EVENTS, H40, USERS
from millstream.online_learning.step import INTERACTIONS, Step
from millstream.schemas.columns import catalogue_chunk
from millstream.schemas.records import Item, Kind

WEIGHTED = [Kind.click, Kind.add_to_cart, Kind.like, Kind.purchase, Kind.rating]
every_kind = pytest.mark.parametrize("kind", WEIGHTED, ids=lambda kind: kind.name)


def after_a(kind: Kind) -> Step:
    """A step of one user who clicked `a`, in category x, and then did `kind` to `b`, in category y."""
    step = Step(SMALL)
    step.apply(catalogue_chunk([Item(item_id="a", categories=["x"]), Item(item_id="b", categories=["y"])]))
    step.apply(chunk_of(columns_of(["u", "u"], ["a", "b"], kinds=[Kind.click, kind])), lists=False)
    return step


def test_every_kind_that_teaches_weighs_something_and_no_other() -> None:
    """What is bought says more than what is put in the cart, and that more than a click."""
    weights = kind_weights(SMALL)
    assert (weights > 0).tolist() == TEACHING.tolist()
    assert weights[Kind.purchase] > weights[Kind.add_to_cart] > weights[Kind.click] == 1.0


@every_kind
def test_counts_that_fade_edges_and_tastes_add_the_weight(kind: Kind) -> None:
    """Popularity, occasion, co-visitation, category after category and the history's tastes, all in one unit."""
    m, weight = after_a(kind).model, float(kind_weights(SMALL)[kind])
    fading = np.delete(m.popularity.value[1], H40)
    assert fading.tolist() == [weight] * len(fading)
    assert m.occasion.value[1].max() == weight
    assert m.covisitation.mass[0, [LONG_MASS, NEAR_MASS + NEXT]].tolist() == [weight, weight]
    assert m.covisitation.mass[0, SESSION_MASS] == pytest.approx(weight, rel=1e-3)
    assert m.categories.after[0, 1] == m.categories.total[0] == weight
    assert weight_at(m.histories, np.int32(0), 0) == weight


@every_kind
def test_events_stay_counts_of_events(kind: Kind) -> None:
    """How often, by how many users, and the two counts that quality is measured beside."""
    p = after_a(kind).model.popularity
    assert p.facts[1, [EVENTS, USERS]].tolist() == [1, 1]
    assert p.value[1, H40] == 1.0
    assert p.total[ALL_TIME] == 2.0


def test_an_items_weight_in_a_history_is_its_weightiest_choices() -> None:
    """A click after the purchase does not undo it."""
    step = Step(SMALL)
    kinds = [Kind.purchase, Kind.click]
    step.apply(chunk_of(columns_of(["u", "u"], ["a", "a"], kinds=kinds)), lists=False)
    assert weight_at(step.model.histories, np.int32(0), 0) == SMALL.purchase_weight


def test_a_bought_category_makes_more_of_a_taste_than_a_clicked_one() -> None:
    """Of two categories in a history, the bought one has the greater affinity though the clicked one is newer."""
    step = Step(SMALL)
    step.apply(catalogue_chunk(Item(item_id=f"{name}{n}", categories=[name]) for name in "xy" for n in range(2)))
    users, items = ["v", "v", "u", "u"], ["x1", "y1", "x0", "y0"]
    kinds = [Kind.click, Kind.click, Kind.purchase, Kind.click]
    step.apply(chunk_of(columns_of(users, items, kinds=kinds)), lists=False)
    signals = signals_of(step, int(step.users.rows(["u"])[0]), step.last_ms)
    bought, clicked = (signals[int(step.items.rows([item])[0])]["category_affinity"] for item in ("x1", "y1"))
    assert bought > clicked


def test_in_a_log_of_clicks_the_other_kinds_weights_change_nothing() -> None:
    """Every rank is the same, byte for byte."""
    log = random_log(1_000, users=40, items=80, seed=3)
    others = replace(SMALL, add_to_cart_weight=7.0, like_weight=7.0, purchase_weight=7.0, rating_slope=5.0)
    ranks = [evaluate(log, Step(config), topic=INTERACTIONS).rank for config in (SMALL, others)]
    assert ranks[0].tobytes() == ranks[1].tobytes()


def test_only_a_ratings_value_is_a_rating() -> None:
    """The amount of a purchase is none."""
    columns = columns_of(["u"] * 3, ["a"] * 3, kinds=[Kind.purchase, Kind.rating, Kind.rating])
    valued = replace(columns, values=np.array([9.0, 4.0, np.nan]))
    assert ratings_of(valued).tolist() == pytest.approx([np.nan, 4.0, np.nan], nan_ok=True)
