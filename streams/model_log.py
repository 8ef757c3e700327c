"""The `model-log` topic: the order that every worker follows, in one partition.

ModelLog    appends to it
Follower    who is told what stands in it, by the source, which reads it beside the inputs
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from millstream.schemas.order_records import OrderRecord, encode_order

from .acked_producer import AckedProducer, Record


class ModelLog:
    """Appends order records, acknowledged, one after the other. Who reads them decides which of them count."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self.topic = topic
        self._producer = AckedProducer(bootstrap_servers, topic, client_id="millstream-model-log")

    async def append(self, record: OrderRecord) -> None:
        """Return when the record stands in the log; after an outage it may stand there twice.

        Raises `RefusedByBroker` for what waiting does not mend.
        """
        await self._producer.send([Record(b"", encode_order(record))])

    async def close(self, within_s: float = 3.0) -> None:
        """Close the connection within about `within_s`."""
        await self._producer.close(within_s)


class Written(NamedTuple):
    """A record of the order, as the log has it."""

    offset: int
    value: bytes | None
    written_ms: int


class Follower(Protocol):
    """Who follows the order: `Ordering`."""

    topic: str
    """The topic that the order is in, of one partition."""

    @property
    def next_record(self) -> int:
        """Offset of the first record that was not read yet."""

    @property
    def needed(self) -> tuple[str, int] | None:
        """The place whose records have to be read before anything else can be applied."""

    @property
    def begun(self) -> Mapping[tuple[str, int], int]:
        """Where places begin for whoever follows."""

    @property
    def topic_ids(self) -> Mapping[str, str]:
        """The broker's UUIDs of the topics that the order is of."""

    @property
    def pause_s(self) -> float:
        """How long what has been read keeps it busy: no use in reading more before."""

    def begin_anew(self) -> None:
        """Begin at the topic's beginning: it is not the one that `next_record` is an offset in."""

    def read(self, records: Sequence[Written]) -> None:
        """Take in what the log has next."""


def written(records: Sequence[Any]) -> list[Written]:
    """Return what the follower is told of aiokafka's records."""
    return [Written(record.offset, record.value, record.timestamp) for record in records]
