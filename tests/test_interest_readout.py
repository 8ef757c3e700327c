"""Interest vectors read out: they are the ones that lists are ranked by, and near means the model's score."""

from __future__ import annotations

import numpy as np
import pytest
from logs import SMALL, chunk_of, columns_of, random_log

from millstream.online_learning.interest import BLOCK, PLACES, WIDTH
from millstream.online_learning.interest_readout import TABLES, Interests, NoVector
from millstream.online_learning.kernel import SERVING_GAP_MS
from millstream.online_learning.prompts import SURFACES, session_kind
from millstream.online_learning.signals import NAMES
from millstream.online_learning.snapshot import read_snapshot, write_snapshot
from millstream.online_learning.step import Step
from millstream.schemas.columns import catalogue_chunk
from millstream.schemas.records import Item, Kind

EVENTS = 3 * BLOCK + 100
ALL = 1_000
USERS = ["u0", "u7", "u19"]


def learned() -> Step:
    step = Step(SMALL)
    step.apply(chunk_of(random_log(EVENTS, users=20, items=60, seed=3)), lists=False)
    return step


@pytest.fixture(scope="module")
def step() -> Step:
    return learned()


@pytest.fixture(scope="module")
def interests(step: Step, tmp_path_factory: pytest.TempPathFactory) -> Interests:
    """Read through a file, of which only what is needed is read."""
    return Interests(read_snapshot(write_snapshot(step.dump(), tmp_path_factory.mktemp("s"), keep=1), TABLES))


@pytest.mark.parametrize("user", USERS)
def test_a_users_vector_is_the_one_a_list_is_ranked_by(step: Step, interests: Interests, user: str) -> None:
    """Bit by bit: the vector, and the signal of each item on the list."""
    found = interests.user(user, ALL)
    slate = step.relist([user]).slates(0)[0]
    assert (found.kind, found.id, found.seq, found.as_of_ms) == ("user", user, EVENTS, slate.as_of_ms)
    assert np.array_equal(found.vector, step.bench.scratch.pooled.user[0])
    near, signal = dict(found.nearest), step.bench.signals[NAMES.index("interest")]
    shortlist = step.bench.scratch.items.tolist()
    for item in slate.items:
        row = step.items.row(item.item_id)
        assert near[item.item_id] == signal[shortlist.index(row)]


@pytest.mark.parametrize("user", USERS)
def test_the_shares_make_the_vector(step: Step, interests: Interests, user: str) -> None:
    """The pooled items are the newest of the history, and their vectors times their shares sum to the user's."""
    found = interests.user(user, 3)
    h, row = step.model.histories, step.users.row(user)
    newest = h.item[row, : min(PLACES, h.held[row])]
    assert [item for item, _ in found.pooled] == [step.items.ids[each] for each in newest]
    shares = np.array([share for _, share in found.pooled])
    assert shares.sum() == pytest.approx(1)
    session = session_kind(step.last_ms + SERVING_GAP_MS - int(h.last_ms[row]))
    prompt = step.model.interest.prompts.vector[SURFACES + session]
    expected = shares @ step.model.interest.vector[newest] + prompt
    np.testing.assert_allclose(found.vector, expected, rtol=1e-4, atol=1e-6)
    assert found.norm == pytest.approx(np.sqrt(np.sum(found.vector.astype(np.float64) ** 2)))


@pytest.mark.parametrize("item", ["i0", "i5", "i33"])
def test_an_items_vector_is_its_row_and_near_it_is_what_scores(step: Step, interests: Interests, item: str) -> None:
    """Against numpy: `(v' A) v_j` over all items but itself, best first."""
    found = interests.item(item, ALL)
    v, row = step.model.interest, step.items.row(item)
    assert found.vector.shape == (WIDTH,)
    assert np.array_equal(found.vector, v.vector[row])
    assert found.pooled == ((item, 1.0),)
    vectors = v.vector[: len(step.items)].astype(np.float64)
    scores = vectors[row] @ v.matrix @ vectors.T
    expected = [each for each in np.argsort(-scores, kind="stable") if each != row]
    assert [name for name, _ in found.nearest] == [step.items.ids[each] for each in expected]
    np.testing.assert_allclose([score for _, score in found.nearest], scores[expected], rtol=1e-3, atol=1e-5)


def test_an_item_stands_for_whoever_chose_nothing_else() -> None:
    """A newcomer's vector after one click is the item's, and so is what is near it, where the context says nothing."""
    step = learned()
    step.model.interest.prompts.vector[:] = 0.0
    at_ms = step.last_ms + 1_000
    step.apply(chunk_of(columns_of(["newcomer"], ["i5"], ts_ms=[at_ms], offsets=[EVENTS])), lists=False)
    interests = Interests(step.dump())
    user, item = interests.user("newcomer", ALL), interests.item("i5", ALL)
    assert np.array_equal(user.vector, item.vector)
    assert tuple(each for each in user.nearest if each[0] != "i5") == item.nearest


def test_the_nearest_are_cut_and_ties_go_to_the_item_seen_first() -> None:
    """Three items with one vector come in the order they were met."""
    step = Step(SMALL)
    step.apply(chunk_of(columns_of(["u", "u", "u", "w"], ["c", "a", "b", "d"])), lists=False)
    step.model.interest.vector[:3] = 0.1
    step.model.interest.vector[3] = 0.2
    interests = Interests(step.dump())
    assert [item for item, _ in interests.user("w", 3).nearest] == ["d", "c", "a"]
    assert [item for item, _ in interests.item("d", ALL).nearest] == ["c", "a", "b"]


def test_reading_one_vector_changes_no_other(interests: Interests) -> None:
    """The same question gets the same answer, whatever was asked in between; what was given stays."""
    first = interests.user("u7", 5)
    kept = first.vector.copy()
    interests.item("i5", 5)
    again = interests.user("u7", 5)
    assert (first.pooled, first.nearest) == (again.pooled, again.nearest)
    assert np.array_equal(first.vector, kept)
    assert np.array_equal(again.vector, kept)


def test_an_id_that_is_not_known_is_named_with_the_remedy(interests: Interests) -> None:
    """Also that it is known as the other kind."""
    with pytest.raises(NoVector, match="no user 'nobody' among the 20 of the snapshot; check the id"):
        interests.user("nobody", 5)
    with pytest.raises(NoVector, match="no item 'u7' among the 60 of the snapshot, but a user; check the id"):
        interests.item("u7", 5)


def test_without_a_choice_there_is_no_vector() -> None:
    """An impression or the catalogue makes an id known, but no vector; what has none is not near anything."""
    step = Step(SMALL)
    kinds = [Kind.click, Kind.click, Kind.impression]
    step.apply(chunk_of(columns_of(["u", "u", "w"], ["a", "b", "b"], kinds=kinds)), lists=False)
    step.apply(catalogue_chunk([Item(item_id="c", categories=["x"])]))
    interests = Interests(step.dump())
    with pytest.raises(NoVector, match="user 'w' has not chosen anything yet"):
        interests.user("w", 5)
    with pytest.raises(NoVector, match="item 'c' has not been chosen yet"):
        interests.item("c", 5)
    assert {item for item, _ in interests.user("u", ALL).nearest} == {"a", "b"}
