"""Sending to one Kafka topic, at least once: `send` returns when all is acknowledged, however long the broker is gone.

aiokafka's own `send` makes a future a message; filling batches ourselves costs a fifth of that, and a slice's records
are all there at once anyway.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]  # it ships no types
from aiokafka.errors import (  # type: ignore[import-untyped]  # as above
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnsupportedVersionError,
)
from aiokafka.partitioner import murmur2  # type: ignore[import-untyped]  # as above

from .errors import Unavailable
from .outage import Outage

_BATCH_BYTES = 512 * 1024  # brokers take 1 MiB unless told otherwise
_LEAST_BATCH_BYTES = 4 * 1024
_ANSWER_WITHIN_S = 2.0  # silence for longer is said aloud
_ANEW_AFTER_S = 6.0
"""Silence for longer, and another client tries: one whose connection broke may wait for ever for what never comes."""
_RETRY_S = 0.2
_BREAK_OFF_WITHIN_S = 1.0
_REQUEST_TIMEOUT_MS = 10_000
_LOST = (KafkaError, RuntimeError)
"""What a client raises whose connection is gone; the second is uvloop's, where a lost one is written to."""
_HOPELESS = (
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnsupportedVersionError,
)


class Record(NamedTuple):
    """One message to send."""

    key: bytes
    value: bytes | None
    """None: a tombstone, which removes the key from a compacted topic."""
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp_ms: int | None = None
    """None: when it is sent."""


class RefusedByBroker(Unavailable):
    """The broker will not take a message however often it is sent; the message has the topic, why, and the remedy."""


class AckedProducer:
    """Sends records to one topic, in order within a key, acknowledged by all replicas. One event loop.

    Guarantee: when `send` returns, each record stands in the topic, and after an outage possibly twice; a later `send`
    stands after an earlier one. Partitions are chosen as the Java client chooses them, so topics join by key.
    """

    def __init__(self, bootstrap_servers: str, topic: str, *, client_id: str = "millstream") -> None:
        self.topic = topic
        self._bootstrap_servers = bootstrap_servers
        self._client_id = client_id
        self._producer: AIOKafkaProducer | None = None
        self._batch_bytes = _BATCH_BYTES
        self._outage = Outage(f"kafka at {bootstrap_servers} (topic {topic})")
        # One send at a time: two would change places when the first has to be repeated.
        self._turn = asyncio.Lock()

    async def send(self, records: Sequence[Record]) -> dict[int, int]:
        """Return when every record is acknowledged: by partition, the next offset after the last of them.

        An outage is waited out, and logged as it begins and ends.

        Raises `RefusedByBroker` for what waiting does not mend: no right to write, a record above the topic's limit.
        """
        ends: dict[int, int] = {}
        if not records:
            return ends
        async with self._turn:
            unsent = list(records)
            while unsent:
                attempt = asyncio.ensure_future(self._attempt(unsent, ends))
                began_s = time.monotonic()
                try:
                    while not (await asyncio.wait({attempt}, timeout=_ANSWER_WITHIN_S))[0]:
                        self._outage.lost(f"nothing acknowledged for {_ANSWER_WITHIN_S:g} s")
                        if time.monotonic() - began_s >= _ANEW_AFTER_S:
                            break
                finally:
                    attempt.cancel()  # only bites when it has not ended
                if not attempt.done():
                    await self._drop(within_s=0.0)
                    continue
                unsent, error = attempt.result()
                if error is None:
                    self._outage.back()
                    continue
                if isinstance(error, MessageSizeTooLargeError) and self._batch_bytes > _LEAST_BATCH_BYTES:
                    # The topic takes less than a broker's default, and its limit is on batches as well as on records.
                    self._batch_bytes //= 2
                    await self._drop(within_s=0.0)
                    continue
                if isinstance(error, _HOPELESS):
                    raise RefusedByBroker(
                        f"topic {self.topic} at {self._bootstrap_servers}: the broker refuses to take "
                        f"{len(unsent)} records: {error!r}; see the topic's max.message.bytes and our rights to write"
                    ) from error
                self._outage.lost(repr(error))
                # A producer that failed once may be fenced or out of sequence for good: begin with a new one.
                await self._drop(within_s=0.0)
                await asyncio.sleep(_RETRY_S)
        return ends

    async def close(self, within_s: float = 3.0) -> None:
        """Close the connection; what no `send` has returned for is given up. Takes at most about `within_s`."""
        await self._drop(within_s)

    async def _attempt(self, records: Sequence[Record], ends: dict[int, int]) -> tuple[list[Record], Exception | None]:
        """Send `records` once; return those not acknowledged, in order, and the first error.

        Move `ends` on to the next offset of each partition that acknowledged some.
        """
        pending: list[tuple[asyncio.Future[Any], list[Record]]] = []
        partitions = 0
        unsubmitted: dict[int, list[Record]] = {}
        try:
            producer = await self._connected()
            partitions = len(await producer.partitions_for(self.topic))
            unsubmitted = _by_partition(records, partitions)
            while unsubmitted:
                for partition in list(unsubmitted):
                    batch, rest = _fill(producer.create_batch(), unsubmitted[partition])
                    future = await producer.send_batch(batch, self.topic, partition=partition)
                    pending.append((future, unsubmitted[partition][: len(unsubmitted[partition]) - len(rest)]))
                    if rest:
                        unsubmitted[partition] = rest
                    else:
                        del unsubmitted[partition]
            submit_error: Exception | None = None
        except _LOST as error:
            submit_error = error
        results = await asyncio.gather(*(future for future, _ in pending), return_exceptions=True)
        if not partitions:
            return list(records), submit_error
        unsent: list[Record] = []
        first_error = submit_error
        for result, (_, sent) in zip(results, pending, strict=True):
            if isinstance(result, _LOST):
                unsent += sent
                first_error = first_error or result
            elif isinstance(result, BaseException):
                raise result
            else:
                ends[result.partition] = max(ends.get(result.partition, 0), result.offset + len(sent))
        for rest in unsubmitted.values():
            unsent += rest
        return unsent, first_error

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is not None:
            return self._producer
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap_servers,
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            max_batch_size=self._batch_bytes,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
        )
        self._producer = producer
        try:
            await producer.start()
        except BaseException:  # cancelled too: half a producer must not be taken for a whole one
            await self._drop(within_s=0.0)
            raise
        return producer

    async def _drop(self, within_s: float) -> None:
        """Let go of the producer: flush it for at most `within_s`, then break off what is left."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        if within_s > 0:
            stopping = asyncio.ensure_future(producer.stop())
            if (await asyncio.wait({stopping}, timeout=within_s))[0]:
                return
            stopping.cancel()
        await _break_off(producer)


async def _break_off(producer: AIOKafkaProducer) -> None:
    """Close a producer without flushing it, for which aiokafka has no public way: `stop` waits for the broker."""
    producer._closed = True
    # Cancelled, the sender still waits for what is under way, and that ends when the connections do.
    ending = asyncio.ensure_future(producer._sender.close())
    await asyncio.sleep(0)
    await producer.client.close()
    await asyncio.wait({ending}, timeout=_BREAK_OFF_WITHIN_S)
    ending.cancel()


@lru_cache(maxsize=200_000)
def _hash(key: bytes) -> int:
    hashed: int = murmur2(key)  # pure Python, some microseconds: users come back, so it pays to keep
    return hashed & 0x7FFFFFFF


def _by_partition(records: Sequence[Record], partitions: int) -> dict[int, list[Record]]:
    parted: defaultdict[int, list[Record]] = defaultdict(list)
    for record in records:
        parted[_hash(record.key) % partitions].append(record)
    return parted


def _fill(batch: Any, records: list[Record]) -> tuple[Any, list[Record]]:
    """Put as many records into an aiokafka batch as fit (at least one always does); return it and the rest."""
    for place, record in enumerate(records):
        headers = list(record.headers)
        if batch.append(timestamp=record.timestamp_ms, key=record.key, value=record.value, headers=headers) is None:
            batch.close()
            return batch, records[place:]
    batch.close()
    return batch, []
