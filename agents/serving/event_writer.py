"""From requests to Kafka: what several callers send at once is acknowledged together, and waited for briefly."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from millstream.streams.acked_producer import Record
from millstream.streams.ending import end_tasks
from millstream.streams.errors import Unavailable

from .refused import Refused

MOST_WAITING = 10_000
"""Records that may wait for Kafka; more are refused, so that an outage costs answers and not memory."""


class Producer(Protocol):
    """Where records go: `AckedProducer`."""

    topic: str

    async def send(self, records: Sequence[Record]) -> dict[int, int]:
        """Return when all are acknowledged: by partition, the next offset after the last."""

    async def close(self, within_s: float = 3.0) -> None:
        """Close the connection."""


class EventWriter:
    """Writes records of concurrent requests to one topic. One event loop owns it.

    Guarantee: when `write` returns, every record is acknowledged by all replicas. When it raises, each may be written
    or not: its sender tries again, so a record stands in the topic at least once.
    """

    def __init__(self, producer: Producer, *, within_s: float) -> None:
        self._producer = producer
        self._within_s = within_s
        self._waiting: list[tuple[Sequence[Record], asyncio.Future[dict[int, int]]]] = []
        self._waiting_records = 0
        self._running: asyncio.Task[None] | None = None

    async def write(self, records: Sequence[Record]) -> dict[int, int]:
        """Return when the records are acknowledged: by partition, an offset that all of them are below.

        Raises `Refused` (503) when Kafka takes too long, or refuses.
        """
        if not records:
            return {}
        if self._waiting_records + len(records) > MOST_WAITING:
            raise self._unavailable(f"{self._waiting_records:,} records wait for Kafka already")
        done: asyncio.Future[dict[int, int]] = asyncio.get_running_loop().create_future()
        self._waiting.append((records, done))
        self._waiting_records += len(records)
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        try:
            return await asyncio.wait_for(done, self._within_s)
        except TimeoutError:
            raise self._unavailable(f"nothing acknowledged within {self._within_s:g} s") from None
        except Unavailable as error:
            raise self._unavailable(str(error)) from error

    async def close(self) -> None:
        """Stop, and close the connection; what is not acknowledged is given up."""
        if self._running is not None:
            await end_tasks([self._running])
        await self._producer.close()

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                # whoever has given up waiting sends again, so what they left behind would only be there twice
                batch = [(records, done) for records, done in batch if not done.done()]
                records = [record for records, _ in batch for record in records]
                self._waiting_records = len(records)
                if not records:
                    continue
                try:
                    ends = await self._producer.send(records)
                except Unavailable as error:
                    _settle(batch, error)
                else:
                    _settle(batch, ends)
                self._waiting_records = sum(len(records) for records, _ in self._waiting)
        finally:
            self._running = None

    def _unavailable(self, why: str) -> Refused:
        return Refused(
            503,
            "kafka_unavailable",
            f"topic {self._producer.topic}: {why}",
            "send it again after a second; `millstream doctor` says what is wrong",
            headers={"Retry-After": "1"},
        )


def _settle(
    batch: Sequence[tuple[Sequence[Record], asyncio.Future[dict[int, int]]]], became: dict[int, int] | Exception
) -> None:
    for _, done in batch:
        if done.done():
            continue
        if isinstance(became, Exception):
            done.set_exception(became)
        else:
            done.set_result(became)
