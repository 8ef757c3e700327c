"""Keeps lists beside the users' fresh: what is similar to an item, and the popular list of a category.

One worker does it, the one that leads. By the clock and beside the loop: an event waits for none of it, and these
change far more often than anybody could look at them. What has changed takes turns.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from millstream.online_learning.slate_maker import Ranked
from millstream.online_learning.step import Step
from millstream.schemas.slates import EncodedSlate
from millstream.streams.outage import Outage

from .publisher import PASSING
from .step_thread import StepStopped, StepThread

EVERY_S = 1.0
AGAIN_EVERY_S = 0.05
"""While lists that Redis lost are made again."""
SIMILAR_AT_ONCE, CATEGORIES_AT_ONCE = 200, 10
"""Lists at a time: some 3 ms of the step's thread for 200 items, 5 for 10 categories of 100,000 items."""


class Maker(Protocol):
    """What makes the lists, in the step: `SimilarLists`, `CategoryLists`."""

    def changed(self, most: int) -> Ranked:
        """Return at most so many lists of what has changed since theirs was made."""

    def of(self, names: Sequence[str], /) -> Ranked:
        """Return these lists as of now."""

    def names(self) -> list[str]:
        """Return what has a list."""


class Topic(Protocol):
    """Where the lists go: `BesideTopic`."""

    async def publish(self, slates: Sequence[EncodedSlate]) -> list[bool]:
        """Store what is newer; return which were."""


class Beside:
    """Publishes the lists of one maker that changed. What Redis did not take is offered again."""

    def __init__(
        self,
        thread: StepThread[Step],
        maker: Callable[[Step], Maker],
        topic: Topic,
        *,
        at_once: int,
        leads: Callable[[], bool],
        outage: Outage,
    ) -> None:
        self.lists = 0
        """Lists published."""
        self.lists_again = 0
        """How many were published again."""
        self.again: list[str] = []
        """Whose lists Redis lost and does not hold again; they come before those that changed."""
        self._thread = thread
        self._maker = maker
        self._topic = topic
        self._at_once = at_once
        self._leads = leads
        self._outage = outage

    async def publish_again(self) -> None:
        """Publish all lists again, whether they changed or not. Raises `StepStopped`."""
        names = await self._thread.call(lambda step: self._maker(step).names())
        # the first ones may be on their way, to where they are lost
        waiting = set(self.again[self._at_once :])
        self.again += [name for name in names if name not in waiting]

    async def run(self) -> None:
        """Publish until cancelled, or until the step has ended."""
        while True:
            await asyncio.sleep(AGAIN_EVERY_S if self.again else EVERY_S)
            if not self._leads():
                self.again.clear()
                continue
            again = self.again[: self._at_once]
            try:
                lists = await self._thread.call(partial(self._made, again))
            except StepStopped:
                return
            while lists and not await self._published(lists):
                await asyncio.sleep(EVERY_S)
            self.lists += len(lists)
            self.lists_again += len(again)
            del self.again[: len(again)]

    def _made(self, again: Sequence[str], step: Step) -> list[EncodedSlate]:
        maker = self._maker(step)
        return (maker.of(again) if again else maker.changed(self._at_once)).encoded(time.time_ns() // 1_000_000)

    async def _published(self, lists: Sequence[EncodedSlate]) -> bool:
        try:
            await self._topic.publish(lists)
        except PASSING as error:
            self._outage.lost(f"{error}; waiting; nothing is lost")
            return False
        self._outage.back()
        return True
