"""The marker: a hash beside the lists that says how far each partition is published, for all to see what is missing.

    seq:P           lists of partition P's users, made by events up to this one of the order, are all there
    run:W, mark:W   how far worker W knows its calls to be there: the later it started, the greater the run

Every call that writes lists carries the worker's next mark and moves the marker in the same script, after its lists.
Redis loses writes from the end (an older dump, a log cut short, a replica that lagged) or all of them, so as long as
the mark stands where the last acknowledged call left it, nothing that was acknowledged is missing. What a partition's
seq leaves open is published by whoever takes the partition over. Why it is done so, and what it costs:
`docs/decisions/0019-when-redis-forgets.md`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import redis.asyncio

from .redis_keys import feed_key, marker_key

_KEPT, _MISSING, _LATER_RUN = ord("k"), ord("m"), ord("l")
NO_MOVE = ("", 0, 0, 0, 0)
"""The script's arguments of a writer that keeps no marker."""
_NO_LISTS = (0, 0, 0)
_log = logging.getLogger(__name__)


def publish_script() -> str:
    """Return the script that stores lists and moves the marker."""
    return files(__package__).joinpath("publish.lua").read_text()


@dataclass(frozen=True, slots=True)
class Move:
    """What one call says to move the marker by."""

    mark: int
    acknowledged: int
    published: Mapping[int, int]
    """By partition, the event of the order up to which all lists are published with this call."""


class Marker:
    """The marker as one worker knows it. One event loop owns it; any number of calls may be under way.

    Guarantee: after `begin`, `look` returns True once for each time that Redis came back without something it had
    acknowledged to this worker, or lost the key. A partition's seq stays where it is while the partition is `held`.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        *,
        prefix: str = "",
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.missed = False
        """Whether a call has found something missing since the last `look`."""
        self.owned: frozenset[int] = frozenset()
        """Partitions whose users' lists this worker publishes."""
        self.held: set[int] = set()
        """Those of which something is missing that is not published again yet."""
        self._client = client
        self._key = marker_key(prefix)
        self._keys = [feed_key(prefix), self._key]
        self._worker = ""
        self._now_ms = now_ms
        self._script = publish_script()
        self._look = client.register_script(self._script)
        self._run = 0
        self._mark = 0
        self._acknowledged = 0
        self._ceded = False

    async def begin(self, worker: str) -> None:
        """Begin a run of a worker, under its name. Raises what redis-py raises."""
        self._worker = worker
        found = await self._own()
        self._run = max(self._now_ms(), 0 if found is None else found[0] + 1)
        await self._set()

    async def look(self, published: Mapping[int, int] | None = None) -> bool:
        """Move the marker on, and return whether Redis has lost something since. Raises what redis-py raises."""
        move = self.move(published)
        answer: Any = await self._look(keys=self._keys, args=[*_NO_LISTS, *self.arguments(move)])
        self.moved(move, answer)
        if not self.missed:
            return False
        acknowledged = self._acknowledged
        found = await self._own()
        self.missed = False
        if found is not None and (found[0] > self._run or (found[0] == self._run and found[1] >= acknowledged)):
            return False
        self.held |= self.owned
        await self._set()
        return True

    async def published(self) -> dict[int, int] | None:
        """Return each partition's seq; None without a marker. Raises what redis-py raises."""
        if await self._client.type(self._key) != b"hash":
            return None
        fields: Any = await self._client.hgetall(self._key)
        return {
            int(name[4:]): int(value)
            for name, value in fields.items()
            if name.startswith(b"seq:") and name[4:].isdigit() and value.isdigit()
        }

    async def put_back(self, partitions: Collection[int]) -> None:
        """Say that nothing is known to be published of these. Raises what redis-py raises."""
        if partitions:
            await self._client.hset(self._key, mapping={f"seq:{partition}": 0 for partition in partitions})

    def move(self, published: Mapping[int, int] | None = None) -> Move:
        """Return what the next call says; with it, partitions are published up to the events given."""
        self._mark += 1
        free = {at: seq for at, seq in (published or {}).items() if at not in self.held}
        return Move(self._mark, self._acknowledged, free)

    def arguments(self, move: Move) -> tuple[str | int, ...]:
        """Return the script's arguments that say the move."""
        pairs = [number for pair in move.published.items() for number in pair]
        return self._worker, self._run, move.mark, move.acknowledged, len(move.published), *pairs

    def join(self, pipe: Any) -> Move:
        """Add a move to a transaction of other writes; hand the transaction's last answer to `moved`."""
        move = self.move()
        pipe.eval(self._script, len(self._keys), *self._keys, *_NO_LISTS, *self.arguments(move))
        return move

    def moved(self, move: Move, answer: bytes) -> None:
        """Take in what the script answered to a move."""
        if answer[0] == _KEPT:
            self._acknowledged = max(self._acknowledged, move.mark)
        elif answer[0] == _MISSING:
            self.missed = True
        elif answer[0] == _LATER_RUN and not self._ceded:
            self._ceded = True
            _log.warning(
                "%s: a later worker marks what it publishes as %s, too; give each a kafka.group_instance_id of its own",
                self._key,
                self._worker,
            )

    async def _own(self) -> tuple[int, int] | None:
        """Return our run and mark as Redis has them."""
        if await self._client.type(self._key) != b"hash":
            return None
        run, mark = await self._client.hmget(self._key, [f"run:{self._worker}", f"mark:{self._worker}"])
        try:
            return int(run or b"none"), int(mark or b"none")
        except ValueError:
            return None

    async def _set(self) -> None:
        move = self.move()
        if await self._client.type(self._key) not in (b"hash", b"none"):
            await self._client.delete(self._key)
        await self._client.hset(
            self._key, mapping={f"run:{self._worker}": self._run, f"mark:{self._worker}": move.mark}
        )
        self._acknowledged = max(self._acknowledged, move.mark)
