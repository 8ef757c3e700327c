"""Another model beside the live one, from the same log: made, looked at, switched to, or thrown away.

It is made by a worker that follows the order and decides nothing, with keys, snapshots and a group of its own. When it
stands where the live ones stand it can be offered to them (`switching`).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import redis.asyncio

from millstream.online_learning.snapshot import forget, open_snapshot, points
from millstream.online_learning.snapshot_remote import open_store
from millstream.online_learning.snapshot_store import Store
from millstream.online_learning.step import Step
from millstream.schemas.order_records import Hold, Swap
from millstream.streams.beginnings import Beginning
from millstream.streams.errors import Unavailable
from millstream.streams.redis_connection import connect
from millstream.streams.settings import Settings

from .pipeline import Pipeline, build
from .status import WorkerStatus, read_workers, workers_key
from .stored_snapshots import begin, config_of, restore
from .switching import HELD_AT_MOST_S, OFFERED, PREVIOUS

_LOOK_EVERY_S = 0.05
_SHOWN_WITHIN_S = 120.0

OnProgress = Callable[[int, int], None]
"""Hears how many offsets are learned, of how many."""


class NotSwitched(Unavailable):
    """The live workers go on with the model they had; the message says why."""


@dataclass(frozen=True, slots=True)
class Switched:
    """What became of the live workers."""

    workers: int
    generation: int
    held_s: float
    """From the hold until the model was named."""
    taken_s: float
    """From the hold until all workers had it."""
    published_s: float
    """From the hold until everybody's list was the new model's."""


def beside(settings: Settings) -> Settings:
    """Return the settings of the worker that makes another model."""
    return settings.model_copy(
        update={
            "kafka": settings.kafka.model_copy(
                update={"group_id": f"{settings.kafka.group_id}-{OFFERED}", "group_instance_id": ""}
            ),
            "redis": settings.redis.model_copy(update={"prefix": f"{settings.redis.prefix}{OFFERED}:"}),
            "snapshots": settings.snapshots.model_copy(
                update={"directory": f"{settings.snapshots.directory}/{OFFERED}"}
            ),
            "worker": settings.worker.model_copy(update={"publish_recommendations": False}),
        }
    )


def begin_new(settings: Settings, store: Store, beginning: Beginning) -> None:
    """Write a first snapshot that knows of nothing, and stands at the beginning."""
    step = Step(settings.learning, [each.topic for each in settings.inputs])
    step.positions = dict(beginning.positions)
    begin(step, store, beginning.topic_ids)


def begin_with_previous(settings: Settings, store: Store) -> Settings:
    """Write the model that was switched from as a first snapshot; return the settings it was made with.

    Raises `NotSwitched` where there is none, and as `restore` does.
    """
    previous = open_store(f"{settings.snapshots.directory}/{PREVIOUS}")
    found = points(previous)
    if not found:
        raise NotSwitched(f"{previous.address}: no model is kept there to go back to")
    restore(previous, found[-1].name, into=store)
    forget(store, keep=1)
    config = config_of(open_snapshot(previous, found[-1].name).header["config"])
    return settings.model_copy(update={"learning": config})


class Rebuild:
    """A running worker beside the live ones, from `async with` on; it takes a snapshot when it ends."""

    def __init__(self, settings: Settings) -> None:
        self._live = settings
        self._settings = beside(settings)
        self._pipeline: Pipeline = build(
            self._settings,
            interactions=lambda batch: self._pipeline.parts.intake.take(batch),
            items=lambda batch: self._pipeline.parts.catalogue.take(batch),
            may_lead=False,
        )

    @property
    def pipeline(self) -> Pipeline:
        """The worker."""
        return self._pipeline

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start it; at the end stop it. Raises what a worker's start raises."""
        self._pipeline.hash_at_end = True
        try:
            await self._pipeline.start()
            yield
        finally:
            await self._pipeline.stop()
        if self._pipeline.failure.error is not None:
            raise self._pipeline.failure.error

    async def catch_up(self, on_progress: OnProgress) -> None:
        """Return when it has learned all that is ordered, and its own lists are there."""
        parts = self._pipeline.parts
        of = parts.ordering.ahead
        while parts.ordering.taken < parts.ordering.next_record or not parts.thread.is_idle:
            left = parts.ordering.ahead
            of = max(of, left)
            on_progress(of - left, of)
            await self._a_moment()
        on_progress(of, of)
        numbers = {number for topic, number in parts.source.read_from if topic == self._live.inputs[0].topic}
        while parts.upkeep.partitions != numbers:
            await self._a_moment()

    async def switch(self) -> Switched:
        """Offer the model to the live workers; return when all have taken it. Raises `NotSwitched`."""
        parts = self._pipeline.parts
        async with connect(self._live.redis.url) as client:
            before = await self._workers(client)
            if not before:
                raise NotSwitched("no live worker answers; the model is kept, and can be switched to when one runs")
            name = secrets.token_hex(8)
            await parts.snapshots.take()  # what is left to write at the hold is little then
            began_s = time.monotonic()
            await parts.model_log.append(Hold(name))
            while parts.ordering.held != name or not parts.thread.is_idle:
                await self._within(began_s, HELD_AT_MOST_S / 2, "the hold was not read back")
            snapshot = await parts.snapshots.take()
            state_hash = await parts.thread.call(lambda step: step.state_hash())
            await parts.model_log.append(Swap(name, snapshot or "", state_hash))
            held_s = time.monotonic() - began_s
            while parts.ordering.held == name:
                await self._within(began_s, 2 * HELD_AT_MOST_S, "the model's name was not read back")
            if not parts.switching.swaps:
                raise NotSwitched("the live workers had waited too long, and went on with the model they had")
            pids = {status.pid for status in before}
            generation = max(status.generation for status in before)
            live = before
            while not live or any(status.generation <= generation for status in live if status.pid in pids):
                await self._within(began_s, _SHOWN_WITHIN_S, "not all live workers have taken the model")
                live = await self._workers(client)
            taken_s = time.monotonic() - began_s
            numbers = sorted(number for topic, number in parts.source.read_from if topic == self._live.inputs[0].topic)
            while sorted({number for status in live for number in status.partitions}) != numbers:
                await self._within(began_s, _SHOWN_WITHIN_S, "not all lists are made with it")
                live = await self._workers(client)
            newest = max(status.generation for status in live)
            return Switched(len(live), newest, held_s, taken_s, time.monotonic() - began_s)

    async def _workers(self, client: redis.asyncio.Redis) -> list[WorkerStatus]:
        values: Any = await client.hvals(workers_key(self._live.redis.prefix))
        return [each for each in read_workers(values, time.time_ns() // 1_000_000) if each.state == "running"]

    async def _within(self, began_s: float, within_s: float, what: str) -> None:
        if time.monotonic() - began_s > within_s:
            raise NotSwitched(f"{what} within {within_s:g} s; see the log of the live workers")
        await self._a_moment()

    async def _a_moment(self) -> None:
        if self._pipeline.failure.error is not None:
            raise self._pipeline.failure.error
        await asyncio.sleep(_LOOK_EVERY_S)
