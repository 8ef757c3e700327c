"""Mends lists that hold what the catalogue has withdrawn: each is made again, so that a plain GET is clean, too.

Who makes a user's lists knows what they hold (`online_learning/shown.py`) and finds those to mend by looking through
memory. Lists that somebody else made, or that were made before this start, are read from Redis first, once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import Protocol

from millstream.online_learning.step import Step

from .publisher import PASSING
from .step_thread import StepStopped, StepThread

EVERY_S = 0.1
"""How long a withdrawal may wait to be looked at."""
_AT_ONCE = 200
"""Users whose lists are read at a time: some 10 ms of the event loop and 2 of Redis."""

_log = logging.getLogger(__name__)


class Lists(Protocol):
    """Where lists are: `RedisTopic`."""

    async def read_items(self, names: Sequence[str], user_ids: Sequence[str]) -> list[list[str]]:
        """Return the items that each user's lists of these names hold, in the users' order."""


class Remaking(Protocol):
    """Who makes lists again: `Upkeep`."""

    def remake(self, user_ids: Collection[str]) -> None:
        """Publish these users' lists as of now."""


class Withdrawals:
    """Notices lists that hold what is withdrawn. One event loop owns it.

    Guarantee: once the roles hold still and everybody's lists were read, a list of the partitions' users that holds
    what was withdrawn is handed over to be made again within `EVERY_S`, and the time it takes to look through.
    """

    def __init__(self, thread: StepThread[Step], lists: Lists, remaking: Remaking, names: Sequence[str]) -> None:
        self._thread = thread
        self._lists = lists
        self._remaking = remaking
        self._names = names

    async def run(self) -> None:
        """Look until cancelled, or until the step has ended."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                while await self._look():
                    await asyncio.sleep(0)
            except PASSING as error:
                _log.debug("lists could not be read: %s", error)  # the publisher says so; the next look reads them
            except StepStopped:
                return

    async def _look(self) -> bool:
        """Look through a part of the users, or read a part of the lists; return whether there are more."""
        holders, unknown, more = await self._thread.call(_next)
        self._mend(holders)
        if unknown:
            held = await self._lists.read_items(self._names, unknown)
            self._mend(await self._thread.call(lambda step: step.shown.read(unknown, held)))
        return more

    def _mend(self, holders: Collection[str]) -> None:
        if holders:
            self._remaking.remake(holders)


def _next(step: Step) -> tuple[list[str], list[str], bool]:
    """Return users whose lists hold what was withdrawn, others whose lists are to be read, and whether more may be."""
    shown = step.shown
    holders = shown.take_holders() if shown.is_looking else []
    unknown = shown.unknown(_AT_ONCE)
    return holders, unknown, shown.is_looking or bool(unknown)
