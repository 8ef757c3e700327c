"""A worker of a chaos run, with one guard turned off or none: `python -m millstream.agents.chaos.broken GUARD`.

What a guard is worth shows when it is missing: a run without it must find something. Each is turned off from outside,
so that no worker that people run has a switch for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from millstream.online_learning.torch_process import TRAINING

GUARDS = ("fence", "position", "newer-wins", "rename", "dedupe")
_BEHIND = 20


def _fence() -> None:
    """Records of claims that are over count, too, and whoever led goes on leading."""
    from millstream.agents.ordering import Ordering
    from millstream.online_learning.order import FollowedOrder
    from millstream.schemas.order_records import Order

    read, led_by = FollowedOrder.read, Ordering._led_by

    def believing(self: FollowedOrder, offset: int, record: Any, written_ms: int = 0) -> bool:
        if isinstance(record, Order):
            record = Order(self.position.epoch, self.position.writer, record.runs)
        return read(self, offset, record, written_ms)

    def unimpressed(self: Ordering, claim: Any) -> None:
        led = self.leads
        led_by(self, claim)
        self.leads = self.leads or led

    FollowedOrder.read = believing  # type: ignore[method-assign]
    Ordering._led_by = unimpressed  # type: ignore[method-assign]


def _position() -> None:
    """Snapshots say that they are a little older than they are, and nobody minds."""
    from millstream.online_learning.order import FollowedOrder
    from millstream.online_learning.step import Step

    header, follow = Step.header, FollowedOrder._follow

    def behind(self: Step, meta: dict[str, Any] | None = None) -> dict[str, Any]:
        found = header(self, meta)
        found["positions"] = [[topic, at, max(0, end - _BEHIND)] for topic, at, end in found["positions"]]
        return found

    def from_there(self: FollowedOrder, coming: Any) -> None:
        run = coming.run
        start = min(run.start, self.ordered.get((run.input, run.partition), run.start))
        follow(self, coming._replace(run=msgspec.structs.replace(run, start=start)))

    Step.header = behind  # type: ignore[method-assign]
    FollowedOrder._follow = from_there  # type: ignore[method-assign]


def _newer_wins() -> None:
    """Whatever list comes is stored."""
    marker: Any = import_module("millstream.streams.marker")
    redis_topic: Any = import_module("millstream.streams.redis_topic")
    script = marker.publish_script()
    careless = script.replace("local verdict = compare(KEYS[i], value)", "local verdict = 'n'")
    if careless == script:
        raise RuntimeError("publish.lua has changed: the guard to turn off is not found")
    for module in (marker, redis_topic):
        module.publish_script = lambda: careless


def _rename() -> None:
    """A snapshot has its name before what it holds is written."""
    from millstream.agents.snapshots import Snapshots
    from millstream.online_learning.live_copy import LiveCopy
    from millstream.online_learning.snapshot import Point, next_turn
    from millstream.online_learning.snapshot_file import SnapshotWriter

    write = Snapshots._write

    async def named_first(self: Snapshots, copy: LiveCopy) -> None:
        def begin(step: Any) -> Any:
            return step.header({**self.meta, "order": self._thread.order_position}), step.arena.layout()

        header, layout = await self._thread.call(begin)
        if not self._chain.is_long:
            header["after"] = self._chain.after
        path = Path(self._store.address) / Point.at(next_turn(self._store), header["seq"]).name
        with path.open("wb") as file:
            SnapshotWriter(file).end({**header, "state_hash": ""}, layout)
        await write(self, copy)
        path.unlink()

    Snapshots._write = named_first  # type: ignore[method-assign]


def _dedupe() -> None:
    """Every event counts, whatever its id."""
    from millstream.online_learning.event_window import Admitted, EventWindow

    def all_of_them(self: EventWindow, columns: Any, lists: Any) -> Admitted:
        return Admitted(columns, lists, None, [])

    EventWindow.admit = all_of_them  # type: ignore[method-assign]


_OFF: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "fence": _fence,
    "position": _position,
    "newer-wins": _newer_wins,
    "rename": _rename,
    "dedupe": _dedupe,
}


def main() -> None:
    """Turn the guard off and run the worker."""
    from millstream.agents.cli import main as command_line

    TRAINING.always = True  # forked with torch loaded, but to be killed as any worker's
    _OFF[sys.argv[1]]()
    sys.argv = ["millstream", "worker", "--json"]
    command_line()


if __name__ == "__main__":
    main()
