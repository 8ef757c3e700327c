"""The marker: a key beside the lists that says how far a worker has published, so that it sees what Redis has lost.

Every call that writes lists carries the next mark and moves the marker in the same script, after its lists. Redis loses
writes from the end (an older dump, a log cut short, a replica that lagged) or all of them, so as long as the marker
stands where the last acknowledged call left it, nothing that was acknowledged is missing. Why it is done so, and what
it costs: `docs/decisions/0019-when-redis-forgets.md`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import redis.asyncio

from .redis_keys import feed_key, marker_key

_KEPT, _MISSING, _LATER_RUN = ord("k"), ord("m"), ord("l")
NO_MOVE = (0, 0, 0, 0)
"""The script's arguments of a writer that keeps no marker."""
_NO_LISTS = (0, 0, 0)
_log = logging.getLogger(__name__)


def publish_script() -> str:
    """Return the script that stores lists and moves the marker."""
    return files(__package__).joinpath("publish.lua").read_text()


@dataclass(frozen=True, slots=True)
class Mark:
    """What the marker says."""

    run: int
    """Whose: the later a worker started, the greater."""
    mark: int
    """Number of the last call of the run that is in Redis with all acknowledged before it."""
    seq: int
    """Lists made by events up to this one are all there."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Redis no longer holds all that it acknowledged."""

    gone: bool
    """Whether the marker was gone; else it was an older one."""
    since: int | None
    """The mark of this run up to which everything is there; None where that is unknown."""


@dataclass(frozen=True, slots=True)
class Move:
    """What one call says to move the marker by."""

    mark: int
    acknowledged: int
    seq: int
    events: int


class Marker:
    """The marker as its worker knows it. One event loop owns it; any number of calls may be under way.

    Guarantee: after `claim`, `look` returns a `Loss` once for each time that Redis came back without something it had
    acknowledged, or lost the key. Until `restored` after that, the marker's `seq` stays where everything was there, so
    that a start in between finds the loss again.
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
        self._client = client
        self._key = marker_key(prefix)
        self._keys = [feed_key(prefix), self._key]
        self._now_ms = now_ms
        self._script = publish_script()
        self._look = client.register_script(self._script)
        self._run = 0
        self._mark = 0
        self._acknowledged = 0
        self._seq = 0
        self._whole_to: int | None = None
        """While something is missing: the seq up to which nothing is."""
        self._ceded = False

    async def claim(self, seq: int) -> Loss | None:
        """Begin a run whose state holds `seq` events; return what Redis lacks of them. Raises what redis-py raises."""
        found = await self.read()
        loss = None
        if seq and (found is None or found.seq < seq):
            loss = Loss(gone=found is None, since=None)
            self._whole_to = 0 if found is None else found.seq
        self._run = max(self._now_ms(), 0 if found is None else found.run + 1)
        self._seq = seq
        await self._set()
        return loss

    async def look(self) -> Loss | None:
        """Move the marker on, and return what Redis has lost since the last look. Raises what redis-py raises."""
        move = self.move()
        answer: Any = await self._look(keys=self._keys, args=[*_NO_LISTS, *self.arguments(move)])
        self.moved(move, answer)
        if not self.missed:
            return None
        acknowledged = self._acknowledged
        found = await self.read()
        self.missed = False
        if found is not None and found.run > self._run:
            return None
        ours = found is not None and found.run == self._run
        if ours and found is not None and found.mark >= acknowledged:
            return None
        whole_to = found.seq if ours and found is not None else 0
        self._whole_to = whole_to if self._whole_to is None else min(self._whole_to, whole_to)
        await self._set()
        return Loss(gone=found is None, since=found.mark if ours and found is not None else None)

    async def read(self) -> Mark | None:
        """Return what the marker says, None where there is none of ours. Raises what redis-py raises."""
        if await self._client.type(self._key) != b"hash":
            return None
        fields = await self._client.hmget(self._key, ["run", "mark", "seq"])
        try:
            return Mark(*(int(field or b"none") for field in fields))
        except ValueError:
            return None

    def restored(self) -> None:
        """Say that what was missing is there again."""
        self._whole_to = None

    def move(self, events: int = 0) -> Move:
        """Return what the next call says; with it, the lists of so many more events are all published."""
        self._mark += 1
        seq = self._seq + events
        return Move(self._mark, self._acknowledged, seq if self._whole_to is None else min(seq, self._whole_to), events)

    def arguments(self, move: Move) -> tuple[int, int, int, int]:
        """Return the script's arguments that say the move."""
        return self._run, move.mark, move.acknowledged, move.seq

    def join(self, pipe: Any) -> Move:
        """Add a move to a transaction of other writes; hand the transaction's last answer to `moved`."""
        move = self.move()
        pipe.eval(self._script, len(self._keys), *self._keys, *_NO_LISTS, *self.arguments(move))
        return move

    def moved(self, move: Move, answer: bytes) -> None:
        """Take in what the script answered to a move."""
        self._seq += move.events
        if answer[0] == _KEPT:
            self._acknowledged = max(self._acknowledged, move.mark)
        elif answer[0] == _MISSING:
            self.missed = True
        elif answer[0] == _LATER_RUN and not self._ceded:
            self._ceded = True
            _log.warning(
                "%s: a worker that started later publishes here, too; one worker a pipeline: stop one of the two, or "
                "give it a MILLSTREAM_REDIS__PREFIX of its own",
                self._key,
            )

    async def _set(self) -> None:
        move = self.move()
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.delete(self._key)  # it may be of another type
            pipe.hset(self._key, mapping={"run": self._run, "mark": move.mark, "seq": move.seq})
            await pipe.execute()
        self._acknowledged = max(self._acknowledged, move.mark)
