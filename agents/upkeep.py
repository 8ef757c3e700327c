"""Keeps Redis whole: everybody's newest list is there, whoever worked before, and whatever Redis has lost.

When a worker takes partitions over, the marker (`streams/marker.py`) says up to which event their users' lists are
published; who was touched since is made anew, once. When Redis has lost something, the marker says so, too, four times
a second and with every list. Lists are made again in parts that take about a slice, between two slices, so fresh events
keep their turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from millstream.online_learning.step import NOBODY, Step
from millstream.schemas.slates import EncodedSlate
from millstream.streams.marker import Marker

from .beside import Beside
from .publisher import PASSING, Publisher
from .step_thread import StepStopped, StepThread

_SMALLEST_PART, _LARGEST_PART = 20, 400
"""Users at a time. The smallest takes some 6 ms on a core of one's own; with less, a busy machine does little else than
begin."""
_BESIDE_EVERY_S = 0.05
_BEHIND_S = 0.01

_log = logging.getLogger(__name__)


class _Missing(NamedTuple):
    """Who lacks their newest list, as of event `seq`."""

    users: list[str]
    seq: int
    unmarked: list[int]
    """Partitions of which the marker knows nothing that the state can be compared with."""


class Upkeep:
    """Notices whose lists are missing and publishes them. One event loop owns it.

    Guarantee: once Redis and the roles hold still, Redis has each list of the partitions' users as of their last event,
    or a newer one; lists that are there are replaced by newer ones alone. `again` is called at each loss while we lead,
    for what does not come from the step.
    """

    def __init__(
        self,
        marker: Marker,
        thread: StepThread[Step],
        publisher: Publisher,
        beside: Sequence[Beside],
        *,
        again: Callable[[], None],
        leads: Callable[[], bool],
        caught_up: Callable[[], bool],
        failed: Callable[[BaseException], None],
        every_s: float,
        slice_ms: float,
    ) -> None:
        self.losses = 0
        """How often Redis had lost something."""
        self.taken_over = 0
        """Users whose lists were published at a takeover."""
        self._marker = marker
        self._thread = thread
        self._publisher = publisher
        self._beside = beside
        self._again = again
        self._leads = leads
        self._caught_up = caught_up
        self._failed = failed
        self._every_s = every_s
        self._part_s = slice_ms / 1000
        self._part = _SMALLEST_PART
        self._assigned: frozenset[int] | None = None
        self._told = asyncio.Event()
        self._taken: list[str] = []
        self._off: list[str] = []
        self._lost: list[str] = []
        self._whole_to: dict[int, int] = {}
        self._is_renewing = False
        self._has_lost = False
        """Whether Redis has lost something and it is not known yet what."""
        self._all_lost = False
        self._began_s: float | None = None
        self._count = 0
        self._users_again = 0

    @property
    def partitions(self) -> frozenset[int]:
        """Partitions whose users' lists are all there, apart from what was learned just now."""
        return self._marker.owned - self._marker.held

    @property
    def published_again(self) -> int:
        """Users, items and categories whose lists were published again after a loss."""
        return self._users_again + sum(each.lists_again for each in self._beside)

    @property
    def stale(self) -> int:
        """Users, items and categories whose lists Redis lost and does not hold again yet."""
        return len(self._lost) + sum(len(each.again) for each in self._beside)

    async def begin(self, worker: str) -> None:
        """Begin to mark what is published, under the worker's name. Raises what redis-py raises."""
        await self._marker.begin(worker)

    def assign(self, partitions: frozenset[int]) -> None:
        """From now on these partitions' lists are ours to make."""
        self._assigned = partitions
        self._told.set()

    def remake(self, user_ids: Collection[str]) -> None:
        """Publish these users' lists as of now: what they hold may not be shown any more."""
        waiting = set(self._off)
        self._off[:0] = [user_id for user_id in user_ids if user_id not in waiting]  # the last ones are under way

    def renew(self) -> None:
        """From now on lists are another model's: make everybody's anew. Call before any of that model's is added."""
        self._marker.held |= self._marker.owned
        self._is_renewing = True
        self._told.set()

    async def run(self) -> None:
        """Look and publish until cancelled, or until the step has ended."""
        while True:
            try:
                if self._is_renewing:
                    await self._renew()
                if self._assigned is not None and self._assigned != self._marker.owned:
                    await self._take_over(self._assigned)
                await self._look()
                await self._publish()
            except PASSING as error:
                _log.debug("no look at what Redis holds: %s", error)  # the publisher says so, and waits
            except StepStopped:
                return
            except Exception as error:
                self._failed(error)
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), self._every_s)
            self._told.clear()

    async def _renew(self) -> None:
        """Let go of all partitions, with nothing published of them, so that they are taken over next."""
        await self._publisher.publish_again([])  # what the model before made may still be on its way, with its numbers
        await self._marker.put_back(sorted(self._marker.owned))
        self._marker.owned = frozenset()
        self._is_renewing = False
        if self._leads():
            await self._publish_beside()

    async def _take_over(self, partitions: frozenset[int]) -> None:
        new = partitions - self._marker.owned
        published = await self._marker.published() or {}
        furthest = max((seq for at, seq in published.items() if at in new), default=0)
        # whoever had them was further: what it made lists of comes to us, too, if it is not another model's
        while await self._thread.call(lambda step: step.seq) < furthest and not self._caught_up():
            await asyncio.sleep(_BEHIND_S)
        self._marker.held |= new
        missing = await self._thread.call(lambda step: self._list(step, partitions, new, published))
        # the last that Redis can refuse: then all of this is done again
        await self._marker.put_back(missing.unmarked)
        self._marker.owned = partitions
        self._marker.held &= partitions
        self._whole_to.update(dict.fromkeys(new, missing.seq))
        # a marker that knows other partitions has never known one that was added to the topics
        is_gone = not published or not published.keys().isdisjoint(missing.unmarked)
        if missing.unmarked and missing.users and is_gone:
            self._lose(missing.users, gone=True)
        else:
            self._taken += missing.users
            if missing.users:
                _log.info("%s users' lists are made as of now: partitions taken over", f"{len(missing.users):,}")

    def _list(
        self, step: Step, partitions: frozenset[int], new: frozenset[int], published: Mapping[int, int]
    ) -> _Missing:
        """Make lists for the users of these partitions from the next event on; return whose are missing till then."""
        self._thread.listed = partitions
        step.shown.own(partitions)
        return _missing(new, published, step)

    async def _look(self, whole_to: Mapping[int, int] | None = None) -> None:
        self._has_lost = await self._marker.look(whole_to) or self._has_lost
        if not self._has_lost:
            return
        published = await self._marker.published() or {}
        owned = self._marker.owned
        missing = await self._thread.call(partial(_missing, owned, published))
        await self._marker.put_back(missing.unmarked)
        self._has_lost = False
        self._whole_to.update(dict.fromkeys(owned, missing.seq))
        self._lose(missing.users, gone=not owned.isdisjoint(missing.unmarked))

    def _lose(self, users: Sequence[str], *, gone: bool) -> None:
        self.losses += 1
        self._began_s = self._began_s or time.monotonic()
        self._lost = list(dict.fromkeys([*self._lost, *users, NOBODY]))
        self._all_lost = True
        self._count = self.stale
        _log.warning(
            "Redis has lost lists: the marker is %s; those of %s users are published again, %s",
            "gone" if gone else "an older one",
            f"{len(self._lost):,}",
            "which is all" if gone else "published since",
        )

    async def _publish(self) -> None:
        """Publish what is missing, until it is there or more is missing."""
        if self._all_lost and self._leads():
            self._all_lost = False
            await self._publish_beside()
            self._count = self.stale
            self._again()
        await self._publish_users(self._off)
        self.taken_over += await self._publish_users(self._taken)
        self._users_again += await self._publish_users(self._lost)
        while any(each.again for each in self._beside) and self._leads() and not self._is_disturbed():
            await asyncio.sleep(_BESIDE_EVERY_S)
        if self._is_disturbed() or not self._whole_to:
            return
        whole_to, self._whole_to = self._whole_to, {}
        self._marker.held -= whole_to.keys()
        if self._began_s is not None:
            took_s = time.monotonic() - self._began_s
            self._began_s = None
            _log.warning("what Redis had lost is published again: %s lists in %.1f s", f"{self._count:,}", took_s)
        await self._look(whole_to)

    async def _publish_beside(self) -> None:
        for each in self._beside:
            await each.publish_again()

    def _is_disturbed(self) -> bool:
        """Whether more is missing, or the roles have changed."""
        return self._marker.missed or self._told.is_set()

    async def _publish_users(self, users: list[str]) -> int:
        """Publish the lists of these users and take them out, until something is the matter; return how many.

        The next part is made while the one before, at the end of `users`, is on its way.
        """
        done = under_way = 0
        stored: asyncio.Future[None] | None = None
        while True:
            end = len(users) - under_way
            part = [] if self._is_disturbed() else users[max(0, end - self._part) : end]
            slates, took_s = await self._thread.call(partial(_made, part)) if part else ([], 1.0)
            if stored is not None:
                await stored
                del users[len(users) - under_way :]
                done += under_way
            if not part:
                return done
            stored, under_way = asyncio.ensure_future(self._publisher.publish_again(slates)), len(part)
            fits = int(len(part) * self._part_s / took_s)
            self._part = max(_SMALLEST_PART, min(2 * self._part, _LARGEST_PART, fits))


def _missing(partitions: frozenset[int], published: Mapping[int, int], step: Step) -> _Missing:
    """Return who of the partitions was touched after what is published of each."""
    known = {at: published[at] for at in partitions if published.get(at, step.seq + 1) <= step.seq}
    unmarked = sorted(partitions - known.keys())
    return _Missing(step.touched.since({**known, **dict.fromkeys(unmarked, 0)}), step.seq, unmarked)


def _made(user_ids: Sequence[str], step: Step) -> tuple[list[EncodedSlate], float]:
    """Return the users' lists as of now, and how long that took."""
    began_s = time.perf_counter()
    slates = step.relist(user_ids).encoded(time.time_ns() // 1_000_000)
    return slates, max(1e-6, time.perf_counter() - began_s)
