"""Content: what items say, in the state and in the lists, beside the same in plain numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from contents import ids_of, tell, vectors_of
from logs import chunk_of, columns_of, random_log
from numpy.typing import NDArray

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.content import FEW, FRESH, PLACES, like, likeness, liking
from millstream.online_learning.popularity import EVENTS
from millstream.online_learning.step import Step
from millstream.online_learning.why import why
from millstream.schemas.columns import InteractionColumns, catalogue_chunk
from millstream.schemas.item_vectors import CONTENT
from millstream.schemas.records import Item

CONFIG = LearningConfig(max_users=200, max_items=300, first_trained=0)
USERS, ITEMS = 40, 30


@pytest.fixture
def log() -> InteractionColumns:
    return random_log(600, users=USERS, items=ITEMS, seed=4)


def held_vectors(step: Step) -> NDArray[np.float64]:
    c = step.model.content
    return c.coded[: len(step.items)].astype(np.float64) * c.scale[: len(step.items), None]


def test_what_a_user_likes_is_the_faded_sum_of_what_they_chose_less_the_mean(log: InteractionColumns) -> None:
    """The kernels' integers come to numpy's cosines; so does the newest item alone."""
    step = Step(CONFIG)
    tell(step, ids_of(ITEMS), vectors_of(np.arange(ITEMS) % 4))
    step.apply(chunk_of(log), lists=False)
    c, h, w = step.model.content, step.model.histories, liking()
    vectors = held_vectors(step)
    apart = vectors - vectors.mean(axis=0)
    for user in range(0, USERS, 5):
        assert like(c, h, np.int32(user), w)
        history = h.item[user, : min(PLACES, int(h.held[user]))]
        for at, wanted in enumerate(((0.9 ** np.arange(len(history))) @ apart[history], apart[history[0]])):
            expected = apart @ wanted / np.linalg.norm(wanted)
            found = [likeness(c, np.int32(item), w, at) for item in range(ITEMS)]
            np.testing.assert_allclose(found, expected, atol=2e-3)


def test_who_chose_nothing_that_says_anything_likes_nothing(log: InteractionColumns) -> None:
    """Neither a user without a history, nor one whose items have no content."""
    step = Step(CONFIG)
    step.apply(chunk_of(log), lists=False)
    assert not like(step.model.content, step.model.histories, np.int32(0), liking())
    tell(step, ["elsewhere"], vectors_of(np.zeros(1, np.int64)))
    for user in (0, step.users.capacity):
        assert not like(step.model.content, step.model.histories, np.int32(user), liking())


def test_the_fresh_are_those_with_content_and_few_events(log: InteractionColumns) -> None:
    """Kept as events come, as content comes and goes, and as items are told of again."""
    step = Step(CONFIG)
    tell(step, ids_of(ITEMS + 20), vectors_of(np.arange(ITEMS + 20) % 4))
    for first in range(0, len(log), 50):
        step.apply(chunk_of(log.cut(first, first + 50)), lists=False)
        assert_in_order(step)
    tell(step, ids_of(3), vectors_of(np.arange(3)), start=100)
    tell(step, ids_of(3), np.zeros((3, CONTENT), np.float32), start=200)
    assert not step.model.content.scale[:3].any()
    assert_in_order(step)


def assert_in_order(step: Step) -> None:
    c, events = step.model.content, step.model.popularity.facts[:, EVENTS]
    has = c.scale > 0
    fresh = c.fresh[: c.held[0]].tolist()
    assert sorted(fresh) == np.flatnonzero(has & (events <= FEW)).tolist()
    assert c.unchosen[0] == np.count_nonzero(has & (events == 0))
    assert c.items[0] == np.count_nonzero(has)
    np.testing.assert_allclose(c.total, held_vectors(step).sum(axis=0), atol=1e-9)


def test_of_more_fresh_items_than_are_looked_through_the_oldest_leave() -> None:
    """The others stay, in the order in which they came."""
    step = Step(replace(CONFIG, max_items=FRESH + 10))
    count = FRESH + 3
    tell(step, ids_of(count), vectors_of(np.arange(count) % 4))
    c = step.model.content
    assert c.held[0] == FRESH
    assert c.fresh.tolist() == list(range(3, count))
    assert c.unchosen[0] == count


def test_an_item_nobody_has_chosen_is_recommended_to_who_likes_its_kind(log: InteractionColumns) -> None:
    """After clicks within one group, a new item of it comes before one of another; it says why, and sums up."""
    groups = np.arange(ITEMS + 2) % 2
    vectors = vectors_of(groups)
    step = Step(replace(CONFIG, exclude_consumed=True))
    tell(step, ids_of(ITEMS), vectors[:ITEMS])
    rng = np.random.default_rng(2)
    rows = [(f"u{n % 20}", f"i{2 * rng.integers(0, ITEMS // 2) + n % 2}") for n in range(1_000)]
    columns = columns_of([user for user, _ in rows], [item for _, item in rows])
    step.apply(chunk_of(columns), lists=False)
    step.apply(catalogue_chunk([Item(item_id="new even"), Item(item_id="new odd")]))
    tell(step, ["new even", "new odd"], vectors[ITEMS:], start=500)
    (even,), (odd,) = (
        [slate for slate in step.relist([user]).slates(0) if slate.list == "main"] for user in ("u0", "u1")
    )
    assert "new even" in [item.item_id for item in even.items]
    assert "new odd" in [item.item_id for item in odd.items]
    (found,) = [item for item in even.items if item.item_id == "new even"]
    assert sum(reason.contribution for reason in found.reasons) == pytest.approx(found.score, rel=1e-4)
    (said,) = [reason for reason in found.reasons if reason.signal == "content"]
    assert said.contribution > 0
    assert int(said.evidence.removeprefix("i")) % 2 == 0
    assert why(step, "u0", "new even", "main").kept_off == []
    places = {new: why(step, "u0", new, "main").place for new in ("new even", "new odd")}
    assert places["new even"] < places["new odd"]


def test_a_withdrawn_item_is_on_no_list_however_fresh() -> None:
    """Nor is one whose content has gone."""
    step = Step(CONFIG)
    vectors = vectors_of(np.zeros(12, np.int64))
    tell(step, ids_of(12), vectors)
    step.apply(chunk_of(columns_of(["u"] * 4, ids_of(4))), lists=False)

    def listed() -> set[str]:
        return {item.item_id for slate in step.relist(["u"]).slates(0) for item in slate.items}

    assert {"i8", "i9"} <= listed()
    step.apply(catalogue_chunk([Item(item_id="i8", available=False)]))
    tell(step, ["i9"], np.zeros((1, CONTENT), np.float32), start=50)
    assert listed().isdisjoint({"i8", "i9"})
    assert "i10" in listed()


def test_the_same_records_give_the_same_state_however_they_are_cut(log: InteractionColumns) -> None:
    """Vectors between the same two events: the same hash, the same lists; read once more, nothing changes."""

    def run(cuts: list[int]) -> Step:
        step = Step(CONFIG)
        step.apply(chunk_of(log.cut(0, 300)), lists=False)
        vectors = vectors_of(np.arange(ITEMS + 20) % 4)
        for first, last in zip([0, *cuts], [*cuts, len(vectors)], strict=True):
            tell(step, ids_of(ITEMS + 20)[first:last], vectors[first:last], start=first)
        step.apply(chunk_of(log.cut(300, 600)), lists=False)
        return step

    one, other = run([]), run([7, 8, 30])
    assert one.state_hash() == other.state_hash()
    tell(other, ids_of(5), np.zeros((5, CONTENT), np.float32))
    assert one.state_hash() == other.state_hash()
    users = sorted(set(log.user_ids))
    assert one.relist(users).slates(0) == other.relist(users).slates(0)
    loaded = Step.load(CONFIG, one.dump())
    assert loaded.relist(users).slates(0) == one.relist(users).slates(0)
