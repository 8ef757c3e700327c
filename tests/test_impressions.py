"""What a user is shown: what they pass over sinks, what they choose is learned as a choice from a slate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from logs import START_MS, chunk_of, columns_of, random_log
from numpy.typing import NDArray
from pages import LOOKED_AT, Pages

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.impressions import (
    HALF_LIFE_S,
    PLACES,
    SLOTS,
    START,
    WHOLE,
    sunk,
    was_shown,
)
from millstream.online_learning.impressions_learning import JOIN_WITHIN_S
from millstream.online_learning.step import Step
from millstream.online_learning.why import why
from millstream.schemas.columns import InteractionColumns
from millstream.schemas.records import Kind, Slate
from millstream.schemas.slate_places import slate_hash

CONFIG = LearningConfig(max_users=64, max_items=64, neighbours_per_item=16, list_length=30)
SHOP = LearningConfig(max_users=1_000, max_items=1_000)
LOG = random_log(600, users=20, items=30, seed=5)
QUIET = replace(LOG, ts_ms=START_MS + 1_000 * np.arange(600), as_of_ms=START_MS + 1_000 * np.arange(600))


def learned(config: LearningConfig = CONFIG) -> Step:
    step = Step(config)
    step.apply(chunk_of(QUIET), lists=False)
    return step


def happens(
    step: Step,
    user: str,
    items: list[str],
    kind: Kind = Kind.impression,
    *,
    slate: str = "",
    slots: list[int] | None = None,
    later_s: float = 1.0,
) -> None:
    """Let events of a user happen at one moment, in order, on a slate if it is named."""
    n, start = len(items), step.positions["interactions", 0]
    at_ms = [step.last_ms + int(1_000 * later_s)] * n
    columns = columns_of([user] * n, items, kinds=[kind] * n, ts_ms=at_ms, offsets=range(start, start + n))
    places = slots if slots is not None else list(range(n))
    columns = replace(
        columns,
        slates=np.full(n, slate_hash(slate), np.uint32),
        slots=np.array(places if slate else [-1] * n, np.int16),
    )
    step.apply(chunk_of(columns), lists=False)


def shown_list(step: Step, user: str = "u1") -> Slate:
    return step.relist([user]).slates(0)[0]


def ids(slate: Slate) -> list[str]:
    return [item.item_id for item in slate.items]


def taken_by_ignoring(slate: Slate, item_id: str) -> tuple[float, str]:
    item = next(each for each in slate.items if each.item_id == item_id)
    assert sum(reason.contribution for reason in item.reasons) == pytest.approx(item.score, rel=1e-4, abs=1e-4)
    return next(((r.contribution, r.evidence) for r in item.reasons if r.signal == "ignored"), (0.0, ""))


def test_what_is_shown_and_not_chosen_sinks_and_its_reasons_say_so() -> None:
    """For that user alone; the more often, the further; the reasons still sum to the score."""
    step = learned()
    first = ids(shown_list(step))[0]
    lost = [taken_by_ignoring(shown_list(step), first)]
    for slate in ("a", "b", "c"):
        happens(step, "u1", [first], slate=slate)
        lost.append(taken_by_ignoring(shown_list(step), first))
    assert lost[0] == (0.0, "")
    expected = [-float(START) * float(np.log(1 + times)) for times in (1, 2, 3)]
    assert [part for part, _ in lost[1:]] == pytest.approx(expected, rel=1e-3)
    assert {evidence for _, evidence in lost[1:]} == {first}
    assert taken_by_ignoring(shown_list(step, "u2"), first) == (0.0, "")
    assert ids(shown_list(step))[0] != first


def test_the_same_slate_told_twice_counts_once() -> None:
    """A page that reports what it shows again and again."""
    step = learned()
    item = ids(shown_list(step))[0]
    happens(step, "u1", [item], slate="a")
    once = taken_by_ignoring(shown_list(step), item)
    happens(step, "u1", [item], slate="a")
    assert taken_by_ignoring(shown_list(step), item) == pytest.approx(once)


def test_what_was_shown_on_no_slate_of_ours_does_not_sink() -> None:
    """Nor does the item of an event whose kind an Avro reader does not know, which reads as an impression."""
    step = learned()
    item = ids(shown_list(step))[0]
    happens(step, "u1", [item])
    assert taken_by_ignoring(shown_list(step), item) == (0.0, "")


def test_choosing_what_was_shown_takes_it_back() -> None:
    """It was not ignored, then."""
    step = learned()
    item = ids(shown_list(step))[0]
    happens(step, "u1", [item], slate="a")
    happens(step, "u1", [item], Kind.click)
    assert taken_by_ignoring(shown_list(step), item)[0] == 0.0


def test_what_was_ignored_is_forgiven_with_time() -> None:
    """Half of it counts after the half-life; what is left after ten is nothing."""
    step = learned()
    item = ids(shown_list(step))[0]
    happens(step, "u1", [item], slate="a")
    row, user = step.items.row(item), step.users.row("u1")
    assert row is not None
    assert user is not None
    at_ms = [step.last_ms + int(1_000 * HALF_LIFE_S * lives) for lives in (0, 1, 10)]
    lost = [float(sunk(step.model.impressions, user, row, now_ms)) for now_ms in at_ms]
    assert lost == pytest.approx([float(START) * float(np.log(1 + times)) for times in (1, 0.5, 2**-10)], rel=1e-3)


def test_a_place_that_is_hardly_looked_at_hardly_counts_as_ignored() -> None:
    """Once it is known how places are looked at."""
    step = learned()
    step.model.impressions.offset[5] = np.log(0.25)
    one, other = ids(shown_list(step))[:2]
    happens(step, "u1", [one, other], slate="a", slots=[0, 5])
    im, user = step.model.impressions, step.users.row("u1")
    assert user is not None
    units = im.ignored[im.block[user] - 1]
    assert sorted(units[:2].tolist()) == [WHOLE // 4, WHOLE]


def test_the_latest_are_remembered() -> None:
    """One more than there are places: what was shown longest ago gives way."""
    step = learned(replace(CONFIG, max_items=128, shown_kept_off_s=3_600))
    items = [f"x{number}" for number in range(PLACES + 1)]
    for number, item in enumerate(items):
        happens(step, "u1", [item], slate=f"s{number}")
    user = step.users.row("u1")
    assert user is not None
    known = [was_shown(step.model.impressions, user, step.items.row(item), step.last_ms) for item in items]
    assert known == [False] + [True] * PLACES


def test_what_was_shown_lately_is_kept_off_if_the_settings_say_so() -> None:
    """For so long, and `why` says it."""
    step = learned(replace(CONFIG, shown_kept_off_s=600))
    first, second, third = ids(shown_list(step))[:3]
    happens(step, "u1", [first, second], slate="a")
    assert not {first, second} & set(ids(shown_list(step)))
    assert why(step, "u1", first, "main").kept_off == ["shown"]
    assert first in ids(shown_list(step, "u2"))
    happens(step, "u1", [third], Kind.click, later_s=601)
    assert {first, second} <= set(ids(shown_list(step)))


def offsets_after(choices: list[tuple[str, str, float]]) -> NDArray[np.float32]:
    """The offsets learned when u1 is shown three items and chooses: (item's place, slate said, how much later)."""
    step = learned()
    items = ids(shown_list(step))[:3]
    for number, (place, said, later_s) in enumerate(choices):
        happens(step, "u1", items, slate=f"s{number}")
        happens(step, "u1", [items[int(place)]], Kind.click, slate=said, later_s=later_s)
    return step.model.impressions.offset.copy()


def test_a_choice_is_joined_to_the_slate_it_was_made_on() -> None:
    """Within the window, and not where it says that it was made on another."""
    assert (offsets_after([("1", "", JOIN_WITHIN_S)]) != 0).any()
    assert (offsets_after([("1", "s0", 1)]) != 0).any()
    assert (offsets_after([("1", "", JOIN_WITHIN_S + 1)]) == 0).all()
    assert (offsets_after([("1", "elsewhere", 1)]) == 0).all()


def test_the_place_of_a_choice_rises_beside_those_that_were_passed_over() -> None:
    """The first place is what the others are measured by; those of no item shown stay as they are."""
    offset = offsets_after([("1", "", 5.0)])
    assert offset[0] == 0
    assert offset[1] > 0
    assert offset[2] < 0
    assert (offset[3:] == 0).all()


def test_a_choice_elsewhere_teaches_no_place() -> None:
    """The user searched for it: nobody was shown it."""
    step = learned()
    shown = ids(shown_list(step))
    happens(step, "u1", shown[:3], slate="a")
    happens(step, "u1", [shown[7]], Kind.click)
    assert (step.model.impressions.offset == 0).all()
    assert step.model.impressions.learned[0] == 0


def mixed() -> InteractionColumns:
    """The log, in which a third of the events are impressions on some slate."""
    rng = np.random.default_rng(1)
    shown = rng.random(len(QUIET)) < 0.3
    return replace(
        QUIET,
        kinds=np.where(shown, Kind.impression, QUIET.kinds).astype(np.int8),
        slates=rng.integers(0, 3, len(QUIET)).astype(np.uint32),
        slots=rng.integers(-1, SLOTS + 8, len(QUIET)).astype(np.int16),
    )


def test_where_the_log_is_cut_changes_nothing() -> None:
    """Neither the state nor the lists at the end; a snapshot in between neither."""
    whole = Step(CONFIG)
    whole.apply(chunk_of(mixed()), lists=False)
    for at in (1, 7, 250):
        cut = Step(CONFIG)
        for first in range(0, len(QUIET), at):
            part = mixed().cut(first, min(len(QUIET), first + at))
            cut.apply(chunk_of(part), lists=False)
            if first == at:
                cut = Step.load(CONFIG, cut.dump())
        assert cut.state_hash() == whole.state_hash()
        assert shown_list(cut).items == shown_list(whole).items


def test_a_snapshot_from_before_there_were_impressions_goes_on() -> None:
    """It knows of none."""
    dump = learned().dump()
    old = replace(dump, arrays={k: v for k, v in dump.arrays.items() if not k.startswith("impressions")})
    step = Step.load(CONFIG, old)
    assert step.state_hash() == learned().state_hash()
    happens(step, "u1", ids(shown_list(step))[:3], slate="a")


def test_position_bias_is_recovered_from_a_simulated_shop() -> None:
    """How much each place is looked at, by what was chosen on 4,000 pages: ln within .3 of the truth (root mean
    square) and within .6 at each place; and the lists suit their users as well as those of who hears of no page."""
    told, untold = Pages(Step(SHOP)), Pages(Step(SHOP), told=False)
    for pages in (told, untold):
        pages.warm_up(5_000)
        pages.show(4_000)
    error = told.step.model.impressions.offset[1 : len(LOOKED_AT)] - np.log(LOOKED_AT[1:])
    assert np.sqrt(np.mean(error**2)) < 0.3
    assert np.abs(error).max() < 0.6
    assert told.worth() > 0.95 * untold.worth()
