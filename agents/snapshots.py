"""Snapshots as the worker takes them: when, without stopping the stream, and with what beside the state.

The state and its positions are the step's; beside them a snapshot says (`meta`) where it stands in the order, which
topics the positions belong to, and where each partition was begun. Any worker's snapshot starts any worker; where they
share a folder the one that leads takes them, and another only when it has not for a while.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from millstream.online_learning.live_copy import Changes, LiveCopy, Moment
from millstream.online_learning.snapshot import Chain, Point, forget, next_turn, points
from millstream.online_learning.snapshot_file import SnapshotWriter
from millstream.online_learning.snapshot_store import Store, Writing
from millstream.online_learning.step import Step
from millstream.streams.beginnings import Positions
from millstream.streams.errors import Unavailable

from .made_with import made_with
from .step_thread import StepStopped, StepThread

_SHARE_OF_TIME = 0.05
_FEW_BYTES = 1 << 20
"""What is left to copy when the last of it is copied between two events."""
_MOST_PASSES = 6
_OTHERS_MAY_TAKE = 3
"""Turns without a snapshot of the leader's after which another worker takes one."""
_log = logging.getLogger(__name__)


class SnapshotRefused(Unavailable):
    """A snapshot could not be written; the message has the folder and why."""


class _AnotherModel(Exception):
    """The step that was being copied is no longer the one that learns."""


class Snapshots:
    """Takes snapshots of a running step. One event loop owns it; files are written on another thread, one at a time."""

    def __init__(
        self,
        thread: StepThread[Step],
        store: Store,
        *,
        every_s: float,
        keep: int,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self.last: str | None = None
        """Name of the last one taken."""
        self._thread = thread
        self._store = store
        self._every_s = every_s
        self._keep = keep
        self._leads = leads
        self._copy: LiveCopy | None = None
        self._chain = Chain()
        self._hash_known = False
        self.meta: dict[str, Any] = {}
        """What every snapshot says of its topics."""
        self._saved: dict[tuple[str, int], int] | None = None
        self._newest = "", 0.0
        """The newest snapshot of all workers when last looked for, and since when it was."""
        self._turn = asyncio.Lock()

    def follow(self, copy: LiveCopy, chain: Chain) -> None:
        """Take snapshots from `copy`, the next one after what `chain` ends with; from now on, whatever was before."""
        self._copy, self._chain = copy, chain
        self._hash_known, self._saved = False, None

    def describe(self, *, topic_ids: dict[str, str], begun: Positions) -> None:
        """Set what every snapshot says of its topics: their ids, and where reading of each partition began."""
        self.meta = {
            "topic_ids": topic_ids,
            "begun": [[topic, partition, offset] for (topic, partition), offset in begun.items()],
        }

    def check(self) -> None:
        """Raise `SnapshotRefused` if files cannot be made there: known at the start, not after an hour."""
        try:
            self._store.check()
        except OSError as error:
            raise SnapshotRefused(self._refusal(error)) from error

    async def run(self) -> None:
        """Take a snapshot every `every_s` seconds, more rarely where that would be more than a twentieth of the time.

        One that fails is logged and the next one tried.
        """
        took_s = 0.0
        while True:
            await asyncio.sleep(max(self._every_s, took_s / _SHARE_OF_TIME))
            if not self._leads() and await asyncio.to_thread(self._others_do):
                continue
            began_s = time.monotonic()
            try:
                await self.take()
            except SnapshotRefused:  # logged by `take`: learning goes on, a crash costs more replay
                pass
            except StepStopped:
                return
            took_s = time.monotonic() - began_s

    async def take(self) -> str | None:
        """Write a snapshot of the state as it is now; return its name, or the last one's if nothing has changed.

        Raises `SnapshotRefused` when it cannot be written, `StepStopped` when there is no state to copy any more.
        """
        async with self._turn:
            positions = await self._thread.call(lambda step: step.positions | step.catalogue)
            if self._copy is None or self._saved == positions:
                return self.last
            try:
                await self._write(self._copy)
            except _AnotherModel:  # the next one is of that
                return self.last
            except OSError as error:
                message = self._refusal(error)
                _log.error("%s", message)
                raise SnapshotRefused(message) from error
            return self.last

    def _others_do(self) -> bool:
        """Whether another worker has taken one here lately."""
        now_s = time.monotonic()
        newest = next((point.name for point in reversed(points(self._store))), "")
        if newest != self._newest[0]:
            self._newest = newest, now_s
        return newest != "" and now_s - self._newest[1] < _OTHERS_MAY_TAKE * self._every_s

    async def _write(self, copy: LiveCopy) -> None:
        """Copy the state, over and over what changed meanwhile; the last of it between two events."""
        whole = not await asyncio.to_thread(self._chain.goes_on, self._store)
        made = self._store.create()
        try:
            out = SnapshotWriter(made.file)
            if whole or not self._hash_known:
                everything = await self._thread.call(lambda _: copy.everything())
                await asyncio.to_thread(_take_in, copy, everything, out if whole else None)
                self._hash_known = True
            for _ in range(_MOST_PASSES):
                changes = await self._thread.call(lambda _: copy.changed())
                await asyncio.to_thread(_take_in, copy, changes, out)
                if changes.bytes < _FEW_BYTES:
                    break
            moment = await self._thread.call(lambda step: self._moment(copy, step))
            if not whole:
                moment.header["after"] = self._chain.after
            point, crc = await asyncio.to_thread(self._finish, copy, moment, out, made, whole)
        except _AnotherModel:
            made.give_up()
            raise
        except BaseException:
            self._chain, self._hash_known = Chain(), False
            made.give_up()
            raise
        self._chain.add((point.name, crc), out.bytes, whole)
        self.last = point.name
        self._saved = _positions(moment)

    def _moment(self, copy: LiveCopy, step: Step) -> Moment:
        if not copy.is_of(step):
            raise _AnotherModel
        return copy.moment({**self.meta, "order": self._thread.order_position})

    def _finish(
        self, copy: LiveCopy, moment: Moment, out: SnapshotWriter, made: Writing, whole: bool
    ) -> tuple[Point, int]:
        copy.take_in(moment.copied, out)
        moment.header.update(state_hash=copy.state_hash(moment), made_with=made_with())
        crc = out.end(moment.header, moment.layout)
        turn = next_turn(self._store)
        while True:
            point = Point.at(turn, moment.header["seq"])
            try:
                made.finish(point.name)
            except FileExistsError:  # another worker's
                turn += 1
            else:
                break
        if whole:
            forget(self._store, self._keep)
        return point, crc

    def _refusal(self, error: OSError) -> str:
        return (
            f"snapshots.directory = {self._store.address!r}: no snapshot can be written there ({error}); give the "
            "worker a place it may write to, with room"
        )


def _take_in(copy: LiveCopy, changes: Changes, out: SnapshotWriter | None) -> None:
    for copied in copy.copy(changes):
        copy.take_in(copied, out)


def _positions(moment: Moment) -> dict[tuple[str, int], int]:
    positions = (*moment.header["positions"], *moment.header["catalogue"])
    return {(topic, partition): offset for topic, partition, offset in positions}
