"""What is missing in Redis is made, also when Redis does not answer in the midst of finding out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any, cast

import pytest
from logs import chunk_of, columns_of
from redis.exceptions import ConnectionError as RedisConnectionError

from millstream.agents.failure import Failure
from millstream.agents.pipeline import Pipeline
from millstream.agents.publisher import Publisher
from millstream.agents.step_thread import StepThread
from millstream.agents.upkeep import Upkeep
from millstream.online_learning.config import LearningConfig
from millstream.online_learning.step import Step
from millstream.schemas.slates import EncodedSlate
from millstream.streams.marker import Marker
from millstream.streams.settings import Settings

CONFIG = LearningConfig(max_users=64, max_items=64)


class FlakyMarker:
    """A marker that says what it is told to; the calls named in `fails` raise once each."""

    def __init__(self, *fails: str) -> None:
        self.owned: frozenset[int] = frozenset()
        self.held: set[int] = set()
        self.missed = False
        self.lost = False
        self.seqs: dict[int, int] = {0: 2}
        self._fails = list(fails)

    def _answer(self, call: str) -> None:
        if call in self._fails:
            self._fails.remove(call)
            raise RedisConnectionError("gone for a moment")

    async def look(self, published: Mapping[int, int] | None = None) -> bool:
        lost, self.lost = self.lost, False
        if lost:
            self.held |= self.owned
        self.seqs |= {at: seq for at, seq in (published or {}).items() if at not in self.held}
        return lost

    async def published(self) -> dict[int, int]:
        self._answer("published")
        return dict(self.seqs)

    async def put_back(self, partitions: Collection[int]) -> None:
        self._answer("put_back")
        self.seqs |= dict.fromkeys(partitions, 0)


class Running:
    """An upkeep of a step with the users a, b, c, touched one after another; lists are published up to b's."""

    def __init__(self, marker: FlakyMarker) -> None:
        self.marker = marker
        self.published: list[str] = []
        self.raised: list[BaseException] = []
        step = Step(CONFIG)
        step.apply(chunk_of(columns_of(["a", "b", "c"], ["i", "j", "k"])), lists=False)
        self.thread: StepThread[Step] = StepThread(slice_ms=10, done=lambda _: None, failed=self.raised.append)
        self.thread.start(step)
        self.upkeep = Upkeep(
            cast(Marker, marker),
            self.thread,
            cast(Publisher, self),
            (),
            again=lambda: None,
            leads=lambda: False,
            caught_up=lambda: True,
            failed=self.raised.append,
            every_s=0.01,
            slice_ms=10,
        )

    async def publish_again(self, slates: Sequence[EncodedSlate]) -> None:
        self.published += [slate.user_id for slate in slates]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                await asyncio.sleep(0.01)


@pytest.fixture
async def tasks() -> AsyncIterator[list[asyncio.Task[None]]]:
    started: list[asyncio.Task[None]] = []
    yield started
    for task in started:
        task.cancel()
    await asyncio.gather(*started, return_exceptions=True)


@pytest.mark.parametrize("fails", [(), ("published",), ("put_back",), ("published", "put_back")])
async def test_a_takeover_is_whole_or_done_again(tasks: list[asyncio.Task[None]], fails: tuple[str, ...]) -> None:
    """Who was touched since is published, and the marker moves on, wherever Redis was gone for a moment."""
    running = Running(FlakyMarker(*fails))
    if "put_back" in fails:
        running.marker.seqs = {}
    expected = {"c"} if running.marker.seqs else {"a", "b", "c"}
    tasks.append(asyncio.ensure_future(running.upkeep.run()))
    running.upkeep.assign(frozenset({0}))
    await running.until(lambda: running.marker.seqs == {0: 3})
    assert set(running.published) - {""} == expected
    assert running.upkeep.partitions == {0}
    await running.thread.stop()
    assert not running.raised


@pytest.mark.parametrize("fails", [(), ("published",)])
async def test_a_loss_is_not_forgotten(tasks: list[asyncio.Task[None]], fails: tuple[str, ...]) -> None:
    """Redis goes away between saying that something is missing and saying what."""
    running = Running(FlakyMarker())
    tasks.append(asyncio.ensure_future(running.upkeep.run()))
    running.upkeep.assign(frozenset({0}))
    await running.until(lambda: running.marker.seqs == {0: 3})
    running.published.clear()
    running.marker._fails = list(fails)
    running.marker.seqs, running.marker.lost = {0: 1}, True
    await running.until(lambda: running.marker.seqs == {0: 3})
    assert set(running.published) == {"b", "c", ""}
    assert running.upkeep.losses == 1
    await running.thread.stop()
    assert not running.raised


async def test_whatever_ends_a_part_ends_the_worker() -> None:
    """A part that fails by itself is reported: no worker goes on without it, looking alive."""
    failure = Failure()
    pipeline = Pipeline(Settings(), cast(Any, None), failure)

    async def broken() -> None:
        raise ValueError("refused")

    await pipeline._guard(broken())
    assert str(failure.error) == "refused"
