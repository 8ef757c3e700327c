"""Freshness: from the producer's send of an event to the first read, by another process, of a list that contains it.

A list of user u with `version.position` p contains every event of u whose offset in u's partition is below p. So an
event whose list was overwritten before anyone read it (coalesced) counts too: it waits for the next list of its user.
Holds for one input topic, where a position is one partition's next offset.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import numpy as np

from millstream.streams.ending import end_tasks
from millstream.streams.errors import Unavailable

_STOP_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Percentiles:
    """What `n` measurements come to, in milliseconds; NaN where there is none."""

    n: int
    p50: float
    p99: float
    max: float


def percentiles(ms: list[float]) -> Percentiles:
    """Return the median, the 99th percentile and the most; each is one that was measured (rounded up in rank)."""
    if not ms:
        return Percentiles(0, float("nan"), float("nan"), float("nan"))
    p50, p99, most = np.percentile(ms, (50, 99, 100), method="higher")
    return Percentiles(len(ms), float(p50), float(p99), float(most))


@dataclass(slots=True)
class _User:
    waiting: deque[tuple[int, int]] = field(default_factory=deque)  # (offset, sent_ns), offsets rising
    lists: deque[tuple[int, int]] = field(default_factory=deque)  # (position, seen_ns), both rising


class FreshnessMeter:
    """Joins sends with reads. One owner; the two kinds of news may come in any order between them.

    `sent` must be told a user's events by rising offset, `listed` the reads in the order they happened. A list read
    before the producer heard back from the broker is kept until the events it may contain are known.
    """

    def __init__(self) -> None:
        self._users: dict[str, _User] = {}
        self.fresh_ms: list[float] = []
        """Every event's freshness so far, in the order they were settled."""
        self.waiting = 0
        """Events sent whose list nobody has read yet."""

    def sent(self, user_id: str, offset: int, sent_ns: int) -> None:
        """Note an event: the broker stored it at `offset`, the producer was given it at `sent_ns` (monotonic)."""
        user = self._users.setdefault(user_id, _User())
        # neither this event nor any later one of this user is in such a list
        while user.lists and user.lists[0][0] <= offset:
            user.lists.popleft()
        if user.lists:
            self.fresh_ms.append((user.lists[0][1] - sent_ns) / 1e6)
        else:
            user.waiting.append((offset, sent_ns))
            self.waiting += 1

    def listed(self, user_id: str, position: int, seen_ns: int) -> None:
        """Note a read at `seen_ns` (monotonic): the list contains the user's offsets below `position`."""
        user = self._users.setdefault(user_id, _User())
        while user.waiting and user.waiting[0][0] < position:
            _, sent_ns = user.waiting.popleft()
            self.waiting -= 1
            self.fresh_ms.append((seen_ns - sent_ns) / 1e6)
        if not user.lists or user.lists[-1][0] < position:
            user.lists.append((position, seen_ns))

    def recent(self, events: int = 2_000) -> Percentiles:
        """Return the percentiles of the last so many events."""
        return percentiles(self.fresh_ms[-events:])

    def overall(self) -> Percentiles:
        """Return the percentiles of all events."""
        return percentiles(self.fresh_ms)


class FeedFollower:
    """The other process (`feed_follower`), started, read from and ended by one event loop; an async context manager.

    `listed(user_id, position, seen_ns)` is called in the loop for each list it read. `lists` counts them.
    """

    def __init__(self, url: str, prefix: str, listed: Callable[[str, int, int], None]) -> None:
        self._arguments = ("-m", "millstream.agents.feed_follower", url, prefix)
        self._listed = listed
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.lists = 0

    async def __aenter__(self) -> FeedFollower:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the terminal is ours to act on
        )
        assert self._process.stdout is not None
        try:
            ready = await self._process.stdout.readline() == b'"ready"\n'
        except BaseException:  # cancelled while it starts: leave no process behind
            await self.__aexit__()
            raise
        if not ready:
            await self.__aexit__()
            raise Unavailable(
                f"the process that reads the feed at {self._arguments[2]} ended with status "
                f"{self._process.returncode} before it was ready; what it wrote says why"
            )
        self._reading = asyncio.create_task(self._read(self._process.stdout))
        return self

    async def _read(self, stream: asyncio.StreamReader) -> None:
        decode = msgspec.json.Decoder(tuple[int, int, str]).decode
        async for line in stream:
            seen_ns, position, user_id = decode(line)
            self.lists += 1
            self._listed(user_id, position, seen_ns)

    async def __aexit__(self, *failure: object) -> None:
        if self._reading is not None:
            await end_tasks([self._reading])
        if self._process is not None:
            if self._process.stdin is not None:
                self._process.stdin.close()
            try:
                await asyncio.wait_for(self._process.wait(), _STOP_WITHIN_S)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
