"""The catalogue in the state: read again and again from its beginning, taken in once, at a place of its own."""

from __future__ import annotations

from logs import chunk_of, random_log, simulated

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.step import Step
from millstream.schemas.columns import catalogue_chunk
from millstream.schemas.records import Item

SMALL = LearningConfig(max_users=64, max_items=64, neighbours_per_item=16)
ITEMS = [Item(item_id=f"i{number}", categories=[f"c{number % 5}"]) for number in range(20)]
LOG = chunk_of(random_log(200, users=20, items=30, seed=3))


def learned(*catalogues: tuple[int, list[Item]]) -> Step:
    """A step that has taken in these stretches of the catalogue, each from its offset on, and then the log."""
    step = Step(SMALL)
    for start, items in catalogues:
        step.apply(catalogue_chunk(items, start=start))
    step.apply(LOG, lists=False)
    return step


def test_where_the_catalogue_is_cut_and_what_is_read_again_changes_nothing() -> None:
    """In one piece, in two, with the first half twice, with a stretch across the position: one state."""
    whole = learned((0, ITEMS)).state_hash()
    assert learned((0, ITEMS[:7]), (7, ITEMS[7:])).state_hash() == whole
    assert learned((0, ITEMS[:7]), (0, ITEMS[:7]), (7, ITEMS[7:])).state_hash() == whole
    assert learned((0, ITEMS[:7]), (0, ITEMS)).state_hash() == whole
    assert learned().state_hash() != whole


def test_what_was_compacted_away_leaves_no_gap() -> None:
    """A catalogue that begins later than the position, because older entries were replaced, is taken in."""
    step = learned((0, ITEMS[:7]))
    applied = step.apply(catalogue_chunk(ITEMS[12:], start=12))
    assert (applied.start, applied.end, applied.events) == (12, 20, 0)
    assert step.catalogue == {("items", 0): 20}


def test_a_loaded_state_knows_how_far_the_catalogue_was_read() -> None:
    """So a start that reads it from the beginning takes nothing in twice, and changes nothing after events."""
    step = learned((0, ITEMS))
    again = Step.load(SMALL, step.dump())
    assert again.catalogue == step.catalogue
    again.apply(catalogue_chunk([Item(item_id="i0", categories=["another"]), *ITEMS[1:]]))
    assert again.state_hash() == step.state_hash()


def test_a_removed_item_has_no_categories() -> None:
    """A tombstone is an item of which nothing is known."""
    step = learned((0, ITEMS))
    step.apply(catalogue_chunk([Item(item_id="i3", available=False)], start=20))
    assert not step.model.categories.of[step.items.row("i3")].any()


def test_a_catalogue_that_comes_late_does_not_overturn_the_lists() -> None:
    """What it says counts for little until the blend has learned what it is worth."""
    step = Step(LearningConfig(max_users=400, max_items=400))
    step.apply(chunk_of(simulated(3_000)), lists=False)
    users = [user for user in step.users.ids if user][:40]
    before = {slate.user_id: [item.item_id for item in slate.items[:10]] for slate in step.relist(users).slates(0)}
    known = [item for item in step.items.ids if item]
    step.apply(catalogue_chunk(Item(item_id=item, categories=[f"c{hash_of(item) % 7}"]) for item in known))
    slates = step.relist(users).slates(0)
    kept = [len(set(before[slate.user_id]) & {item.item_id for item in slate.items[:10]}) for slate in slates]
    assert sum(kept) / len(kept) > 7


def hash_of(item: str) -> int:
    return sum(map(ord, item))
