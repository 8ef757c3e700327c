"""Going on with another model: loaded where the order says so, refused when it is not what was named."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from logs import chunk_of, simulated

from millstream.agents import switching as module
from millstream.agents.step_thread import StepThread
from millstream.agents.switching import ModelMissing, Switching
from millstream.online_learning.config import LearningConfig
from millstream.online_learning.live_copy import LiveCopy, write_whole
from millstream.online_learning.order import OrderPosition, Part, Swapped
from millstream.online_learning.snapshot import points
from millstream.online_learning.snapshot_store import Folder
from millstream.online_learning.step import Step
from millstream.schemas.order_records import Go, OrderRecord, Swap

CONFIG = LearningConfig(max_users=2_000, max_items=1_000)
SHOP = simulated(600)


class Order:
    """The order as the switching sees it, and the log it writes to."""

    def __init__(self) -> None:
        self.held: str | None = None
        self.leads = True
        self.records: list[OrderRecord] = []

    async def append(self, record: OrderRecord) -> None:
        self.records.append(record)


class Kept:
    """What hears of the new step: snapshots and upkeep."""

    def __init__(self) -> None:
        self.meta: dict[str, Any] = {"topic_ids": {"interactions": "x"}}
        self.followed: list[LiveCopy] = []
        self.renewed = 0

    def follow(self, copy: LiveCopy, _: object) -> None:
        self.followed.append(copy)

    def renew(self) -> None:
        self.renewed += 1


class Running:
    """A step that has learned 300 events, and a folder with another one of 200."""

    def __init__(self, directory: Path) -> None:
        self.order, self.kept = Order(), Kept()
        self.offered, self.previous = Folder(directory / "rebuild"), Folder(directory / "previous")
        self.raised: list[BaseException] = []
        self.thread: StepThread[Step] = StepThread(slice_ms=10, done=lambda _: None, failed=self.raised.append)
        live = Step(CONFIG)
        live.apply(chunk_of(SHOP.cut(0, 300)), lists=False)
        live.generation = 4
        self.live_hash = live.state_hash()
        self.other = Step(CONFIG)
        self.other.positions = {("interactions", 0): 100}
        self.other.apply(chunk_of(SHOP.cut(100, 300)), lists=False)
        self.name = write_whole(self.other, self.offered, {}).name
        self.thread.start(live, OrderPosition(7, 1, "a"))
        self.switching = Switching(
            CONFIG,
            cast(Any, self.order),
            cast(Any, self.order),
            self.thread,
            cast(Any, self.kept),
            cast(Any, self.kept),
            offered=self.offered,
            previous=self.previous,
            takes=True,
        )

    def swap(self, state_hash: str, name: str = "") -> None:
        swap = Swap("s", name or self.name, state_hash)
        self.switching.swap(Swapped(swap, OrderPosition(7, 1, "a"), OrderPosition(8, 1, "a")))


async def test_it_goes_on_with_the_other_and_keeps_the_one_it_had(tmp_path: Path) -> None:
    """What was queued is learned by the one before; the generation is greater than either's."""
    run = Running(tmp_path)
    run.swap(run.other.state_hash())
    run.thread.submit([Part(chunk_of(SHOP.cut(300, 310)), 10, 1, OrderPosition(9, 1, "a"), 0)])
    while not run.kept.renewed or not run.thread.is_idle or not points(run.previous):
        await asyncio.sleep(0.01)
    generation, seq, at = await run.thread.call(lambda step: (step.generation, step.seq, run.thread.order_position))
    assert (generation, seq, at) == (5, 210, OrderPosition(9, 1, "a"))
    assert await run.thread.call(run.kept.followed[0].is_of)
    assert (run.kept.renewed, run.switching.swaps) == (1, 1)
    saved = run.previous.open(points(run.previous)[0].name).read()
    assert run.live_hash.encode() in saved
    assert b'"order": [7, 1, "a"]' in saved or b'"order":[7,1,"a"]' in saved
    await run.thread.stop()
    assert not run.raised


@pytest.mark.parametrize(("name", "said"), [("", "the state it holds is"), ("state-1.snapshot", "cannot be read")])
async def test_another_state_than_was_named_ends_the_worker(tmp_path: Path, name: str, said: str) -> None:
    """Rather that than workers that differ; the message says where the right one has to be."""
    run = Running(tmp_path)
    run.swap("0" * 32, name)
    while not run.raised:
        await asyncio.sleep(0.01)
    await run.thread.stop()
    (error,) = run.raised
    assert isinstance(error, ModelMissing)
    assert said in str(error)
    assert str(tmp_path / "rebuild") in str(error)


@pytest.mark.parametrize("leads", [True, False])
async def test_a_model_that_does_not_come_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leads: bool
) -> None:
    """The leader says so in the log, once in a while; others wait for that, and nobody says it without need."""
    monkeypatch.setattr(module, "HELD_AT_MOST_S", 0.25)
    run = Running(tmp_path)
    run.order.leads = leads
    running = asyncio.ensure_future(run.switching.run())
    await asyncio.sleep(0.4)
    assert run.order.records == []
    run.order.held = "s"
    await asyncio.sleep(0.5)
    assert run.order.records == ([Go("s")] if leads else [])
    run.order.held = None
    await asyncio.sleep(0.5)
    assert len(run.order.records) == leads
    running.cancel()
    await run.thread.stop()
