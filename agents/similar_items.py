"""Keeps `rec-item:ITEM` fresh: what is similar to each item whose neighbours have changed, some hundred a second.

One worker does it, the one that leads. By the clock and beside the loop: an event waits for none of it, and items
change far more often than anybody could look at what is similar to them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from millstream.online_learning.step import Step
from millstream.schemas.slates import EncodedSlate
from millstream.streams.outage import Outage

from .publisher import PASSING
from .step_thread import StepStopped, StepThread

EVERY_S = 1.0
AGAIN_EVERY_S = 0.05
"""While lists that Redis lost are made again."""
MOST = 200
"""Items at a time: some 3 ms of the step's thread. Items take turns."""


class Topic(Protocol):
    """Where the lists go: `SimilarTopic`."""

    async def publish(self, slates: Sequence[EncodedSlate]) -> list[bool]:
        """Store what is newer; return which were."""


class SimilarItems:
    """Publishes the lists of the items that changed. What Redis did not take is offered again."""

    def __init__(self, thread: StepThread[Step], topic: Topic, *, leads: Callable[[], bool], outage: Outage) -> None:
        self.lists = 0
        """Lists published."""
        self.lists_again = 0
        """Items whose lists were published again."""
        self.again: list[str] = []
        """Items whose lists Redis lost and does not hold again; they come before those that changed."""
        self._thread = thread
        self._topic = topic
        self._leads = leads
        self._outage = outage

    def publish_again(self, items: Sequence[str]) -> None:
        """Publish the lists of these items again, whether they changed or not."""
        # the first ones may be on their way, to where they are lost
        waiting = set(self.again[MOST:])
        self.again += [item for item in items if item not in waiting]

    async def run(self) -> None:
        """Publish until cancelled, or until the step has ended."""
        while True:
            await asyncio.sleep(AGAIN_EVERY_S if self.again else EVERY_S)
            if not self._leads():
                self.again.clear()
                continue
            again = self.again[:MOST]
            try:
                lists = await self._thread.call(partial(_similar, again))
            except StepStopped:
                return
            while lists and not await self._published(lists):
                await asyncio.sleep(EVERY_S)
            self.lists += len(lists)
            self.lists_again += len(again)
            del self.again[: len(again)]

    async def _published(self, lists: Sequence[EncodedSlate]) -> bool:
        try:
            await self._topic.publish(lists)
        except PASSING as error:
            self._outage.lost(f"{error}; waiting; nothing is lost")
            return False
        self._outage.back()
        return True


def _similar(again: Sequence[str], step: Step) -> list[EncodedSlate]:
    ranked = step.similar_to(again) if again else step.similar(MOST)
    return ranked.encoded(time.time_ns() // 1_000_000)
