"""Snapshots as the worker takes and uses them: when, with what beside the state, and what a start does with one.

The state and its positions are the step's; beside them a snapshot says (`meta`) which topics the positions belong to,
where each partition was begun, and whose lists were made but not yet published. Without the last, a crash between
learning and publishing would leave those lists old until their user's next event.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.order import OrderRecord
from millstream.online_learning.snapshot import (
    Dump,
    UnreadableSnapshot,
    list_snapshots,
    read_newest,
    snapshot_seq,
    write_snapshot,
)
from millstream.online_learning.step import INTERACTIONS, Step
from millstream.streams.errors import Unavailable
from millstream.streams.source import Positions

from .order_log import OrderLog, read_order
from .step_thread import StepThread

_SHARE_OF_TIME = 0.05
_log = logging.getLogger(__name__)


class SnapshotUnusable(Unavailable):
    """The newest snapshot cannot be read, or was made under other settings; the message has the file and the remedy."""


class SnapshotRefused(Unavailable):
    """A snapshot could not be written; the message has the folder and why."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """A step to go on with, and where its inputs go on."""

    step: Step
    path: Path | None
    """The snapshot it came from; None: a new, empty step."""
    positions: dict[tuple[str, int], int]
    """Next offset of each partition that was being read, also of those that had no record yet."""
    topic_ids: dict[str, str]
    unpublished: tuple[str, ...]
    """Users whose lists have to be published again."""
    order: list[OrderRecord]
    """How what came after the snapshot was applied, as far as it was recorded."""


def resume(config: LearningConfig, directory: Path, inputs: Sequence[str] = (INTERACTIONS,)) -> Resumed:
    """Return the newest snapshot's step, or an empty one where there is none. Raises `SnapshotUnusable`."""
    paths = list_snapshots(directory)
    try:
        dump = read_newest(directory)
        if dump is None:
            return Resumed(Step(config, inputs), None, {}, {}, (), read_order(directory, 0))
        step = Step.load(config, dump, inputs)
    except UnreadableSnapshot as error:
        raise SnapshotUnusable(str(error)) from error
    except ValueError as error:
        raise SnapshotUnusable(f"{paths[-1]}: {error} (move {directory} away to learn anew from the log)") from error
    meta = dump.header["meta"]
    begun = {(topic, partition): offset for topic, partition, offset in meta.get("begun", [])}
    return Resumed(
        step=step,
        path=paths[-1],
        positions=begun | step.positions,
        topic_ids=dict(meta.get("topic_ids", {})),
        unpublished=tuple(meta.get("unpublished", [])),
        order=read_order(directory, step.seq),
    )


class Snapshots:
    """Takes snapshots of a running step. One event loop owns it; files are written on another thread, one at a time.

    `unpublished` is asked right after the state was copied, so it names at least every user whose list belongs to the
    copied state and is not published; a user too many only costs a list.
    """

    def __init__(
        self,
        thread: StepThread[Step],
        directory: Path,
        *,
        every_s: float,
        keep: int,
        unpublished: Callable[[], Iterable[str]],
        order: OrderLog,
    ) -> None:
        self.last: Path | None = None
        self._thread = thread
        self._directory = directory
        self._every_s = every_s
        self._keep = keep
        self._unpublished = unpublished
        self._order = order
        self._meta: dict[str, Any] = {}
        self._saved: tuple[dict[tuple[str, int], int], list[str]] | None = None
        self._turn = asyncio.Lock()

    def describe(self, *, topic_ids: dict[str, str], begun: Positions) -> None:
        """Set what every snapshot says of its topics: their ids, and where reading of each partition began."""
        self._meta = {
            "topic_ids": topic_ids,
            "begun": [[topic, partition, offset] for (topic, partition), offset in begun.items()],
        }

    def check_directory(self) -> None:
        """Raise `SnapshotRefused` if files cannot be made in the folder: known at the start, not after an hour."""
        probe = self._directory / ".writable"
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise SnapshotRefused(self._refusal(error)) from error

    async def run(self) -> None:
        """Take a snapshot every `every_s` seconds, more rarely where that would be more than a twentieth of the time.

        One that fails is logged and the next one tried.
        """
        took_s = 0.0
        while True:
            await asyncio.sleep(max(self._every_s, took_s / _SHARE_OF_TIME))
            began_s = time.monotonic()
            with contextlib.suppress(SnapshotRefused):  # logged by `take`: learning goes on, a crash costs more replay
                await self.take()
            took_s = time.monotonic() - began_s

    async def take(self) -> Path | None:
        """Write a snapshot of the state as it is now; return its path, or the last one's if nothing has changed.

        Raises `SnapshotRefused` when it cannot be written, `StepStopped` when there is no state to copy any more.
        """
        async with self._turn:
            dump = await self._thread.call(self._copy)
            if dump is None:
                return self.last
            unpublished = sorted(self._unpublished())
            dump.header["meta"]["unpublished"] = unpublished
            try:
                self.last = await asyncio.to_thread(write_snapshot, dump, self._directory, self._keep)
                oldest = list_snapshots(self._directory)[0]
                self._order.forget_before(snapshot_seq(oldest))
            except OSError as error:
                message = self._refusal(error)
                _log.error("%s", message)
                raise SnapshotRefused(message) from error
            self._saved = (_positions(dump), unpublished)
            return self.last

    def _copy(self, step: Step) -> Dump | None:
        # on the step's thread: skipping costs a dictionary comparison, copying costs milliseconds
        if self._saved == (step.positions | step.catalogue, []):
            return None
        self._order.begin(step.seq, self._thread.unfollowed)
        return step.dump(dict(self._meta))

    def _refusal(self, error: OSError) -> str:
        return (
            f"snapshots.directory = {str(self._directory)!r}: no snapshot can be written there ({error}); give the "
            "worker a folder it may write to, with room"
        )


def _positions(dump: Dump) -> dict[tuple[str, int], int]:
    positions = (*dump.header["positions"], *dump.header["catalogue"])
    return {(topic, partition): offset for topic, partition, offset in positions}
