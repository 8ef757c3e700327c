"""A recorded log onto a Kafka topic, as if it happened again.

Guarantees: an event goes to the partition that a Java client would give its user; within a partition the order is the
log's; nothing is written twice (idempotent, acks=all); a record's timestamp is its event's time. So a worker learns
from the topic exactly what `evaluate` learns from the file.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

# aiokafka ships no types
from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]
from aiokafka.partitioner import DefaultPartitioner  # type: ignore[import-untyped]

from millstream.schemas.canonical import canonical_events
from millstream.schemas.columns import InteractionColumns
from millstream.schemas.mapping import InputMapping
from millstream.streams.ending import end_tasks
from millstream.streams.errors import BrokerUnreachable, Unavailable

_BLOCK_EVENTS = 1_000
_MAX_UNACKNOWLEDGED = 20_000
"""Released but not yet acknowledged; beyond it nothing more is released, so memory stays bounded."""
_LONGEST_NAP_S = 0.05
_LINGER_S = 0.005
"""Events fall due together that are so close, as with the linger of Kafka's own producers."""
"""So that a stop is noticed soon even where the log has a long silence."""
_ANSWER_WITHIN_MS = 60_000
"""A broker may be gone for so long before a batch counts as lost."""

OnEvent = Callable[[int, int, int, int], None]
"""Told of each acknowledged event: its row in the columns, its partition, its offset there, and when it was handed to
the producer (`time.monotonic_ns`). Within a partition the calls come by rising offset."""


class ReplayFailed(Unavailable):
    """The broker stopped taking events; the message says how many it had acknowledged."""


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay came to."""

    events: int
    """Events of the log."""
    acknowledged: int
    """Events the broker has; less than `events` only after a stop."""
    elapsed_s: float
    partitions: dict[int, int]
    """Acknowledged events by partition, every partition of the topic listed."""
    stopped: bool
    """Whether it was stopped before the end."""

    @property
    def events_per_s(self) -> float:
        """Acknowledged events a second, from the first release to the last acknowledgement."""
        return self.acknowledged / self.elapsed_s if self.elapsed_s > 0 else 0.0


async def replay(
    columns: InteractionColumns,
    *,
    bootstrap: str,
    topic: str,
    rate: float | None = None,
    speed: float | None = None,
    extras: Sequence[Mapping[str, Any] | None] | None = None,
    mapping: InputMapping | None = None,
    on_sent: Callable[[int], None] | None = None,
    on_event: OnEvent | None = None,
    stop: asyncio.Event | None = None,
) -> ReplayReport:
    """Send every event of `columns` to `topic`, and return once the broker has acknowledged them all.

    `rate` offers so many events a second; `speed` keeps the log's own pace, times this; neither means as fast as the
    broker takes them. Messages use the names of `mapping` (the topic's input), ours by default; `extras` has one entry
    a row. `on_sent` is told the number acknowledged so far. Setting `stop` ends it after what is on its way.
    Raises `BrokerUnreachable` or `ReplayFailed`, and whatever a hook raises; ValueError if `rate` and `speed` are both
    given or not above 0.
    """
    if rate is not None and speed is not None:
        raise ValueError(f"rate={rate} and speed={speed}: give one of them")
    if not all(pace is None or pace > 0 for pace in (rate, speed)):
        raise ValueError(f"rate={rate}, speed={speed}: must be above 0")
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        client_id="millstream-replay",
        acks="all",
        enable_idempotence=True,
        max_batch_size=256 * 1024,
        request_timeout_ms=_ANSWER_WITHIN_MS,
    )
    try:
        await producer.start()
    except KafkaError as error:
        await producer.stop()
        raise BrokerUnreachable(f"no Kafka broker answers at {bootstrap}: {error}; is it running?") from error
    try:
        partitions = sorted(await producer.partitions_for(topic))
        sending = _Sending(producer, topic, partitions, on_sent, on_event)
        return await sending.run(columns, _pace(columns, rate, speed), extras, mapping, stop or asyncio.Event())
    except KafkaError as error:
        raise BrokerUnreachable(f"{bootstrap} has no usable topic {topic!r}: {error}") from error
    finally:
        await producer.stop()


class _Message(NamedTuple):
    row: int
    key: bytes
    value: bytes
    ts_ms: int


class _Lane:
    """The events of one partition that were released and not yet handed to the producer, in order."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.waiting: deque[_Message] = deque()
        self.filled = asyncio.Event()
        self.acknowledged = 0


class _Sending:
    """One replay under way. All of it runs on one event loop."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        partitions: list[int],
        on_sent: Callable[[int], None] | None,
        on_event: OnEvent | None,
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._partitions = partitions
        self._lanes = {partition: _Lane(partition) for partition in partitions}
        self._partitioner = DefaultPartitioner()
        self._places: dict[str, tuple[bytes, _Lane]] = {}
        self._on_sent = on_sent
        self._on_event = on_event
        self._unacknowledged = 0
        self._acknowledged = 0
        self._news = asyncio.Event()
        self._failure: BaseException | None = None

    async def run(
        self,
        columns: InteractionColumns,
        due: Callable[[float], int],
        extras: Sequence[Mapping[str, Any] | None] | None,
        mapping: InputMapping | None,
        stop: asyncio.Event,
    ) -> ReplayReport:
        tasks = [asyncio.create_task(self._send(lane)) for lane in self._lanes.values()]
        started_s = time.monotonic()
        try:
            stopped = await self._release(columns, due, extras, mapping, stop, started_s)
            if stopped:
                for lane in self._lanes.values():
                    self._unacknowledged -= len(lane.waiting)
                    lane.waiting.clear()
            while self._unacknowledged:
                await self._hear()
        finally:
            await end_tasks(tasks)
        return ReplayReport(
            events=len(columns),
            acknowledged=self._acknowledged,
            elapsed_s=time.monotonic() - started_s,
            partitions={lane.partition: lane.acknowledged for lane in self._lanes.values()},
            stopped=stopped,
        )

    async def _release(
        self,
        columns: InteractionColumns,
        due: Callable[[float], int],
        extras: Sequence[Mapping[str, Any] | None] | None,
        mapping: InputMapping | None,
        stop: asyncio.Event,
        started_s: float,
    ) -> bool:
        """Put events into their lanes as they fall due; return whether it was stopped."""
        n, released = len(columns), 0
        values = canonical_events(columns, extras=extras, mapping=mapping)
        while released < n:
            if stop.is_set():
                return True
            if self._unacknowledged >= _MAX_UNACKNOWLEDGED:
                await self._hear()
                continue
            until = min(due(time.monotonic() - started_s), released + _BLOCK_EVENTS, n)
            if until <= released:
                await self._nap(due, released, started_s)
                continue
            times = columns.ts_ms[released:until].tolist()
            for row, value, ts_ms in zip(range(released, until), islice(values, until - released), times, strict=True):
                key, lane = self._place(columns.user_ids[row])
                lane.waiting.append(_Message(row, key, value, ts_ms))
                lane.filled.set()
            self._unacknowledged += until - released
            released = until
            await asyncio.sleep(0)  # the lanes' turn
            self._raise_failure()
        return False

    async def _nap(self, due: Callable[[float], int], released: int, started_s: float) -> None:
        """Sleep about until the next event falls due, found by halving: `due` never falls as time goes on."""
        nap_s = _LONGEST_NAP_S
        elapsed_s = time.monotonic() - started_s
        while nap_s > _LINGER_S and due(elapsed_s + nap_s / 2) > released:
            nap_s /= 2
        await asyncio.sleep(nap_s)
        self._raise_failure()

    def _place(self, user_id: str) -> tuple[bytes, _Lane]:
        found = self._places.get(user_id)
        if found is None:
            key = user_id.encode()
            partition = self._partitioner(key, self._partitions, self._partitions)
            found = self._places[user_id] = (key, self._lanes[partition])
        return found

    async def _send(self, lane: _Lane) -> None:
        """Hand over a lane's events batch by batch: whatever is waiting, never waited for."""
        try:
            while True:
                await lane.filled.wait()
                lane.filled.clear()
                while lane.waiting:
                    batch, rows = self._producer.create_batch(), []
                    while lane.waiting:
                        row, key, value, ts_ms = lane.waiting[0]
                        if batch.append(key=key, value=value, timestamp=ts_ms) is None:
                            break
                        lane.waiting.popleft()
                        rows.append(row)
                    handed_ns = time.monotonic_ns()
                    future = await self._producer.send_batch(batch, self._topic, partition=lane.partition)
                    future.add_done_callback(partial(self._settle, lane, rows, handed_ns))
        except KafkaError as error:
            self._fail(error)

    def _settle(self, lane: _Lane, rows: list[int], handed_ns: int, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            return
        refusal = future.exception()
        if refusal is not None:
            self._fail(refusal)
            return
        lane.acknowledged += len(rows)
        self._acknowledged += len(rows)
        self._unacknowledged -= len(rows)
        try:
            if self._on_event is not None:
                for offset, row in enumerate(rows, start=future.result().offset):
                    self._on_event(row, lane.partition, offset, handed_ns)
            if self._on_sent is not None:
                self._on_sent(self._acknowledged)
        except Exception as error:  # a caller's hook: its error belongs to the caller, not to the event loop's log
            self._fail(error)
        self._news.set()

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._news.set()

    async def _hear(self) -> None:
        """Wait until something was acknowledged or went wrong."""
        await self._news.wait()
        self._news.clear()
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None and not isinstance(self._failure, KafkaError):
            raise self._failure
        if self._failure is not None:
            raise ReplayFailed(
                f"topic {self._topic!r}: {type(self._failure).__name__}: {self._failure}; {self._acknowledged:,} "
                "events were acknowledged before that. Replay into a new topic, so that none counts twice"
            ) from self._failure


def _pace(columns: InteractionColumns, rate: float | None, speed: float | None) -> Callable[[float], int]:
    """Return how many events are due after so many seconds."""
    n = len(columns)
    if rate is not None:
        return lambda elapsed_s: int(elapsed_s * rate) + 1
    if speed is not None and n:
        since_first_ms = columns.ts_ms - columns.ts_ms[0]
        return lambda elapsed_s: int(np.searchsorted(since_first_ms, elapsed_s * 1_000 * speed, side="right"))
    return lambda elapsed_s: n
