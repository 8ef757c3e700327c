"""Bad input through a real Kafka and a real worker: the stream goes on, good events count, bad ones are put aside."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import math
import random
import time
from dataclasses import dataclass
from itertools import islice
from typing import Any

import fastavro
import numpy as np
import pytest
from kafka import KafkaAdminClient, KafkaConsumer
from running import Pipeline, until

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.step import Step
from millstream.schemas.avro_schemas import our_schema
from millstream.schemas.columns import Chunk
from millstream.schemas.decode import InteractionDecoder
from millstream.schemas.framing import frame_confluent, frame_single_object
from millstream.schemas.mapping import InputMapping
from millstream.schemas.records import DeadLetter
from millstream.schemas.rejects import RejectCode
from millstream.streams.dead_letters import KEPT_BYTES, REASON_HEADER, read_letter
from millstream.streams.local_kafka import LocalKafka

_NOW_MS = time.time_ns() // 1_000_000
_MEGABYTE = 1024 * 1024
_LETTERS_WITHIN_MS = 30_000


def event(**fields: Any) -> bytes:
    """A good JSON event, with some fields changed; None takes a field out."""
    whole = {"user_id": "ann", "item_id": "i1", "kind": "click", "ts_ms": _NOW_MS, **fields}
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()


def avro_body(**fields: Any) -> bytes:
    body = io.BytesIO()
    record = {"user_id": "ann", "item_id": "i1", "ts_ms": _NOW_MS, **fields}
    fastavro.schemaless_writer(body, our_schema("interaction").parsed, record)
    return body.getvalue()


def avro(**fields: Any) -> bytes:
    """A good event in Avro single-object encoding, with some fields changed."""
    return frame_single_object(our_schema("interaction").fingerprint, avro_body(**fields))


BAD: dict[str, tuple[bytes | None, str]] = {
    "text": (b"not json at all", "broken_json"),
    "cut JSON": (event()[:-1], "broken_json"),
    "no bytes": (b"", "broken_json"),
    "bytes of nothing we know": (bytes(range(1, 255)), "broken_json"),
    "a list": (b"[1, 2, 3]", "wrong_type"),
    "cut Avro": (avro()[:-3], "bad_avro"),
    "Avro with bytes left over": (avro() + b"\x00\x00", "bad_avro"),
    "Avro cut within its header": (avro()[:6], "bad_avro"),
    "Avro of an unknown fingerprint": (frame_single_object(b"\x01" * 8, avro_body()), "unknown_schema"),
    "Avro of an unknown registry id": (frame_confluent(4_711, avro_body()), "unknown_schema"),
    "a null message": (None, "null_message"),
    "no user": (event(user_id=None), "missing_user"),
    "no item": (event(item_id=None), "missing_item"),
    "an empty user": (event(user_id=""), "empty_id"),
    "an empty item": (event(item_id=""), "empty_id"),
    "an empty user in Avro": (avro(user_id=""), "empty_id"),
    "a user of 1 MB": (event(user_id="u" * _MEGABYTE), "id_too_long"),
    "an item of 1 MB in Avro": (avro(item_id="i" * _MEGABYTE), "id_too_long"),
    "an item of 257 bytes": (event(item_id="é" * 128 + "x"), "id_too_long"),
    "a user with a NUL": (event(user_id="an\0n"), "bad_id"),
    "a user that is a float": (event(user_id=1.5), "wrong_type"),
    "NaN in JSON": (event(value=math.nan), "broken_json"),
    "NaN in Avro": (avro(value=math.nan), "non_finite_value"),
    "an infinite value": (avro(value=math.inf), "non_finite_value"),
    "a negative value": (event(kind="rating", value=-1), "negative_value"),
    "a negative value in Avro": (avro(value=-0.5), "negative_value"),
    "a time in seconds": (event(ts_ms=_NOW_MS // 1000), "timestamp_in_seconds"),
    "a time in seconds in Avro": (avro(ts_ms=_NOW_MS // 1000), "timestamp_in_seconds"),
    "a time 25 hours ahead": (event(ts_ms=_NOW_MS + 25 * 3_600_000), "timestamp_ahead"),
    "a time in microseconds": (event(ts_ms=_NOW_MS * 1000), "timestamp_ahead"),
    "a negative time": (event(ts_ms=-5), "negative_timestamp"),
    "a time that is text": (event(ts_ms="yesterday"), "wrong_type"),
    "an unknown kind": (event(kind="teleport"), "unknown_kind"),
    "a kind about no item": (event(kind="merge"), "unsupported_kind"),
}
"""What is sent, by a name for people, and the code it must be put aside under."""


@dataclass
class Ran:
    """What came of a run of good and bad records in turns."""

    pipeline: Pipeline
    letters: dict[int, tuple[DeadLetter, bytes, dict[str, bytes]]]
    """By offset: the letter, its message key, its headers."""
    places: dict[str, int]
    """Offset of each bad record."""
    good: int
    events: int
    dead_letters: int


def dead_letters(pipeline: Pipeline, count: int) -> dict[int, tuple[DeadLetter, bytes, dict[str, bytes]]]:
    """Return the first `count` letters by the offset they are about."""
    consumer = KafkaConsumer(
        f"{pipeline.topic}.dlq",
        bootstrap_servers=pipeline.bootstrap,
        auto_offset_reset="earliest",
        consumer_timeout_ms=_LETTERS_WITHIN_MS,
        group_id=None,
    )
    read = ((read_letter(record.value), record.key, dict(record.headers)) for record in islice(consumer, count))
    found = {letter.offset: (letter, key, headers) for letter, key, headers in read}
    consumer.close()
    return found


@pytest.fixture(scope="module")
def ran(kafka: LocalKafka, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One worker's run over every bad record, each between two good events of a user of its own."""
    folder = tmp_path_factory.mktemp("bad-input")
    topic = f"test-{folder.name}-{time.monotonic_ns()}"
    pipeline = Pipeline(kafka.bootstrap, redis_url, f"{topic}:", topic, folder)
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    # a producer's record of 1 MB only gets in where the topic's limit is raised above Kafka's default
    limits = {"max.message.bytes": str(4 * _MEGABYTE)}
    admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1, "configs": limits}})
    admin.close()
    records: list[bytes | None] = [event(user_id="first")]
    places = {}
    for number, (name, (bad, _)) in enumerate(BAD.items()):
        places[name] = len(records)
        records += [bad, event(user_id=f"after-{number}", item_id=f"i{number}")]

    async def run() -> Ran:
        with pipeline.worker() as worker:
            await worker.running()
            pipeline.send(records)
            status = await pipeline.learned(len(records))
            await until(lambda: pipeline.slate(f"after-{len(BAD) - 1}") is not None)
            letters = await asyncio.to_thread(dead_letters, pipeline, len(BAD))
            return Ran(pipeline, letters, places, len(records) - len(BAD), status.events, status.dead_letters)

    return asyncio.run(run())


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_is_a_dead_letter_with_its_bytes_place_and_reason(ran: Ran, name: str) -> None:
    """The letter holds the original (cut, with the SHA-256 of the whole), where it stood, and why it was put aside."""
    original, code = BAD[name]
    offset = ran.places[name]
    letter, key, headers = ran.letters[offset]
    assert letter.code == code
    assert (letter.topic, letter.partition, letter.offset) == (ran.pipeline.topic, 0, offset)
    assert key == f"{ran.pipeline.topic}-0-{offset}".encode()
    assert headers == {REASON_HEADER: letter.code.encode()}
    assert letter.message.startswith(f"{ran.pipeline.topic}[0]@{offset}: ")
    assert len(letter.message) < 1_000
    assert letter.original == (None if original is None else original[:KEPT_BYTES])
    assert letter.original_bytes == len(original or b"")
    assert letter.sha256 == hashlib.sha256(original or b"").hexdigest()


def test_every_good_event_between_bad_ones_counts(ran: Ran) -> None:
    """The status counts exactly the good and the bad, and each good event's user has a list."""
    assert (ran.events, ran.dead_letters) == (ran.good, len(BAD))
    assert len(ran.letters) == len(BAD)
    assert all(ran.pipeline.slate(f"after-{number}") is not None for number in range(len(BAD)))


async def test_a_tenth_of_garbage_at_full_speed_changes_nothing_for_the_rest(pipeline: Pipeline) -> None:
    """20,000 records, every tenth of them bad: lists are those of the good events alone, and each bad one has a letter.

    Without the decoder's rejects the worker would stop; without the holes they leave, positions would not add up.
    """
    records = garbled(20_000)
    bad = {offset: value for offset, (value, good) in enumerate(records) if not good}
    with pipeline.worker() as worker:
        await worker.running()
        pipeline.send([value for value, _ in records])
        status = await pipeline.learned(len(records))
        said = worker.interrupt()
    assert (status.events, status.dead_letters) == (len(records) - len(bad), len(bad))
    assert said["seq"] == len(records) - len(bad)
    letters = dead_letters(pipeline, len(bad))
    assert {offset: letter.original for offset, (letter, _, _) in letters.items()} == bad
    expected = learned_from([value for value, good in records if good and value is not None])
    assert len(expected) == 500
    for user_id, items in expected.items():
        slate = pipeline.slate(user_id)
        assert slate is not None
        assert slate.items == items


def garbled(n: int) -> list[tuple[bytes | None, bool]]:
    """Return `n` records and whether each is good: every tenth is one of the bad ones of ordinary size, in turn."""
    chance = random.Random(7)
    bad = [value for value, _ in BAD.values() if value is None or len(value) < KEPT_BYTES]
    return [
        (bad[at // 10 % len(bad)], False)
        if at % 10 == 9
        else (event(user_id=f"u{chance.randrange(500)}", item_id=f"i{chance.randrange(300)}", ts_ms=_NOW_MS + at), True)
        for at in range(n)
    ]


def learned_from(events: list[bytes]) -> dict[str, tuple[Any, ...]]:
    """Return each user's list after these events, learned in this process in one chunk."""
    offsets = range(len(events))
    columns, rejects = InteractionDecoder(InputMapping()).decode(
        events, offsets, [_NOW_MS] * len(events), input="interactions", partition=0
    )
    assert not rejects
    assert np.array_equal(columns.offsets, np.arange(len(events)))
    applied = Step(LearningConfig()).apply(Chunk("interactions", 0, 0, len(events), columns))
    return {slate.user_id: slate.items for slate in applied.slates(0)}


def test_the_cases_cover_what_can_be_wrong_with_a_message() -> None:
    """Every reason code that a Kafka record can be rejected for is among the cases."""
    only_in_files = {RejectCode.missing_timestamp}  # a Kafka record always has one
    covered = {code for _, code in BAD.values()}
    assert covered == {code.value for code in RejectCode if code not in only_in_files}
