"""Keeps `rec-item:ITEM` fresh: what is similar to each item whose neighbours have changed, some hundred a second.

By the clock and beside the loop: an event waits for none of it, and items change far more often than anybody could
look at what is similar to them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

from millstream.online_learning.step import Step
from millstream.schemas.slates import EncodedSlate
from millstream.streams.outage import Outage

from .publisher import PASSING
from .step_thread import StepStopped, StepThread

EVERY_S = 1.0
MOST = 200
"""Items a second at most: some 3 ms of the step's thread. Items take turns."""


class Topic(Protocol):
    """Where the lists go: `SimilarTopic`."""

    async def publish(self, slates: Sequence[EncodedSlate]) -> list[bool]:
        """Store what is newer; return which were."""


class SimilarItems:
    """Publishes the lists of the items that changed. What Redis did not take is offered again."""

    def __init__(self, thread: StepThread[Step], topic: Topic, *, outage: Outage) -> None:
        self.lists = 0
        """Lists published."""
        self._thread = thread
        self._topic = topic
        self._outage = outage

    async def run(self) -> None:
        """Publish until cancelled, or until the step has ended."""
        waiting: list[EncodedSlate] = []
        while True:
            await asyncio.sleep(EVERY_S)
            if not waiting:
                try:
                    waiting = await self._thread.call(_similar)
                except StepStopped:
                    return
            if waiting and await self._published(waiting):
                self.lists += len(waiting)
                waiting = []

    async def _published(self, lists: Sequence[EncodedSlate]) -> bool:
        try:
            await self._topic.publish(lists)
        except PASSING as error:
            self._outage.lost(f"{error}; waiting; nothing is lost")
            return False
        self._outage.back()
        return True


def _similar(step: Step) -> list[EncodedSlate]:
    return step.similar(MOST).encoded(time.time_ns() // 1_000_000)
