"""The events of a run: clicks, one in two with an id, some of these sent twice, some late; and their way onto Kafka."""

from __future__ import annotations

import asyncio
import random
import time

import orjson

from millstream.streams.acked_producer import AckedProducer, Record
from millstream.streams.errors import Unavailable

USERS, ITEMS = 1_500, 300
_TWICE, _LATE = 0.04, 0.05
_MOST_LATE_MS = 6 * 3_600_000
_FARTHEST_APART = 2_000
"""Events between the two sends of a duplicate."""
_BATCH_S = 0.02


class Events:
    """What is to be sent, in order: the same for the same seed, but for the time of day."""

    def __init__(self, seed: int, events: int) -> None:
        chance, now_ms = random.Random(f"events {seed}"), time.time_ns() // 1_000_000 - events
        self.records: list[Record] = []
        self.users: set[str] = set()
        again: dict[int, list[Record]] = {}
        for number in range(events):
            user = f"u{min(int(chance.expovariate(3.0) * USERS), USERS - 1)}"
            late_ms = int(chance.random() * _MOST_LATE_MS) if chance.random() < _LATE else 0
            event = {
                "user_id": user,
                "item_id": f"i{min(int(chance.expovariate(4.0) * ITEMS), ITEMS - 1)}",
                "ts_ms": now_ms + number - late_ms,
            }
            is_named = number % 2 == 0
            record = Record(
                user.encode(), orjson.dumps(event | {"event_id": f"{seed}-{number}"} if is_named else event)
            )
            self.records += [record, *again.pop(number, ())]
            self.users.add(user)
            if chance.random() < _TWICE and is_named:
                again.setdefault(number + chance.randrange(1, _FARTHEST_APART), []).append(record)
        self.records += [record for late in again.values() for record in late]


class Sender:
    """Sends events at a steady rate, through outages; what the broker may have taken twice is a duplicate."""

    def __init__(self, bootstrap: str, topic: str, events: Events, rate: float) -> None:
        self.sent = 0
        """Records acknowledged."""
        self.ends: dict[int, int] = {}
        """Next offset of each partition, as far as acknowledged."""
        self._failed: BaseException | None = None
        self._producer = AckedProducer(bootstrap, topic, client_id="millstream-chaos")
        self._events = events
        self._rate = rate

    async def run(self) -> None:
        """Send all."""
        began_s = time.monotonic()
        records = self._events.records
        try:
            while self.sent < len(records):
                due = min(len(records), int((time.monotonic() - began_s) * self._rate) + 1)
                if due > self.sent:
                    self.ends |= await self._producer.send(records[self.sent : due])
                    self.sent = due
                await asyncio.sleep(_BATCH_S)
        except BaseException as error:
            self._failed = error
            raise
        finally:
            await self._producer.close(1.0)

    async def reached(self, sent: int) -> None:
        """Return when so many records are acknowledged. Raises `Unavailable` when no more will be."""
        while self.sent < sent:
            if self._failed is not None:
                raise Unavailable(f"{self.sent:,} events sent, then no more: {self._failed!r}")
            await asyncio.sleep(_BATCH_S)
