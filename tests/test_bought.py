"""What a user bought is kept off their lists, by kind, for a time or for good; nothing is unless it is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import START_MS, chunk_of, columns_of, random_log

from millstream.online_learning.arena import Arena
from millstream.online_learning.bought import PLACES, Bought, bought, buy, drop_bought, has_bought
from millstream.online_learning.config import LearningConfig
from millstream.online_learning.step import NOBODY, Step
from millstream.online_learning.vocabulary import Vocabulary
from millstream.online_learning.why import why
from millstream.schemas.records import Kind
from millstream.streams.settings import WrongSettings, load_settings

CONFIG = LearningConfig(max_users=64, max_items=64, neighbours_per_item=16, list_length=30)
DAY_S = 24 * 3600
ONCE = replace(CONFIG, kept_off_kinds=("purchase",))
AGAIN = replace(ONCE, kept_off_s=DAY_S)
LOG = random_log(600, users=20, items=30, seed=5)
QUIET = replace(LOG, ts_ms=START_MS + 1_000 * np.arange(600), as_of_ms=START_MS + 1_000 * np.arange(600))


def after(config: LearningConfig, *events: tuple[str, str, Kind, int]) -> Step:
    """A step that has learned the log, then the events, each so many seconds after the one before."""
    step = Step(config)
    step.apply(chunk_of(QUIET), lists=False)
    for offset, (user, item, kind, later_s) in enumerate(events, start=600):
        at = [step.last_ms + 1_000 * later_s]
        columns = columns_of([user], [item], kinds=[kind], ts_ms=at, offsets=[offset])
        step.apply(chunk_of(columns), lists=False)
    return step


def items_of(step: Step, user: str) -> list[str]:
    return [item.item_id for item in step.relist([user]).slates(0)[0].items]


def test_what_was_bought_is_on_the_buyers_lists_no_more() -> None:
    """On others' it stays, and so does on the buyer's what they clicked, carted or liked."""
    first, second = items_of(after(CONFIG), "u1")[:2]
    events = (("u1", first, Kind.purchase, 1), ("u1", second, Kind.like, 1))
    step = after(ONCE, *events)
    assert first not in items_of(step, "u1")
    assert second in items_of(step, "u1")
    assert first in items_of(step, "u2")
    assert first in items_of(step, NOBODY)
    assert why(step, "u1", first, "main").kept_off == ["chosen_before"]
    assert first in items_of(after(CONFIG, *events), "u1")


def test_it_comes_back_after_its_time_and_goes_again_when_bought_again() -> None:
    """Counted from the last time."""
    item = items_of(after(CONFIG), "u1")[0]
    bought = ("u1", item, Kind.purchase, 1)
    other = next(each for each in items_of(after(CONFIG), "u1")[1:] if each != item)
    assert item not in items_of(after(AGAIN, bought, ("u1", other, Kind.click, DAY_S - 100)), "u1")
    assert item in items_of(after(AGAIN, bought, ("u1", other, Kind.click, DAY_S + 1)), "u1")
    twice = (bought, ("u1", other, Kind.click, DAY_S - 100), bought, ("u1", other, Kind.click, 200))
    assert item not in items_of(after(AGAIN, *twice), "u1")


def test_it_is_part_of_the_state_where_it_is_kept() -> None:
    """In snapshots, and nowhere where no kind is kept off."""
    step = after(ONCE, ("u1", "i1", Kind.purchase, 1))
    again = Step.load(ONCE, step.dump())
    assert again.state_hash() == step.state_hash()
    assert items_of(again, "u1") == items_of(step, "u1")
    assert "bought" in step.arena.tables
    assert "bought" not in after(CONFIG).arena.tables
    with pytest.raises(ValueError, match="kept_off_kinds"):
        Step.load(CONFIG, step.dump())


@settings(deadline=None, max_examples=50)
@given(
    events=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 99), st.integers(0, 200)), max_size=200),
    lasts_s=st.sampled_from([0, 50]),
)
def test_it_remembers_the_latest_of_each(events: list[tuple[int, int, int]], lasts_s: int) -> None:
    """As a list of what each user bought, newest place last; late events take no time back."""
    b = bought(Arena(), Vocabulary("users", 3), lasts_s, kept=True)
    model: dict[int, dict[int, int]] = {user: {} for user in range(3)}
    for user, item, second in events:
        held = model[user]
        if item not in held and len(held) == PLACES:
            del held[next(iter(held))]  # the place taken longest ago
        held[item] = max(second, held.get(item, 0))
        buy(b, np.int32(user), np.int32(item), np.int64(second * 1_000))
    now = 150
    for user in range(3):
        kept = {item for item, second in model[user].items() if lasts_s == 0 or now - second < lasts_s}
        assert {item for item in range(100) if _has(b, user, item, now)} == kept
        gone = np.arange(100) % 2 == 0
        drop_bought(b, gone, np.int32(user))
        assert {item for item in range(100) if _has(b, user, item, now)} == {item for item in kept if item % 2}


def _has(b: Bought, user: int, item: int, second: int) -> bool:
    return bool(has_bought(b, np.int32(user), np.int32(item), np.int64(second * 1_000)))


def test_a_kind_that_chooses_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, with those that may be named; a variable holds JSON."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILLSTREAM_LEARNING__KEPT_OFF_KINDS", '["purchase", "order"]')
    with pytest.raises(WrongSettings, match=r"KEPT_OFF_KINDS.*has order, but only click, add_to_cart, purchase"):
        load_settings()
    monkeypatch.setenv("MILLSTREAM_LEARNING__KEPT_OFF_KINDS", '["purchase"]')
    monkeypatch.setenv("MILLSTREAM_LEARNING__KEPT_OFF_S", "3600")
    assert load_settings().learning.kept_off_kinds == ("purchase",)
