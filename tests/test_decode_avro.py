"""Avro messages in, columns and rejects out: ours, other versions of it, somebody else's."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from decoding import GOOD, NOW_MS, avro_body, decode, rows

from millstream.schemas.avro_schemas import AvroSchema, KnownSchemas, our_schema
from millstream.schemas.decode import InteractionDecoder
from millstream.schemas.framing import frame_confluent, frame_single_object
from millstream.schemas.mapping import InputMapping


def test_avro_single_object_and_confluent_give_the_same_row() -> None:
    """Our own schema under its fingerprint, or under a registry's id, decodes as the JSON does."""
    ours, known = our_schema("interaction"), KnownSchemas()
    known.add(ours, schema_id=12)
    body = avro_body(ours, GOOD | {"value": 2.5, "session_id": "s"})
    columns, rejects = decode([frame_single_object(ours.fingerprint, body), frame_confluent(12, body)], schemas=known)
    assert rejects == []
    assert rows(columns) == [("u", "i", "click", NOW_MS, 2.5)] * 2


@pytest.mark.parametrize(
    ("value", "code"), [(math.nan, "non_finite_value"), (math.inf, "non_finite_value"), (-1.0, "negative_value")]
)
def test_avro_value_that_json_could_not_carry_is_rejected(value: float, code: str) -> None:
    """Avro doubles may be NaN or infinite; ours may not."""
    ours = our_schema("interaction")
    _, rejects = decode([frame_single_object(ours.fingerprint, avro_body(ours, GOOD | {"value": value}))])
    assert [reject.code for reject in rejects] == [code]


def test_bytes_left_over_after_an_avro_record_reject_it() -> None:
    """A record that does not fill its message was written with another schema."""
    ours = our_schema("interaction")
    _, rejects = decode([frame_single_object(ours.fingerprint, avro_body(ours, GOOD) + b"x")])
    assert [reject.code for reject in rejects] == ["bad_avro"]
    assert "1 bytes left over" in rejects[0].message


def _version(drop: Sequence[str] = (), symbols: Sequence[str] = (), add: Sequence[dict[str, Any]] = ()) -> AvroSchema:
    """Return another version of our interaction schema."""
    definition = json.loads(json.dumps(our_schema("interaction").definition))
    definition["fields"] = [field for field in definition["fields"] if field["name"] not in drop] + list(add)
    for each in definition["fields"]:
        if each["name"] == "kind":
            each["type"]["symbols"] += symbols
    return AvroSchema.parse(json.dumps(definition))


def test_older_version_of_our_schema_still_reads() -> None:
    """Events written before a field was added read with its default."""
    old, known = _version(drop=["value", "vector", "context"]), KnownSchemas()
    known.add(old)
    columns, rejects = decode([frame_single_object(old.fingerprint, avro_body(old, GOOD))], schemas=known)
    assert rejects == []
    assert rows(columns) == [("u", "i", "click", NOW_MS, None)]


def test_newer_version_of_our_schema_reads_with_the_least_kind() -> None:
    """A field we do not know is skipped; a kind we do not know is an impression, never a click."""
    new, known = _version(symbols=["teleport"], add=[{"name": "page", "type": "string", "default": ""}]), KnownSchemas()
    known.add(new)
    body = avro_body(new, GOOD | {"kind": "teleport", "page": "home"})
    columns, rejects = decode([frame_single_object(new.fingerprint, body)], schemas=known)
    assert rejects == []
    assert rows(columns) == [("u", "i", "impression", NOW_MS, None)]


def test_writer_without_a_kind_takes_the_input_s_default() -> None:
    """The input knows better than the schema what its events are."""
    old, known = _version(drop=["kind"]), KnownSchemas()
    known.add(old)
    body = avro_body(old, {"user_id": "u", "item_id": "i", "ts_ms": NOW_MS})
    columns, _ = decode([frame_single_object(old.fingerprint, body)], InputMapping("purchase"), known)
    assert rows(columns) == [("u", "i", "purchase", NOW_MS, None)]


def test_foreign_avro_is_read_by_the_mapping() -> None:
    """Somebody else's record has its own names, and a logical type for the time."""
    known = KnownSchemas()
    theirs = AvroSchema.parse(
        json.dumps(
            {
                "type": "record",
                "name": "Order",
                "fields": [
                    {"name": "customer", "type": "long"},
                    {"name": "sku", "type": "string"},
                    {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}},
                ],
            }
        )
    )
    known.add(theirs, schema_id=1)
    mapping = InputMapping("purchase", {"user_id": "customer", "item_id": "sku"})
    body = avro_body(theirs, {"customer": 5, "sku": "s", "ts": NOW_MS + 1})
    columns, rejects = decode([frame_confluent(1, body)], mapping, known)
    assert rejects == []
    assert rows(columns) == [("5", "s", "purchase", NOW_MS + 1, None)]


def test_schema_registered_later_is_found_then() -> None:
    """An unknown schema is not remembered as unknown."""
    known, old = KnownSchemas(), _version(drop=["vector"])
    decoder = InteractionDecoder(InputMapping(), known)
    message = frame_confluent(5, avro_body(old, GOOD))
    _, rejects = decoder.decode([message], [0], [NOW_MS], input="t", partition=0)
    assert [reject.code for reject in rejects] == ["unknown_schema"]
    known.add(old, schema_id=5)
    columns, rejects = decoder.decode([message], [1], [NOW_MS], input="t", partition=0)
    assert len(columns) == 1
    assert rejects == []
