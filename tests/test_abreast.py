"""Effort, chosen by the work that waits: the leader's own, and that of the slowest of the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from millstream.agents.abreast import Abreast
from millstream.agents.effort import (
    FULL,
    LEAST,
    LONGEST_PAUSE_S,
    OTHERS_LITTLE_S,
    OTHERS_MUCH_S,
    SHORTEST_PAUSE_S,
    Effort,
)
from millstream.streams.ending import end_tasks
from millstream.streams.redis_connection import connect
from millstream.streams.redis_keys import waiting_channel

MUCH, LITTLE = 0.1, 0.0


def test_effort_halves_while_much_waits_and_comes_back_by_itself() -> None:
    effort = Effort()
    assert [effort.choose(MUCH) for _ in range(6)] == [2, 4, 8, 16, LEAST, LEAST]
    assert effort.choose(0.01) == LEAST  # neither much nor little
    assert [effort.choose(LITTLE) for _ in range(5)] == [10, 5, 2, 1, FULL]


def test_full_effort_stays_full() -> None:
    effort = Effort("full")
    effort.others(MUCH)
    assert effort.choose(MUCH) == FULL


def test_what_waits_at_others_halves_it_as_well_and_it_rises_no_faster_than_they_say() -> None:
    effort = Effort()
    for _ in range(3):
        effort.others(2 * OTHERS_MUCH_S)
    assert effort.choose(LITTLE) == 8  # nothing waits here, which is no reason to hurry them
    effort.others((OTHERS_LITTLE_S + OTHERS_MUCH_S) / 2)
    assert effort.choose(LITTLE) == 8
    effort.others(LITTLE)
    assert effort.choose(LITTLE) == 4
    effort.others(None)
    assert [effort.choose(LITTLE) for _ in range(2)] == [2, FULL]


@pytest.mark.parametrize("mode", ["adaptive", "full"])
def test_where_others_are_behind_at_the_least_effort_batches_wait_for_more_to_come(mode: str) -> None:
    """First the effort falls, where it may, then the pause grows to its longest; it goes before the effort rises."""
    effort = Effort("full" if mode == "full" else "adaptive")
    if mode == "adaptive":
        for _ in range(5):
            assert effort.pause_s == 0
            effort.others(2 * OTHERS_MUCH_S)
    least = effort.train_every
    pauses = []
    for _ in range(5):
        effort.others(2 * OTHERS_MUCH_S)
        pauses.append(effort.pause_s)
    assert pauses == [SHORTEST_PAUSE_S, 0.025, 0.05, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    effort.others((OTHERS_LITTLE_S + OTHERS_MUCH_S) / 2)
    assert effort.pause_s == LONGEST_PAUSE_S
    for pause_s in (0.05, 0.025, SHORTEST_PAUSE_S, 0.0):
        effort.others(LITTLE)
        assert (effort.pause_s, effort.train_every) == (pause_s, least)
    effort.others(LITTLE)
    assert effort.train_every == max(FULL, least // 2)
    for _ in range(5):
        effort.others(2 * OTHERS_MUCH_S)
    assert effort.pause_s > 0
    effort.others(None)
    assert effort.pause_s == 0


def test_it_does_not_rise_for_others_while_much_waits_here() -> None:
    effort = Effort()
    assert effort.choose(MUCH) == 2
    effort.others(LITTLE)
    assert effort.train_every == 2


@dataclass
class Worker:
    effort: Effort
    waiting_s: float = 0.0
    leads: bool = False


@asynccontextmanager
async def abreast(url: str, prefix: str, **workers: Worker) -> AsyncIterator[None]:
    async with connect(url) as client:
        tasks = [
            asyncio.ensure_future(
                Abreast(
                    url,
                    prefix,
                    client,
                    worker.effort,
                    name=name,
                    waiting_s=lambda worker=worker: worker.waiting_s,  # type: ignore[misc]
                    leads=lambda worker=worker: worker.leads,  # type: ignore[misc]
                ).run()
            )
            for name, worker in workers.items()
        ]
        try:
            await until(lambda: not any(task.done() for task in tasks))
            yield
        finally:
            await end_tasks(tasks)


async def until(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


async def test_the_leader_hears_of_a_follower_that_is_behind_and_forgets_one_that_is_gone(
    redis_url: str, prefix: str
) -> None:
    leader, slow, quick = Worker(Effort(), leads=True), Worker(Effort(), waiting_s=1.0), Worker(Effort())
    async with abreast(redis_url, prefix, leader=leader):
        async with abreast(redis_url, prefix, slow=slow, quick=quick):
            await until(lambda: leader.effort.choose(0.0) == LEAST)
            assert slow.effort.train_every == quick.effort.train_every == FULL  # theirs decides nothing
            slow.waiting_s = 0.05  # no more than it may be
            await asyncio.sleep(0.2)
            assert leader.effort.choose(0.0) == LEAST
            slow.waiting_s = 0.0
            await until(lambda: leader.effort.choose(0.0) == FULL)
            slow.waiting_s = 1.0
            await until(lambda: leader.effort.choose(0.0) == LEAST)
        await until(lambda: leader.effort.choose(0.0) == FULL)  # killed, say


async def test_a_word_that_nobody_understands_is_passed_over(
    redis_url: str, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    leader = Worker(Effort(), leads=True)
    async with abreast(redis_url, prefix, leader=leader), connect(redis_url) as client:

        async def heard() -> bool:
            return bool(await client.publish(waiting_channel(prefix), b"?"))

        with caplog.at_level(logging.WARNING):
            async with asyncio.timeout(10):
                while not await heard():
                    await asyncio.sleep(0.01)
            await until(lambda: "cannot be read" in caplog.text)
    assert leader.effort.train_every == FULL
