"""Late events: what comes after a newer event of its user, against the rule in docs/operations.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import SMALL, START_MS, chunk_of, columns_of, random_log

from millstream.online_learning.histories import MOST_LATE_MS
from millstream.online_learning.influence import OWED_UNIT
from millstream.online_learning.popularity import EVENTS
from millstream.online_learning.step import NOBODY, Step
from millstream.schemas.records import Kind

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SHORT = replace(SMALL, history_length=4)


def after(*events: tuple[str, int, Kind], config: object = SMALL) -> Step:
    """A step after one user's events: item, hours from the start, kind."""
    step = Step(config)  # type: ignore[arg-type]  # a setting is a setting
    items, hours, kinds = zip(*events, strict=True)
    columns = columns_of(["u"] * len(items), items, ts_ms=[START_MS + hour * HOUR_MS for hour in hours], kinds=kinds)
    step.apply(chunk_of(columns))
    return step


def clicks(*events: tuple[str, int], config: object = SMALL) -> Step:
    return after(*((item, hour, Kind.click) for item, hour in events), config=config)


def history(step: Step) -> list[tuple[str, int, int]]:
    """The user's items, newest first: item, hours from the start, times chosen."""
    h = step.model.histories
    n = int(h.held[0])
    return [
        (str(step.items.ids[item]), (int(second) * 1_000 - START_MS) // HOUR_MS, int(times))
        for item, second, times in zip(h.item[0, :n], h.second[0, :n], h.times[0, :n], strict=True)
    ]


def on_list(step: Step, user: str = "u") -> list[str]:
    return [item.item_id for item in step.relist([user]).slates(0)[0].items]


def test_a_late_choice_takes_the_place_of_its_own_time() -> None:
    """Behind what was chosen later, before what was chosen earlier; the newest stays the newest."""
    step = clicks(("a", 10), ("b", 20), ("late", 15), ("oldest", 1))
    assert history(step) == [("b", 20, 1), ("late", 15, 1), ("a", 10, 1), ("oldest", 1, 1)]
    assert step.model.histories.last_ms[0] == START_MS + 20 * HOUR_MS
    assert step.model.histories.events[0] == 4


def test_a_late_choice_of_an_item_chosen_since_leaves_it_there() -> None:
    """It counts as one choice more; an item chosen before moves up to where it belongs."""
    assert history(clicks(("a", 10), ("b", 20), ("b", 5), ("a", 15))) == [("b", 20, 2), ("a", 15, 2)]


def test_where_the_history_is_full_of_what_is_newer_a_late_choice_is_not_in_it() -> None:
    """It is counted all the same; one that fits pushes the oldest out."""
    items = [("a", 10), ("b", 20), ("c", 30), ("d", 40)]
    step = clicks(*items, ("old", 1), config=SHORT)
    assert [item for item, *_ in history(step)] == ["d", "c", "b", "a"]
    assert step.model.popularity.facts[step.items.row("old"), EVENTS] == 1
    assert [item for item, *_ in history(clicks(*items, ("mid", 25), config=SHORT))] == ["d", "c", "mid", "b"]


def test_the_first_event_of_a_user_is_never_late() -> None:
    """Nor is one before the epoch, where times are below the 0 of a history that is empty."""
    step = Step(SMALL)
    step.apply(chunk_of(columns_of(["u", "u"], ["a", "b"], ts_ms=[-5_000, -3_000])))
    h = step.model.histories
    assert (h.held[0], h.item[0, :2].tolist(), h.last_ms[0]) == (2, [1, 0], -3_000)


times = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 600)), min_size=1, max_size=40)


@settings(deadline=None, max_examples=60)
@given(log=times)
def test_in_whatever_order_events_come_a_history_is_by_time(log: list[tuple[int, int]]) -> None:
    """Each item stands at its latest time, newest first: as if the events had come in order, while none falls off."""
    step = clicks(*((f"i{item}", hour) for item, hour in log))
    latest: dict[str, int] = {}
    count: dict[str, int] = {}
    for item, hour in log:
        latest[f"i{item}"] = max(hour, latest.get(f"i{item}", hour))
        count[f"i{item}"] = count.get(f"i{item}", 0) + 1
    found = history(step)
    assert {item: (hour, times) for item, hour, times in found} == {
        item: (hour, count[item]) for item, hour in latest.items()
    }
    assert [hour for _, hour, _ in found] == sorted(latest.values(), reverse=True)


def test_lists_are_made_for_the_users_present() -> None:
    """After a late event the list is of the user's newest time: a day-old click makes no look a day ago."""
    step = Step(SMALL)
    step.apply(chunk_of(random_log(300, users=8, items=20, seed=2)), lists=False)
    now_ms = int(step.model.histories.last_ms[0])
    late = replace(
        columns_of([str(step.users.ids[0])], [str(step.items.ids[5])], ts_ms=[now_ms - 20 * HOUR_MS], offsets=[300]),
        as_of_ms=np.array([now_ms]),
    )
    (made,) = step.apply(chunk_of(late)).slates(0)
    (looked,) = step.relist([made.user_id]).slates(0)
    assert (made.items, made.as_of_ms) == (looked.items, now_ms)


def test_a_late_choice_does_not_bring_back_what_was_hidden_after_it() -> None:
    """The hide came later, if not by arrival; a choice after it does bring it back."""
    base = [("a", 1, Kind.click), ("b", 2, Kind.click), ("a", 10, Kind.hide)]
    assert "a" not in on_list(after(*base, ("c", 11, Kind.click)))
    assert "a" not in on_list(after(*base, ("c", 11, Kind.click), ("a", 5, Kind.click)))
    assert "a" in on_list(after(*base, ("c", 11, Kind.click), ("a", 12, Kind.click)))


def test_a_late_hide_of_what_was_chosen_since_hides_nothing() -> None:
    """Nor does a late dismissal make less of a hide."""
    base = [("a", 1, Kind.click), ("b", 2, Kind.click)]
    assert "a" in on_list(after(*base, ("a", 10, Kind.click), ("a", 5, Kind.hide)))
    assert "a" not in on_list(after(*base, ("a", 10, Kind.hide), ("a", 5, Kind.dismiss)))


def test_late_repeats_are_within_the_budget() -> None:
    """A clock that is set back by some days buys nobody influence, and what is owed is owed as of the newest."""
    config = replace(SMALL, shared_repeats=4, shared_repeat_s=3_600)
    step = clicks(*(("a", 1_000 - hour) for hour in range(12)), config=config)
    assert step.model.popularity.facts[0, EVENTS] == 4
    h = step.model.histories
    assert h.owed[0, 0] * OWED_UNIT == pytest.approx(4, abs=0.01)
    inserted = clicks(("a", 100), ("b", 90), config=config).model.histories
    assert inserted.owed[0, 1] * OWED_UNIT == pytest.approx(1 + 10, abs=0.01)  # one hour is owed as of ten hours later


def test_beyond_thirty_days_a_clock_has_jumped() -> None:
    """What comes then is taken as it comes, and the user's time goes on from there."""
    hours = MOST_LATE_MS // HOUR_MS
    assert [item for item, *_ in history(clicks(("a", hours), ("b", 0)))] == ["a", "b"]
    step = clicks(("a", hours + 1), ("b", 0), ("c", 1))
    assert [item for item, *_ in history(step)] == ["c", "b", "a"]
    assert step.model.histories.last_ms[0] == START_MS + HOUR_MS


def shuffled(hours: Sequence[int]) -> Step:
    log = random_log(600, users=20, items=30, seed=4)
    times = START_MS + np.array(hours) * HOUR_MS
    kinds = np.where(np.arange(600) % 11 == 0, Kind.dismiss, log.kinds).astype(np.int8)
    step = Step(SMALL)
    for first in range(0, 600, 50):
        part = replace(log, ts_ms=times, as_of_ms=times, kinds=kinds).cut(first, first + 50)
        for slate in step.apply(chunk_of(part)).slates(0):
            assert np.isfinite([item.score for item in slate.items]).all()
    return step


@pytest.mark.parametrize("spread_h", [2, 24 * 20, 24 * 400])
def test_times_in_any_order_leave_everything_finite(spread_h: int) -> None:
    """Hours, weeks or a year out of order: no number that is none, and everybody has a list."""
    step = shuffled(np.random.default_rng(1).integers(0, spread_h, 600).tolist())
    for table in step.arena.tables.values():
        for array in table.arrays.values():
            assert not np.issubdtype(array.dtype, np.floating) or np.isfinite(array).all()
    for slate in step.relist([*step.users.ids, NOBODY]).slates(0):
        assert slate.items
        assert np.isfinite([item.score for item in slate.items]).all()
    assert step.seq == 600
