"""The id of an event, from whatever form it comes in to the columns, and out again."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from aiokafka import TopicPartition
from decoding import GOOD, NOW_MS, avro_body, decode

from millstream.schemas.avro_schemas import AvroSchema, KnownSchemas, our_schema
from millstream.schemas.canonical import canonical_events
from millstream.schemas.columns import InteractionColumns
from millstream.schemas.decode import InteractionDecoder
from millstream.schemas.framing import frame_confluent, frame_single_object
from millstream.schemas.mapping import InputMapping
from millstream.schemas.recorded import read_events
from millstream.streams.read_ahead import EVENT_ID_HEADER, RawChunk, ReadAhead


def ids(*events: dict[str, Any], mapping: InputMapping | None = None) -> list[str | None] | None:
    columns, rejects = decode([json.dumps(GOOD | event).encode() for event in events], mapping)
    assert rejects == []
    return columns.event_ids


def test_without_ids_there_is_no_column() -> None:
    """None, not a list of none: a chunk costs nothing for what it does not have."""
    assert ids({}, {"event_id": None}, {"event_id": ""}) is None


def test_each_row_has_its_own() -> None:
    """Rows without one stay without; integers become decimal strings, as other ids do; long ones go the long way."""
    long = "x" * 200
    events: list[dict[str, Any]] = [{}, {"event_id": "a"}, {}, {"event_id": 17}, {"event_id": long}, {}]
    assert ids(*events) == [None, "a", None, "17", long, None]


def test_the_inputs_mapping_names_it() -> None:
    """`fields.event_id` is the name the input uses, alone."""
    mapping = InputMapping(fields={"event_id": "messageId"})
    assert ids({"messageId": "m", "event_id": "no"}, mapping=mapping) == ["m"]


@pytest.mark.parametrize(("event_id", "code"), [(1.5, "wrong_type"), (True, "wrong_type"), ("i" * 300, "id_too_long")])
def test_an_id_that_is_none_rejects_the_event(event_id: object, code: str) -> None:
    """By the rules of every id, and by name."""
    _, rejects = decode([json.dumps(GOOD | {"event_id": event_id}).encode()])
    assert [reject.code for reject in rejects] == [code]
    assert "event_id" in rejects[0].message


def test_avro_and_confluent_avro_carry_it() -> None:
    """Ours under both framings, and somebody else's schema by the mapping."""
    ours, known = our_schema("interaction"), KnownSchemas()
    known.add(ours, schema_id=12)
    body = avro_body(ours, GOOD | {"event_id": "e"})
    fields = [{"name": name, "type": "string"} for name in ("user", "item", "uuid")]
    theirs = AvroSchema.parse(json.dumps({"type": "record", "name": "View", "fields": fields}))
    known.add(theirs, schema_id=13)
    view = avro_body(theirs, {"user": "u", "item": "i", "uuid": "v"})
    messages: list[bytes | None] = [
        frame_single_object(ours.fingerprint, body),
        frame_confluent(12, body),
        frame_confluent(13, view),
    ]
    columns, rejects = decode(messages, InputMapping(fields={"event_id": "uuid"}), known)
    assert (rejects, columns.event_ids) == ([], ["e", "e", "v"])


def test_a_header_names_an_event_that_has_no_id_of_its_own() -> None:
    """By place among the values, rejected ones included; the event's own id wins; a rejected record has none."""
    values: list[bytes | None] = [
        b"broken",
        json.dumps(GOOD).encode(),
        json.dumps(GOOD | {"event_id": "own"}).encode(),
        b"broken",
        json.dumps(GOOD).encode(),
        json.dumps(GOOD).encode(),
    ]
    columns, rejects = InteractionDecoder(InputMapping()).decode(
        values,
        range(6),
        [NOW_MS] * 6,
        input="t",
        partition=0,
        event_ids={0: "t-0-0", 2: "t-0-2", 3: "t-0-3", 4: "t-0-4"},
    )
    assert [reject.offset for reject in rejects] == [0, 3]
    assert columns.event_ids == [None, "own", "t-0-4", None]


def read(*headers: tuple[tuple[str, bytes | None], ...]) -> RawChunk:
    async def nobody(batch: object) -> None:
        """Takes nothing: only the cutting is asked for."""

    place = TopicPartition("t", 0)
    ahead = ReadAhead({"t": nobody}, most=100)
    ahead.next_offsets["t", 0] = 0
    ahead.add(
        place,
        [
            SimpleNamespace(key=b"k", value=b"v", offset=offset, timestamp=NOW_MS, headers=each)
            for offset, each in enumerate(headers)
        ],
    )
    _, (chunk,) = ahead.cut()
    return chunk


def test_a_chunk_carries_the_header_and_no_other() -> None:
    """None where no record has it, whatever other headers there are; bytes that are no text make an id all the same."""
    assert read((), (), ()).event_ids is None
    assert read((("traceparent", b"00-1"),), ()).event_ids is None
    named = ("traceparent", b"00-1"), (EVENT_ID_HEADER, b"t-0-9")
    assert read((), named, ((EVENT_ID_HEADER, b"\xff"),), ((EVENT_ID_HEADER, None),)).event_ids == {1: "t-0-9", 2: "�"}


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv"])
@pytest.mark.parametrize("keep_extras", [False, True])
def test_recorded_logs_keep_ids_with_their_events(name: str, keep_extras: bool, tmp_path: Path) -> None:
    """Sorted with them; an empty cell is none; they are no extras, since the columns have them."""
    lines = [f'{{"user": "u", "item": "i{at}", "ts": {NOW_MS - at}, "event_id": "e{at}"}}' for at in range(3)]
    if name == "log.csv":
        lines = ["user,item,ts,event_id", *(f"u,i{at},{NOW_MS - at},e{at}" for at in range(3)), f"u,i3,{NOW_MS - 3},"]
    else:
        lines.append(f'{{"user": "u", "item": "i3", "ts": {NOW_MS - 3}}}')
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    log = read_events(tmp_path / name, keep_extras=keep_extras)
    assert log.columns.event_ids == [None, "e2", "e1", "e0"]
    assert log.extras == ([None] * 4 if keep_extras else None)


def test_ids_survive_block_after_block(tmp_path: Path) -> None:
    """A file is read in blocks; one without ids before one with them, and the other way round."""
    lines = [
        json.dumps(GOOD | {"ts_ms": NOW_MS + at} | ({"event_id": f"e{at}"} if 20_000 <= at < 20_010 else {}))
        for at in range(40_000)
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    event_ids = read_events(tmp_path / "log.jsonl").columns.event_ids
    assert event_ids is not None
    assert {at: each for at, each in enumerate(event_ids) if each} == {at: f"e{at}" for at in range(20_000, 20_010)}
    assert len(event_ids) == 40_000


@pytest.mark.parametrize("mapping", [InputMapping(), InputMapping(fields={"event_id": "messageId"})])
def test_what_is_written_reads_back(mapping: InputMapping) -> None:
    """Canonical JSON names the id as the input does, and leaves it out where there is none."""
    columns, _ = decode([json.dumps(GOOD).encode(), json.dumps(GOOD | {"event_id": "e"}).encode()])
    messages = list(canonical_events(columns, mapping=mapping))
    assert [json.loads(each).get(mapping.names("event_id")[0]) for each in messages] == [None, "e"]
    again: InteractionColumns = decode(messages, mapping)[0]
    assert again.event_ids == columns.event_ids


def test_columns_are_cut_and_taken_with_their_ids() -> None:
    """Views and picks keep them beside their events."""
    columns, _ = decode([json.dumps(GOOD | {"event_id": f"e{at}"}).encode() for at in range(4)])
    assert columns.cut(1, 3).event_ids == ["e1", "e2"]
    assert columns.taken(np.array([3, 0])).event_ids == ["e3", "e0"]
