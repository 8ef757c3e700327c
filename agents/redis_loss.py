"""What Redis has lost is published again: everybody's lists, or those published since the state it came back with.

The marker (`streams/marker.py`) says whether something is missing, four times a second and with every list. Lists are
made again in parts that take about a slice, between two slices, so fresh events keep their turn.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from millstream.online_learning.step import Step
from millstream.schemas.slates import EncodedSlate
from millstream.streams.marker import Loss, Marker

from .publisher import PASSING, Publisher
from .similar_items import SimilarItems
from .step_thread import StepStopped, StepThread

_SMALLEST_PART, _LARGEST_PART = 20, 400
"""Users at a time. The smallest takes some 6 ms on a core of one's own; with less, a busy machine does little else than
begin."""
_SIMILAR_EVERY_S = 0.05

_log = logging.getLogger(__name__)


class Published(Protocol):
    """What remembers whose lists it published: `RedisTopic`."""

    def published_since(self, mark: int) -> list[str] | None:
        """Return whose lists were published after a mark; None where that is not known any more."""


class RedisLoss:
    """Notices what Redis has lost and publishes it again. One event loop owns it.

    Guarantee: once Redis holds still, every list that it had acknowledged is there again, or a newer one; lists that
    are there are replaced by newer ones alone. `again` is called at each loss, for what does not come from the step.
    """

    def __init__(
        self,
        marker: Marker,
        thread: StepThread[Step],
        publisher: Publisher,
        similar: SimilarItems,
        lists: Published,
        similar_lists: Published,
        *,
        again: Callable[[], None],
        failed: Callable[[BaseException], None],
        every_s: float,
        slice_ms: float,
    ) -> None:
        self.losses = 0
        """How often something was missing."""
        self._marker = marker
        self._thread = thread
        self._publisher = publisher
        self._similar = similar
        self._lists = lists
        self._similar_lists = similar_lists
        self._again = again
        self._failed = failed
        self._every_s = every_s
        self._part_s = slice_ms / 1000
        self._part = _SMALLEST_PART
        self._users: list[str] = []
        self._loss: Loss | None = None
        self._began_s: float | None = None
        self._count = 0
        self._users_again = 0

    @property
    def published_again(self) -> int:
        """Users, and items, whose lists were published again."""
        return self._users_again + self._similar.lists_again

    @property
    def stale(self) -> int:
        """Users, and items, whose lists Redis lost and does not hold again yet."""
        return len(self._users) + len(self._similar.again)

    async def begin(self, seq: int) -> None:
        """Begin to mark what is published; the state holds `seq` events. Raises what redis-py raises."""
        self._loss = await self._marker.claim(seq)

    async def run(self) -> None:
        """Look and publish again until cancelled, or until the step has ended."""
        while True:
            try:
                await self._look()
                if self._began_s is not None:
                    await self._publish()
            except PASSING as error:
                _log.debug("no look at what Redis holds: %s", error)  # the publisher says so, and waits
            except StepStopped:
                return
            except Exception as error:
                self._failed(error)
                return
            await asyncio.sleep(self._every_s)

    async def _look(self) -> None:
        loss, self._loss = self._loss or await self._marker.look(), None
        if loss is None:
            return
        self.losses += 1
        self._began_s = self._began_s or time.monotonic()
        since = None if loss.since is None else self._since(loss.since)
        if since is None:
            self._users, items = await self._thread.call(Step.listed)
        else:
            self._users, items = list(dict.fromkeys([*self._users, *since[0]])), since[1]
        self._similar.publish_again(items)
        self._again()
        self._count = self.stale
        _log.warning(
            "Redis has lost lists: the marker is %s; those of %s users and items are published again, %s",
            "gone" if loss.gone else "an older one",
            f"{self._count:,}",
            "which is all" if since is None else "published since",
        )

    def _since(self, mark: int) -> tuple[list[str], list[str]] | None:
        users, items = self._lists.published_since(mark), self._similar_lists.published_since(mark)
        return None if users is None or items is None else (users, items)

    async def _publish(self) -> None:
        """Publish what is missing, until it is there or more is missing."""
        while self._users and not self._marker.missed:
            part = self._users[-self._part :]
            slates, took_s = await self._thread.call(partial(_made, part))
            await self._publisher.publish_again(slates)
            del self._users[-len(part) :]
            self._users_again += len(part)
            fits = int(len(part) * self._part_s / took_s)
            self._part = max(_SMALLEST_PART, min(2 * self._part, _LARGEST_PART, fits))
        while self._similar.again and not self._marker.missed:
            await asyncio.sleep(_SIMILAR_EVERY_S)
        if self.stale or self._marker.missed or self._began_s is None:
            return
        self._marker.restored()
        took_s = time.monotonic() - self._began_s
        self._began_s = None
        _log.warning("what Redis had lost is published again: %s lists in %.1f s", f"{self._count:,}", took_s)


def _made(user_ids: Sequence[str], step: Step) -> tuple[list[EncodedSlate], float]:
    """Return the users' lists as of now, and how long that took."""
    began_s = time.perf_counter()
    slates = step.relist(user_ids).encoded(time.time_ns() // 1_000_000)
    return slates, max(1e-6, time.perf_counter() - began_s)
