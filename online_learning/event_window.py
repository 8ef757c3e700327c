"""The window of event ids: the door of the step, where an event that was learned before is turned away.

The ids of the last so many events that had one are kept, as 64-bit hashes in a ring. An event whose id is among them
is a duplicate: it teaches nothing, is not counted and takes no place in the ring. Two different ids have one hash with
a probability of 2^-64: with 100,000 in the ring, one event in 1.8 · 10^14 is lost to that.

Events without an id are identified by their place in the log, so they are nobody's duplicates and cost nothing here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from millstream.schemas.columns import InteractionColumns

from .arena import Arena
from .kinds import REFRESHING


class Admitted(NamedTuple):
    """Of a chunk's events those that are to be learned, and what becomes of the others."""

    columns: InteractionColumns
    lists: bool | NDArray[np.bool_]
    """As `Step.apply` takes it, for these events."""
    duplicate: NDArray[np.bool_] | None
    """Which of all were learned before, shape (events of the chunk,); None: none."""
    owed: list[str]
    """Users whose list was to be made after a duplicate, since an earlier event of theirs went without one."""


class EventWindow:
    """The ids of the last `events` events that had one; 0: no duplicate is looked for. Its only writer is `admit`."""

    def __init__(self, arena: Arena, events: int) -> None:
        window = arena.table("event_window", 1, lambda: 1, later=True)
        self._taken: NDArray[np.int64] = window.array("taken", np.int64)
        self._window_dirty = window.dirty
        ring = arena.table("event_ids", events, lambda: min(events, int(self._taken[0])), later=True)
        self._ring: NDArray[np.uint64] = ring.array("hash", np.uint64)
        self._ring_dirty = ring.dirty
        self._held: set[int] = set()
        self._order: deque[int] = deque()
        """The hashes in the ring, as a set and oldest first: made anew from it by `resume`, no state of their own."""
        self.owed: set[str] = set()
        """Users of whom an event was learned whose list a later event of their chunk is to make."""

    def resume(self, owed: Iterable[str]) -> None:
        """Go on from the ring that was loaded, and with the users who are still `owed` a list."""
        room, taken = len(self._ring), int(self._taken[0])
        if taken:
            self._order = deque(self._ring[np.arange(max(0, taken - room), taken) % room].tolist())
            self._held = set(self._order)
        self.owed = set(owed)

    def admit(self, columns: InteractionColumns, lists: bool | NDArray[np.bool_]) -> Admitted:
        """Take in the ids of events in log order; return those to learn. Where a log is cut changes nothing.

        A list that was to be made after a duplicate is made after its user's last other event here; where there is
        none, the user is `owed` it, or has it already.
        """
        if columns.event_ids is None or not len(self._ring):
            return Admitted(columns, lists, None, [])
        duplicate = self._duplicates(columns.event_ids)
        if isinstance(lists, bool):
            owed: list[str] = []
        else:
            lists, owed = self._lists(columns, lists, duplicate)
        if not duplicate.any():
            return Admitted(columns, lists, None, owed)
        fresh = np.flatnonzero(~duplicate)
        return Admitted(columns.taken(fresh), lists if isinstance(lists, bool) else lists[fresh], duplicate, owed)

    def _duplicates(self, event_ids: Sequence[str | None]) -> NDArray[np.bool_]:
        """Put the ids into the window that are not there; return whose were, shape (events,)."""
        room, held, order = len(self._ring), self._held, self._order
        duplicate = np.zeros(len(event_ids), np.bool_)
        named = [place for place, event_id in enumerate(event_ids) if event_id is not None]
        new = []
        for place, hashed in zip(named, _hashes([event_ids[place] or "" for place in named]), strict=True):
            if hashed in held:
                duplicate[place] = True
                continue
            if len(order) == room:
                held.remove(order.popleft())
            held.add(hashed)
            order.append(hashed)
            new.append(hashed)
        last = int(self._taken[0]) + len(new)
        kept = new[-room:]
        at = np.arange(last - len(kept), last) % room
        self._ring[at] = kept
        self._ring_dirty[at] = 1
        self._taken[0] = last
        self._window_dirty[0] = 1
        return duplicate

    def _lists(
        self, columns: InteractionColumns, wanted: NDArray[np.bool_], duplicate: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], list[str]]:
        """Return after which events lists are made, none of them a duplicate, and who is owed one beside."""
        lists, owed = wanted & ~duplicate, []
        unlisted: dict[str, int] = {}
        for at in np.flatnonzero(REFRESHING[columns.kinds]).tolist():
            user = columns.user_ids[at]
            if not wanted[at]:
                if not duplicate[at]:
                    unlisted[user] = at
                continue
            last = unlisted.pop(user, None)
            if duplicate[at] and last is not None:
                lists[last] = True
            elif duplicate[at] and user in self.owed:
                owed.append(user)
            self.owed.discard(user)
        self.owed.update(unlisted)
        return lists, owed


def _hashes(event_ids: list[str]) -> list[int]:
    """Return the first 64 bits of each id's BLAKE2b."""
    digests = b"".join([blake2b(event_id.encode(), digest_size=8).digest() for event_id in event_ids])
    hashes: list[int] = np.frombuffer(digests, "<u8").tolist()
    return hashes
