"""Dead letters on a real Kafka: the bytes, the place and the reason, readable by anyone."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from itertools import islice
from typing import Any

from kafka import KafkaConsumer
from kafka.admin import KafkaAdminClient, NewTopic

from millstream.schemas.columns import Reject
from millstream.schemas.decode import InteractionDecoder
from millstream.schemas.mapping import InputMapping
from millstream.schemas.records import DeadLetter
from millstream.streams.dead_letters import KEPT_BYTES, DeadLetterTopic, dead_letter, letter_record, read_letter
from millstream.streams.local_kafka import LocalKafka


def written(bootstrap: str, letters: str, *arguments: Any, **named: Any) -> list[Any]:
    """Write letters and return what a consumer then finds."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(letters, 2, 1)])
    admin.close()

    async def write() -> None:
        sink = DeadLetterTopic(bootstrap, letters)
        await sink.write(*arguments, **named)
        await sink.close()

    asyncio.run(write())
    consumer = KafkaConsumer(
        letters, bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=20_000, group_id=None
    )
    found = list(islice(consumer, len(arguments[0])))
    consumer.close()
    return sorted(found, key=lambda record: bytes(record.key))


def test_a_letter_holds_the_bytes_the_place_and_the_reason(kafka: LocalKafka, topic_name: str) -> None:
    """Key topic-partition-offset, reason in a header, and the original as it was, whatever bytes it had."""
    values = [b"good", b"\xff\x00 broken", None]
    rejects = [Reject(1, 71, "broken_json", "not JSON"), Reject(2, 72, "null_message", "the message is null")]
    found = written(kafka.bootstrap, topic_name, rejects, values, [10, 11, 12], topic="clicks", partition=3)
    assert [record.key for record in found] == [b"clicks-3-71", b"clicks-3-72"]
    assert [record.headers for record in found] == [[("reason", b"broken_json")], [("reason", b"null_message")]]
    letter = json.loads(found[0].value)
    assert base64.b64decode(letter.pop("original_b64")) == b"\xff\x00 broken"
    assert letter == {
        "topic": "clicks",
        "partition": 3,
        "offset": 71,
        "code": "broken_json",
        "message": "not JSON",
        "original_bytes": 9,
        "sha256": hashlib.sha256(b"\xff\x00 broken").hexdigest(),
        "ts_ms": 11,
    }
    assert json.loads(found[1].value)["original_b64"] is None


def test_what_the_decoder_rejects_becomes_letters(kafka: LocalKafka, topic_name: str) -> None:
    """The decoder's rejects go in as they come out, with the chunk's own values and times."""
    values: list[bytes | None] = [b'{"user": "u", "item": "i", "ts": 1700000000000}', b"{", b'{"item": "i"}']
    times = [1_700_000_000_000] * 3
    _, rejects = InteractionDecoder(InputMapping()).decode(values, [5, 6, 9], times, input="clicks", partition=0)
    found = written(kafka.bootstrap, topic_name, rejects, values, times, topic="clicks", partition=0)
    assert [record.key for record in found] == [b"clicks-0-6", b"clicks-0-9"]
    assert [json.loads(record.value)["code"] for record in found] == ["broken_json", "missing_user"]


def test_a_long_value_is_cut_and_its_length_and_hash_kept() -> None:
    """A megabyte fits a letter of 64 KiB: the whole is known by its SHA-256."""
    value = bytes(range(256)) * 4_096
    letter = dead_letter(Reject(0, 1, "id_too_long", "m"), value, ts_ms=1, topic="t", partition=0)
    assert letter.original == value[:KEPT_BYTES]
    assert (letter.original_bytes, letter.sha256) == (1_048_576, hashlib.sha256(value).hexdigest())
    assert len(letter_record(letter).value) < 100_000


def test_a_letter_is_read_back_as_it_was_written() -> None:
    """Null and empty originals stay apart."""
    for original in (None, b"", b"\x00\xff"):
        letter = dead_letter(Reject(0, 1, "c", "m"), original, ts_ms=1, topic="t", partition=0)
        assert read_letter(letter_record(letter).value) == letter
        assert isinstance(letter, DeadLetter)
