"""Switching to another model: one that was made beside, from the same log, and stands where this one stands.

The order says when (`schemas/order_records.py`): at the hold, everybody waits until the other model's snapshot as of
the hold is named, loads it, and goes on with what comes next. So all workers switch between the same two events.
Versions then have a greater generation, and everybody's list is made anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial

from millstream.online_learning.config import LearningConfig, differences, plain
from millstream.online_learning.live_copy import LiveCopy, write_whole
from millstream.online_learning.order import OrderPosition, Swapped
from millstream.online_learning.snapshot import Chain, forget, open_snapshot
from millstream.online_learning.snapshot_file import UnreadableSnapshot
from millstream.online_learning.snapshot_store import Store
from millstream.online_learning.step import Step
from millstream.schemas.order_records import Go, Swap
from millstream.streams.errors import Unavailable
from millstream.streams.model_log import ModelLog

from .made_with import made_with
from .ordering import Ordering
from .snapshots import Snapshots
from .step_thread import StepThread
from .stored_snapshots import config_of
from .upkeep import Upkeep

OFFERED, PREVIOUS = "rebuild", "previous"
"""Folders beside the snapshots: of the model to switch to, and of the one that was switched from."""
OFFERED, PREVIOUS = "rebuild", "previous"
"""Folders beside the snapshots: of the model to switch to, and of the one that was switched from."""
HELD_AT_MOST_S = 60.0
_LOOK_EVERY_S = 0.1
_log = logging.getLogger(__name__)


class ModelMissing(Unavailable):
    """The model that the order switches to cannot be read; the message says where it should be."""


class Switching:
    """Takes another model where the order says so, and lets nobody wait for one for ever. One event loop owns it."""

    def __init__(
        self,
        config: LearningConfig,
        ordering: Ordering,
        log: ModelLog,
        thread: StepThread[Step],
        snapshots: Snapshots,
        upkeep: Upkeep,
        *,
        offered: Store,
        previous: Store,
        takes: bool,
    ) -> None:
        self.swaps = 0
        """How often the order has gone on with another model."""
        self._config = config
        self._ordering = ordering
        self._log = log
        self._thread = thread
        self._snapshots = snapshots
        self._upkeep = upkeep
        self._offered = offered
        self._previous = previous
        self._takes = takes
        self._copy: LiveCopy | None = None
        self._keeping: asyncio.Future[None] | None = None

    def swap(self, swapped: Swapped) -> None:
        """Go on with another model behind what is queued; who makes one for others has it already."""
        self.swaps += 1
        if not self._takes:
            return
        self._thread.replace(partial(self._load, swapped.swap), swapped.after, partial(self._made, swapped.before))

    async def run(self) -> None:
        """While leading, go on as before where a model that was announced does not come; until cancelled."""
        held, since_s = None, 0.0
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if self._ordering.held != held:
                held, since_s = self._ordering.held, time.monotonic()
            elif held is not None and self._ordering.leads and time.monotonic() - since_s > HELD_AT_MOST_S:
                _log.warning("no model came within %g s: going on with this one", HELD_AT_MOST_S)
                await self._log.append(Go(held))
                since_s = time.monotonic()

    def _load(self, swap: Swap, step: Step) -> Step:
        place = f"{self._offered.address}/{swap.snapshot}"
        try:
            saved = open_snapshot(self._offered, swap.snapshot)
            config = config_of(saved.header["config"])
            other = Step.load(config, saved, step.inputs)
        except (UnreadableSnapshot, ValueError) as error:
            raise ModelMissing(
                f"the order goes on with the model in {place}, which cannot be read ({error}): bring it there, and "
                "start the worker again"
            ) from error
        if other.state_hash() != swap.state_hash:
            raise ModelMissing(f"{place}: the state it holds is {other.state_hash()}, not {swap.state_hash}")
        other.generation = 1 + max(step.generation, other.generation)
        self._copy = LiveCopy(other)
        return other

    def _made(self, at: OrderPosition, before: Step, now: Step) -> None:
        if self._copy is not None:
            self._snapshots.follow(self._copy, Chain())
        self._upkeep.renew()
        _log.warning("switched to another model, of %s events; it had %s", f"{now.seq:,}", f"{before.seq:,}")
        if odd := differences(self._config, plain(now.config)):
            _log.warning("it was made with other settings: %s; set them before the next start", "; ".join(odd))
        if self._ordering.leads:
            self._keeping = asyncio.ensure_future(asyncio.to_thread(self._keep, before, at))

    def _keep(self, before: Step, at: OrderPosition) -> None:
        """Keep the model that was switched from, to switch back to."""
        header = {"meta": {**self._snapshots.meta, "order": at}, "made_with": made_with()}
        try:
            write_whole(before, self._previous, {**header, "state_hash": before.state_hash()})
            forget(self._previous, keep=1)
        except OSError as error:
            _log.error("the model before is not kept in %s: %s", self._previous.address, error)
