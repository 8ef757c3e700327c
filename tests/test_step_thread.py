"""The thread that owns the step: order, slices, calls in between, errors."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from millstream.agents.slices import SliceDone
from millstream.agents.step_thread import StepStopped, StepThread
from millstream.online_learning.order import OrderPosition, Part
from millstream.schemas.columns import Chunk, InteractionColumns
from millstream.schemas.records import Version
from millstream.schemas.slates import EncodedSlate


@dataclass
class Clock:
    """A clock that the fake step advances: a slice takes what the step says it takes."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@dataclass(frozen=True)
class FakeApplied:
    input: str
    partition: int
    start: int
    end: int
    events: int
    users: list[str]
    seq: int = 0

    def encoded(self, generated_ts_ms: int) -> list[EncodedSlate]:
        return [
            EncodedSlate(list="main", user_id=user, version=Version(1, self.end, 0), as_of_ms=0, json=b"")
            for user in self.users
        ]


@dataclass
class FakeStep:
    """Notes what it is given; an event takes `event_ms`; the user "poison" raises; `before` runs first in `apply`."""

    clock: Clock = field(default_factory=Clock)
    event_ms: float = 1.0
    before: Callable[[], object] = lambda: None
    slices: list[Chunk] = field(default_factory=list)

    def apply(self, chunk: Chunk, *, lists: bool | NDArray[np.bool_], train_every: int) -> FakeApplied:
        self.before()
        if "poison" in chunk.columns.user_ids:
            raise ValueError("poisoned")
        self.slices.append(chunk)
        self.clock.now_s += len(chunk) * self.event_ms / 1000
        marks = [False] * len(chunk) if lists is False else lists
        users = [user for user, listed in zip(chunk.columns.user_ids, marks, strict=True) if listed]
        seq = sum(map(len, self.slices))
        return FakeApplied(chunk.input, chunk.partition, chunk.start, chunk.end, len(chunk), users, seq)


def chunk(users: list[str], *, start: int = 0, end: int | None = None) -> Chunk:
    n = len(users)
    columns = InteractionColumns(
        user_ids=users,
        item_ids=["i"] * n,
        kinds=np.ones(n, np.int8),
        ts_ms=np.zeros(n, np.int64),
        values=np.full(n, np.nan),
        as_of_ms=np.zeros(n, np.int64),
        offsets=np.arange(start, start + n, dtype=np.int64),
    )
    return Chunk("t", 0, start, start + n if end is None else end, columns)


@dataclass
class Running:
    thread: StepThread[FakeStep]
    step: FakeStep
    done: list[SliceDone]
    errors: list[BaseException]
    taken: list[int]


@asynccontextmanager
async def running(step: FakeStep, **options: float) -> AsyncIterator[Running]:
    done: list[SliceDone] = []
    errors: list[BaseException] = []
    taken: list[int] = []
    thread: StepThread[FakeStep] = StepThread(
        slice_ms=options.pop("slice_ms", 10.0),
        done=done.append,
        failed=errors.append,
        clock_s=step.clock,
        now_ms=lambda: 7,
        took=lambda: taken.append(len(done)),
    )
    thread.start(step)
    try:
        yield Running(thread, step, done, errors, taken)
    finally:
        await thread.stop()


def part(chunk: Chunk, *, records: int, after: int = 0) -> Part:
    return Part(chunk, records, 1, OrderPosition(after), 0)


def submit(run: Running, chunk: Chunk, *, records: int, after: int = 0) -> None:
    """Hand over a batch of one part."""
    run.thread.submit([part(chunk, records=records, after=after)])


async def test_slices_join_into_the_chunks_submitted_in_order() -> None:
    """Slices cover the chunks' offsets without gap or overlap, and their records sum to what was read."""
    async with running(FakeStep()) as run:
        submit(run, chunk(["a"] * 100, start=10, end=115), records=105)
        submit(run, chunk(["b"] * 3, start=115), records=3)
        await run.thread.call(lambda step: None)
        await run.thread.stop()
    starts, ends = [each.start for each in run.step.slices], [each.end for each in run.step.slices]
    assert starts == [10, *ends[:-1]]
    assert ends[-1] == 118
    assert [done.end for done in run.done] == ends
    assert sum(done.records for done in run.done) == 108
    assert sum(done.events for done in run.done) == 103


async def test_a_slice_takes_no_longer_than_it_may() -> None:
    """Once the pace is known, a slice holds as many events as fit into `slice_ms`."""
    async with running(FakeStep(event_ms=1.6), slice_ms=10.0) as run:
        submit(run, chunk(["a"] * 200), records=200)
        await run.thread.stop()
    assert {len(each) for each in run.step.slices[1:-1]} == {6}


async def test_slices_are_longer_while_more_than_a_second_of_work_waits() -> None:
    """At 1.7 ms an event, 5 fit into a slice: 23 while more than 588 are left, with those of batches that wait."""
    step = FakeStep(event_ms=1.7)
    async with running(step, slice_ms=10.0) as run:
        submit(run, chunk(["a"] * 8), records=8)  # the pace is known from now on
        await run.thread.call(lambda step: None)
        taken, submitted = threading.Event(), threading.Event()
        step.before = lambda: (taken.set(), submitted.wait(10))
        submit(run, chunk(["b"] * 235, start=8), records=235)
        await asyncio.to_thread(taken.wait, 10)
        submit(run, chunk(["c"] * 600, start=243), records=600)
        submitted.set()
        await run.thread.stop()
    lengths = [len(each) for each in step.slices]
    assert lengths[:2] == [8, 5]
    assert lengths[2:13] == [23] * 11  # ten of what was left of the batch under way, one of the next
    assert set(lengths[13:-1]) == {5}


async def test_a_slice_goes_on_from_one_chunk_of_a_batch_into_the_next() -> None:
    """Short chunks of several partitions share a slice; one that is full ends in the midst of a chunk."""
    async with running(FakeStep(event_ms=1.0), slice_ms=10.0) as run:
        submit(run, chunk(["a"] * 8), records=8)  # the pace is known from now on
        run.thread.submit([part(chunk(["b"] * 4, start=8 + 4 * n), records=4) for n in range(4)])
        await run.thread.call(lambda step: None)
        await run.thread.stop()
    assert [len(each) for each in run.step.slices] == [8, 4, 4, 2, 2, 4]
    assert [done.end for done in run.done] == [8, 12, 16, 18, 20, 24]
    assert sum(done.records for done in run.done) == 24


async def test_a_chunk_without_events_moves_the_position() -> None:
    """A chunk of rejected records alone is applied too, and settles its records."""
    async with running(FakeStep()) as run:
        submit(run, chunk([], start=5, end=9), records=4)
        await run.thread.stop()
    assert [(done.end, done.events, done.records) for done in run.done] == [(9, 0, 4)]


async def test_a_call_is_answered_between_two_slices_of_a_chunk() -> None:
    """A snapshot asked for in the middle of a long chunk does not wait for the chunk's end."""
    first_slice, asked = threading.Event(), threading.Event()

    def hold_the_first_slice() -> None:
        first_slice.set()
        assert asked.wait(10)

    async with running(FakeStep(before=hold_the_first_slice)) as run:
        submit(run, chunk(["a"] * 100), records=100)
        await asyncio.to_thread(first_slice.wait, 10)
        seen = asyncio.ensure_future(run.thread.call(lambda step: sum(map(len, step.slices))))
        await asyncio.sleep(0)
        asked.set()
        assert 0 < await seen < 100


async def test_what_is_left_of_the_batch_under_way_counts_as_work_that_waits() -> None:
    """At 1 ms an event: eight events are learned, and twelve more of the batch wait, and the five that are asked of."""
    waits: list[float] = []
    step = FakeStep(event_ms=1.0)
    async with running(step, slice_ms=10.0) as run:
        submit(run, chunk(["a"] * 8), records=8)
        await run.thread.call(lambda step: None)
        step.before = lambda: waits.append(run.thread.behind_s(5))
        submit(run, chunk(["b"] * 20, start=8), records=20)
        await run.thread.stop()
        assert run.thread.behind_s(5) == pytest.approx(0.005)
    assert waits == pytest.approx([0.025, 0.015])


async def test_what_a_call_raises_is_raised_to_its_asker_alone() -> None:
    """A question that fails leaves the thread learning."""
    async with running(FakeStep()) as run:
        with pytest.raises(ZeroDivisionError):
            await run.thread.call(lambda step: 1 // 0)
        submit(run, chunk(["a"]), records=1)
        assert await run.thread.call(lambda step: len(step.slices)) in (0, 1)
    assert not run.errors
    assert len(run.done) == 1


async def test_an_error_of_the_step_ends_the_thread() -> None:
    """The state may be half changed, so nothing after the error is learned, and whoever asks is told."""
    async with running(FakeStep()) as run:
        submit(run, chunk(["poison"]), records=1)
        submit(run, chunk(["b"], start=1), records=1)
        async with asyncio.timeout(10):
            while not run.errors:
                await asyncio.sleep(0)
        with pytest.raises(StepStopped):
            await run.thread.call(lambda step: None)
        with pytest.raises(StepStopped):
            submit(run, chunk(["c"], start=2), records=1)
    assert [str(error) for error in run.errors] == ["poisoned"]
    assert run.step.slices == []


async def test_it_says_when_it_takes_a_batch() -> None:
    """Once for each, so that whoever makes the next one can wait for it."""
    let_go = threading.Event()
    async with running(FakeStep(before=lambda: let_go.wait(10))) as run:
        for start in range(3):
            submit(run, chunk(["a"], start=start), records=1)
        async with asyncio.timeout(10):
            while not run.taken:
                await asyncio.sleep(0)
        assert run.thread.queued == 2
        let_go.set()
        await run.thread.call(lambda step: None)
        async with asyncio.timeout(10):
            while len(run.taken) < 3:
                await asyncio.sleep(0)
        assert run.thread.queued == 0
    assert [done.end for done in run.done] == [1, 2, 3]


async def test_its_place_in_the_order_moves_with_the_last_event_of_a_part() -> None:
    """A snapshot in the midst of a part says that its record is to be read again."""
    asked = threading.Event()
    async with running(FakeStep(before=lambda: asked.wait(10))) as run:
        submit(run, chunk(["a"] * 100), records=100, after=5)
        seen = asyncio.ensure_future(run.thread.call(lambda _: run.thread.order_position.offset))
        await asyncio.sleep(0)
        asked.set()
        assert await seen == 0
        await run.thread.stop()
    assert run.thread.order_position.offset == 5


async def test_lists_are_made_of_the_partitions_asked_for() -> None:
    """Of another's users nobody's list is made; of ours all are there once the last slice of a part is done."""
    async with running(FakeStep()) as run:
        submit(run, chunk(["a"] * 20), records=20)
        while not run.thread.is_idle:
            await asyncio.sleep(0)
        await run.thread.call(lambda _: setattr(run.thread, "listed", frozenset({1})))
        submit(run, chunk(["b"], start=20), records=1)
        await run.thread.stop()
    assert [[slate.user_id for slate in done.slates] for done in run.done] == [[], [], ["a"], []]
    assert [done.listed_to for done in run.done] == [0, 0, 20, 0]


@pytest.mark.parametrize(("before", "after"), [(set(), {0}), ({0}, set())])
async def test_whose_lists_are_made_may_change_within_a_part(before: set[int], after: set[int]) -> None:
    """What comes after the call is listed, or is not, though its part was begun otherwise."""
    applying, asked = threading.Event(), threading.Event()
    async with running(FakeStep(before=lambda: applying.set() or asked.wait(10))) as run:
        run.thread.listed = frozenset(before)
        submit(run, chunk(["a", "b"] * 10), records=20)
        assert applying.wait(10)
        seq = asyncio.ensure_future(run.thread.call(lambda step: _list(run.thread, after, step)))
        await asyncio.sleep(0)
        asked.set()
        assert await seq == 8
        await run.thread.stop()
    listed = [slate.user_id for done in run.done for slate in done.slates]
    assert (listed, run.done[-1].listed_to) == ((["a", "b"], 20) if after else ([], 0))


def _list(thread: StepThread[FakeStep], partitions: set[int], step: FakeStep) -> int:
    """Make these partitions' lists from now on; return the number of the last event before."""
    thread.listed = frozenset(partitions)
    return sum(map(len, step.slices))


async def test_abandoned_chunks_are_not_learned() -> None:
    """After `abandon` the slice under way ends, what is queued is dropped, and submitting drops too."""
    applying, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        applying.set()
        let_go.wait(10)

    async with running(FakeStep(before=hold)) as run:
        submit(run, chunk(["a"]), records=1)
        await asyncio.to_thread(applying.wait, 10)
        for start in (1, 2):
            submit(run, chunk(["b"], start=start), records=1)
        run.thread.abandon()
        let_go.set()
        submit(run, chunk(["c"], start=3), records=1)
    assert [done.end for done in run.done] == [1]
    assert not run.errors
