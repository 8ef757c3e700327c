"""Dead letters: what could not be used, with its bytes, its place and the reason, on a topic of its own.

Key topic-partition-offset, so the same record rejected again after a replay is the same letter. JSON, so that people
and any tool can read it; the original is base64 (`original_b64`) since it may be anything.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence

import orjson

from millstream.schemas.columns import Reject
from millstream.schemas.records import DeadLetter

from .acked_producer import AckedProducer, Record

KEPT_BYTES = 64 * 1024
"""How much of a record's value a letter holds; its whole length and SHA-256 are always there."""
REASON_HEADER = "reason"


class DeadLetterTopic:
    """Writes dead letters to Kafka, at least once. One event loop; calls are carried out one after the other."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._producer = AckedProducer(bootstrap_servers, topic, client_id="millstream-dead-letters")

    async def write(
        self,
        rejects: Sequence[Reject],
        values: Sequence[bytes | None],
        timestamps_ms: Sequence[int],
        *,
        topic: str,
        partition: int,
        event_ids: Mapping[int, str] | None = None,
    ) -> None:
        """Return when a letter for each reject is acknowledged by all replicas, waiting through outages.

        `values`, `timestamps_ms` and `event_ids` are the whole chunk's, as they were given to the decoder:
        `Reject.index` is a place in them. Call it before the chunk is learned, or a crash in between loses the letters.
        Raises `RefusedByBroker`.
        """
        letters = [
            dead_letter(
                reject,
                values[reject.index],
                ts_ms=int(timestamps_ms[reject.index]),
                topic=topic,
                partition=partition,
                event_id=None if event_ids is None else event_ids.get(reject.index),
            )
            for reject in rejects
        ]
        await self._producer.send([letter_record(letter) for letter in letters])

    async def close(self, within_s: float = 3.0) -> None:
        """Close the connection within about `within_s`; letters that no `write` has returned for are given up."""
        await self._producer.close(within_s)


def dead_letter(
    reject: Reject, original: bytes | None, *, ts_ms: int, topic: str, partition: int, event_id: str | None = None
) -> DeadLetter:
    """Return the letter for a rejected record, its value cut to `KEPT_BYTES`; a null value stays None, length 0."""
    whole = original or b""
    return DeadLetter(
        topic=topic,
        partition=partition,
        offset=reject.offset,
        code=reject.code,
        message=reject.message,
        original=None if original is None else original[:KEPT_BYTES],
        original_bytes=len(whole),
        sha256=hashlib.sha256(whole).hexdigest(),
        ts_ms=ts_ms,
        event_id=event_id,
    )


def letter_record(letter: DeadLetter) -> Record:
    """Return the Kafka message of a letter; its reason code is a header too, so that counting needs no parsing."""
    value = orjson.dumps(
        {
            "topic": letter.topic,
            "partition": letter.partition,
            "offset": letter.offset,
            "code": letter.code,
            "message": letter.message,
            "original_b64": None if letter.original is None else b64encode(letter.original).decode(),
            "original_bytes": letter.original_bytes,
            "sha256": letter.sha256,
            "ts_ms": letter.ts_ms,
            **({} if letter.event_id is None else {"event_id": letter.event_id}),
        }
    )
    return Record(letter.key.encode(), value, [(REASON_HEADER, letter.code.encode())])


def read_letter(value: bytes) -> DeadLetter:
    """Read back the message value of a letter. Raises ValueError or KeyError for anything else."""
    fields = orjson.loads(value)
    original = fields.pop("original_b64")
    return DeadLetter(**fields, original=None if original is None else b64decode(original))
