"""Each event counts once: the window of event ids, by itself and at the door of the step."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import SMALL, START_MS, chunk_of, columns_of, random_log

from millstream.online_learning.arena import Arena
from millstream.online_learning.evaluation import evaluate
from millstream.online_learning.event_window import EventWindow
from millstream.online_learning.kinds import last_of_each_user
from millstream.online_learning.step import INTERACTIONS, Step
from millstream.schemas.columns import Chunk, InteractionColumns
from millstream.schemas.records import Kind, Slate

WINDOW = 8
NARROW = replace(SMALL, dedupe_events=WINDOW)
few_ids = st.lists(st.none() | st.integers(0, 14).map(str), max_size=80)


def with_ids(event_ids: Sequence[str | None], seed: int = 5) -> InteractionColumns:
    """Events of few users on few items, a hole before each third offset, under these ids."""
    log = random_log(len(event_ids), users=6, items=9, seed=seed)
    return replace(log, offsets=np.cumsum(1 + (np.arange(len(log)) % 3 == 0)), event_ids=list(event_ids))


def counted(event_ids: Iterable[str | None]) -> list[bool]:
    """Which events count, by the rule's own words: an id among the last WINDOW that counted does not."""
    window: deque[str] = deque(maxlen=WINDOW)
    counts = []
    for event_id in event_ids:
        counts.append(event_id is None or event_id not in window)
        if event_id is not None and counts[-1]:
            window.append(event_id)
    return counts


def pieces(columns: InteractionColumns, cuts: Iterable[int]) -> list[Chunk]:
    whole = chunk_of(columns, start=0)
    return [whole.cut(first, last) for first, last in pairwise([0, *sorted(cuts), len(columns)])]


def final_lists(step: Step, chunks: Iterable[Chunk]) -> dict[str, Slate]:
    return {slate.user_id: slate for chunk in chunks for slate in step.apply(chunk).slates(7)}


@settings(deadline=None, max_examples=60)
@given(event_ids=few_ids, cuts=st.sets(st.integers(1, 79), max_size=12))
def test_a_log_with_duplicates_is_the_log_without_them(event_ids: list[str | None], cuts: set[int]) -> None:
    """However it is cut: the same state hash and lists as where each duplicate is a hole, and it is told which were."""
    if not event_ids:
        return
    columns, counts = with_ids(event_ids), np.array(counted(event_ids))
    chunks = pieces(columns, {cut for cut in cuts if cut < len(columns)})
    step, alone = Step(NARROW), Step(NARROW)
    lists = final_lists(step, chunks)
    kept = columns.taken(np.flatnonzero(counts))
    without = Chunk(INTERACTIONS, 0, 0, int(columns.offsets[-1]) + 1, kept)
    assert final_lists(alone, [without]) == lists
    assert (step.state_hash(), step.seq) == (alone.state_hash(), int(counts.sum()))
    assert (step.duplicates, alone.duplicates) == (int((~counts).sum()), 0)


@settings(deadline=None, max_examples=30)
@given(event_ids=few_ids, at=st.integers(0, 80))
def test_a_loaded_window_goes_on_as_the_dumped_one(event_ids: list[str | None], at: int) -> None:
    """Dump and load anywhere: what was in the window is in it, what had left has left."""
    whole, half = Step(NARROW), Step(NARROW)
    if not event_ids:
        return
    first, second = pieces(with_ids(event_ids), {max(1, min(at, len(event_ids)))})
    whole.apply(chunk_of(with_ids(event_ids), start=0), lists=False)
    half.apply(first, lists=False)
    loaded = Step.load(NARROW, half.dump())
    assert loaded.state_hash() == half.state_hash()
    loaded.apply(second, lists=False)
    assert (loaded.state_hash(), loaded.seq) == (whole.state_hash(), whole.seq)


def test_the_window_is_bounded() -> None:
    """A thousand ids through a window of eight: eight hashes are held, in the ring and in its index."""
    arena = Arena()
    window = EventWindow(arena, WINDOW)
    columns = with_ids([f"e{number}" for number in range(1_000)])
    assert window.admit(columns, False).duplicate is None
    assert len(window._held) == WINDOW
    dumped = {name: len(array) for name, array in arena.dump().items()}
    assert dumped == {"event_window/taken": 1, "event_ids/hash": WINDOW}
    assert set(arena.tables["event_ids"].arrays["hash"].tolist()) == window._held


def test_events_without_ids_are_never_duplicates_and_leave_no_trace() -> None:
    """The same event over and over counts each time; the hash is that of a step which looks for no duplicates."""
    log = columns_of(["u"] * 20, ["i"] * 20, ts_ms=[START_MS] * 20)
    step, off = Step(SMALL), Step(replace(SMALL, dedupe_events=0))
    for each in (step, off):
        each.apply(chunk_of(log), lists=False)
    assert (step.seq, step.duplicates) == (20, 0)
    assert step.state_hash() == off.state_hash()


def test_without_a_window_every_event_counts() -> None:
    """`dedupe_events = 0`: ids are not looked at."""
    step = Step(replace(SMALL, dedupe_events=0))
    applied = step.apply(chunk_of(with_ids(["a"] * 5), start=0))
    assert (applied.events, applied.duplicate, step.seq) == (5, None, 5)


def test_a_duplicate_teaches_nothing_makes_no_list_and_moves_the_position() -> None:
    """Sent again in a chunk of its own: nothing changes but where the partition stands."""
    step = Step(SMALL)
    step.apply(chunk_of(replace(columns_of(["u"], ["a"]), event_ids=["one"])))
    before = {name: table.digest() for name, table in step.arena.tables.items()}
    again = replace(columns_of(["u"], ["b"], offsets=[1], ts_ms=[START_MS + 9]), event_ids=["one"])
    applied = step.apply(chunk_of(again))
    assert (applied.events, applied.seq, applied.slates(0), applied.end) == (0, 1, [], 2)
    assert applied.duplicate is not None
    assert applied.duplicate.tolist() == [True]
    assert {name: table.digest() for name, table in step.arena.tables.items()} == before
    assert (step.last_ms, step.positions) == (START_MS, {(INTERACTIONS, 0): 2})
    assert len(step.users) == len(step.items) == 1  # no id was given a row for it


@pytest.mark.parametrize("cut", [None, 1, 2, 3])
@pytest.mark.parametrize("loaded", [False, True])
def test_a_list_that_was_left_to_a_duplicate_is_made(cut: int | None, loaded: bool) -> None:
    """The worker marks a user's last event of a chunk before it is known to be a duplicate, and may cut before it.

    The earlier event then makes the list; where that was learned in an earlier slice, the duplicate's place makes it.
    """
    step = Step(SMALL)
    step.apply(chunk_of(replace(columns_of(["u", "v"], ["a", "c"]), event_ids=["one", "two"])))
    columns = replace(
        columns_of(["u", "v", "u", "v"], ["b", "c", "a", "d"], offsets=[2, 3, 4, 5]),
        event_ids=["three", "two", "one", None],
    )
    whole, lists = chunk_of(columns), last_of_each_user(columns)
    slates: list[Slate] = []
    bounds = [0, *([] if cut is None else [cut]), 4]
    for first, last in pairwise(bounds):
        slates += step.apply(whole.cut(first, last), lists=lists[first:last]).slates(0)
        if loaded:
            step = Step.load(SMALL, step.dump())
    assert sorted(slate.user_id for slate in slates) == ["u", "v"]
    assert all(slate.version.revision >= 3 for slate in slates)
    assert step.dump().header["owed"] == []


def test_what_is_measured_has_a_row_for_every_event() -> None:
    """A duplicate's is that of an event nothing is known of; it is no target of an evaluation."""
    log = random_log(300, users=10, items=12, seed=3)
    ids = [f"e{number}" for number in range(300)]
    ids[200:250] = ids[100:150]
    result = evaluate(replace(log, event_ids=ids), Step(SMALL, ["log"]), topic="log")
    assert len(result.rank) == 300
    assert np.isnan(result.rank[200:250]).all()
    assert not result.target[200:250].any()
    holes = np.flatnonzero(np.arange(300) // 50 != 4)
    alone = evaluate(replace(log.taken(holes), offsets=np.arange(250)), Step(SMALL, ["log"]), topic="log")
    assert np.array_equal(result.rank[holes], alone.rank, equal_nan=True)


def test_ids_of_every_kind_of_event_count() -> None:
    """An impression takes a place in the window too: events are told apart by their ids alone."""
    columns = replace(columns_of(["u", "u"], ["a", "a"], kinds=[Kind.impression, Kind.click]), event_ids=["x", "x"])
    step = Step(SMALL)
    assert step.apply(chunk_of(columns)).events == 1
    assert step.model.histories.events[0] == 0
