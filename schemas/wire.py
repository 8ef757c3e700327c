"""From one message's bytes to a record: a dict of its fields, whatever wire form it came in."""

from __future__ import annotations

from io import BytesIO
from typing import Any, NamedTuple

import fastavro
import orjson
from fastavro.types import Schema as FastavroSchema

from .avro_schemas import AvroSchema, KnownSchemas, SchemaLookup, incompatibilities
from .framing import CutHeader, Frame, WireForm, open_frame, wire_form
from .rejects import Flaw, RejectCode, shown


class Opened(NamedTuple):
    """A message's fields by name."""

    record: dict[str, Any]
    ours: bool
    """Whether the names are ours already (Avro that resolves to our schema), so that no mapping applies."""


class Resolution(NamedTuple):
    """How messages of one writer schema are read."""

    writer: FastavroSchema
    reader: FastavroSchema | None
    """None: as the writer wrote it."""
    ours: bool


def resolve(writer: AvroSchema, ours: AvroSchema, optional: str | None = None) -> Resolution:
    """Return how to read what `writer` wrote: as our schema where that can read it, else by its own names.

    `optional` names a field of ours whose default belongs to the input, not to the schema: where the writer has no
    such field, the record has none either.
    """
    if writer.fingerprint == ours.fingerprint:
        return Resolution(writer.parsed, None, True)
    if incompatibilities(writer, ours):
        return Resolution(writer.parsed, None, False)
    reader = ours
    if optional is not None and optional not in writer.field_names():
        fields = [field for field in ours.definition["fields"] if field["name"] != optional]
        return Resolution(writer.parsed, fastavro.parse_schema({**ours.definition, "fields": fields}), True)
    return Resolution(writer.parsed, reader.parsed, True)


class MessageOpener:
    """Opens messages that should hold one record of `ours`. One thread at a time: it caches the schemas it meets."""

    def __init__(self, ours: AvroSchema, schemas: SchemaLookup | None = None, *, optional: str | None = None) -> None:
        self._ours = ours
        self._optional = optional
        self._schemas = KnownSchemas() if schemas is None else schemas
        self._resolved: dict[bytes | int, Resolution] = {}

    def open(self, message: bytes | None) -> Opened | Flaw:
        """Return the record in a message, or why there is none. Raises only what the schema lookup raises."""
        if message is None:
            return Flaw(RejectCode.null_message, "the message is null")
        form = wire_form(message)
        if form is WireForm.json:
            return _open_json(message)
        try:
            frame = open_frame(message, form)
        except CutHeader as error:
            return Flaw(RejectCode.bad_avro, str(error))
        resolution = self._resolution(frame)
        if resolution is None:
            named = f"id {frame.schema_id}" if frame.fingerprint is None else f"fingerprint {frame.fingerprint.hex()}"
            return Flaw(RejectCode.unknown_schema, f"no schema of {named} is known; register the writer's schema")
        return _open_avro(message, frame.body_at, resolution)

    def _resolution(self, frame: Frame) -> Resolution | None:
        key = frame.schema_id if frame.fingerprint is None else frame.fingerprint
        assert key is not None
        found = self._resolved.get(key)
        if found is None:
            writer = (
                self._schemas.by_id(key) if isinstance(key, int) else self._schemas.by_fingerprint(key)
            )  # an unknown one is asked for again each time: it may be registered by then
            if writer is None:
                return None
            found = self._resolved[key] = resolve(writer, self._ours, self._optional)
        return found


def _open_json(message: bytes) -> Opened | Flaw:
    try:
        record = orjson.loads(message)
    except orjson.JSONDecodeError as error:
        return Flaw(RejectCode.broken_json, f"{error}: {shown(message)}")
    if not isinstance(record, dict):
        return Flaw(RejectCode.wrong_type, f"{shown(record)} is no record: the message must be a JSON object")
    return Opened(record, False)


def _open_avro(message: bytes, body_at: int, resolution: Resolution) -> Opened | Flaw:
    body = BytesIO(message)
    body.seek(body_at)
    try:
        record = fastavro.schemaless_reader(body, resolution.writer, resolution.reader)
    except Exception as error:  # fastavro has no error class of its own: damaged bytes raise EOFError, IndexError, …
        return Flaw(RejectCode.bad_avro, f"{type(error).__name__} {error}: {shown(message)}"[:400])
    left_over = len(message) - body.tell()
    if left_over:
        return Flaw(RejectCode.bad_avro, f"{left_over} bytes left over after the record: written with another schema?")
    if not isinstance(record, dict):
        return Flaw(RejectCode.wrong_type, f"{shown(record)} is no record: the schema must be an Avro record")
    return Opened(record, resolution.ours)
