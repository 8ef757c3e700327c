"""Shorthand for decoding tests: messages in, rows and codes out."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import fastavro

from millstream.schemas.avro_schemas import AvroSchema, KnownSchemas
from millstream.schemas.columns import InteractionColumns, Reject
from millstream.schemas.decode import InteractionDecoder
from millstream.schemas.mapping import InputMapping
from millstream.schemas.records import Kind

NOW_MS = 1_700_000_000_000
GOOD = {"user_id": "u", "item_id": "i", "kind": "click", "ts_ms": NOW_MS}


def decode(
    messages: Sequence[bytes | None],
    mapping: InputMapping | None = None,
    schemas: KnownSchemas | None = None,
    record_ms: int = NOW_MS,
) -> tuple[InteractionColumns, list[Reject]]:
    """Decode as offsets 100, 101, … of `interactions`, partition 3."""
    decoder = InteractionDecoder(mapping or InputMapping(), schemas)
    offsets = range(100, 100 + len(messages))
    return decoder.decode(messages, offsets, [record_ms] * len(messages), input="interactions", partition=3)


def rows(columns: InteractionColumns) -> list[tuple[str, str, str, int, float | None]]:
    """Return the columns as tuples, NaN as None."""
    return [
        (user, item, Kind(kind).name, ts, None if math.isnan(value) else value)
        for user, item, kind, ts, value in zip(
            columns.user_ids,
            columns.item_ids,
            columns.kinds.tolist(),
            columns.ts_ms.tolist(),
            columns.values.tolist(),
            strict=True,
        )
    ]


def one(event: Any, mapping: InputMapping | None = None, record_ms: int = NOW_MS) -> Any:
    """Return the one row a JSON event gives, or the code it is rejected with."""
    columns, rejects = decode([json.dumps(event).encode()], mapping, record_ms=record_ms)
    return rejects[0].code if rejects else rows(columns)[0]


def avro_body(schema: AvroSchema, record: dict[str, Any]) -> bytes:
    """Return a record's bare Avro bytes."""
    body = BytesIO()
    fastavro.schemaless_writer(body, schema.parsed, record)
    return body.getvalue()
