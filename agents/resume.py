"""What a start goes on from: the newest snapshot that can be read."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.live_copy import LiveCopy
from millstream.online_learning.order import OrderPosition
from millstream.online_learning.snapshot import Chain, Stored, open_snapshot, points
from millstream.online_learning.snapshot_file import UnreadableSnapshot
from millstream.online_learning.snapshot_store import Store
from millstream.online_learning.step import INTERACTIONS, Step
from millstream.streams.errors import Unavailable

from .made_with import differences

_log = logging.getLogger(__name__)


class SnapshotUnusable(Unavailable):
    """No snapshot there is can be read, or the newest was made under other settings; the message has the remedy."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """A step to go on with, and where its inputs go on."""

    step: Step
    copy: LiveCopy
    """Of the step, to take snapshots from."""
    chain: Chain
    path: str | None
    """The snapshot it came from; None: a new, empty step."""
    positions: dict[tuple[str, int], int]
    """Next offset of each partition that was being read, also of those that had no record yet."""
    topic_ids: dict[str, str]
    order_position: OrderPosition
    """Where the state stands in the order."""


def positions_of(step: Step, meta: Mapping[str, Any]) -> dict[tuple[str, int], int]:
    """Return where a step goes on, also in partitions without a record yet, given what its snapshot says beside it."""
    begun = {(topic, partition): offset for topic, partition, offset in meta.get("begun", [])}
    return begun | step.positions | step.catalogue


def resume(config: LearningConfig, store: Store, inputs: Sequence[str] = (INTERACTIONS,)) -> Resumed:
    """Return the step of the newest snapshot that can be read, or an empty one where there is none.

    One that cannot be read is named in the log, and the one before is used. Raises `SnapshotUnusable`.
    """
    refused: UnreadableSnapshot | None = None
    listed = points(store)
    for point in reversed(listed):
        place = f"{store.address}/{point.name}"
        try:
            saved = open_snapshot(store, point.name)
            step = Step.load(config, saved, inputs)
        except UnreadableSnapshot as error:
            if {each.name for each in listed} - set(store.names()):
                return resume(config, store, inputs)  # whoever leads has newer ones, and removed those of before
            refused = error
            _log.error("%s", error)
            continue
        except ValueError as error:
            raise SnapshotUnusable(
                f"{place}: {error} (move {store.address} away to learn anew from the log)"
            ) from error
        if refused is not None:
            _log.warning("going on from %s in its place; what came since is read again", place)
        for line in differences(saved.header.get("made_with", {})):
            _log.warning("%s: %s; what is learned on may differ in the last digit", place, line)
        meta = saved.header["meta"]
        return Resumed(
            step=step,
            copy=LiveCopy(step),
            chain=Chain.of(saved) if isinstance(saved, Stored) else Chain(),
            path=place,
            positions=positions_of(step, meta),
            topic_ids=dict(meta.get("topic_ids", {})),
            order_position=OrderPosition(*meta.get("order", ())),
        )
    if refused is not None:
        raise SnapshotUnusable(
            f"{store.address}: no snapshot in it can be read, the oldest: {refused} (or move them away to learn anew "
            "from the log)"
        )
    step = Step(config, inputs)
    return Resumed(step, LiveCopy(step), Chain(), None, {}, {}, OrderPosition())
