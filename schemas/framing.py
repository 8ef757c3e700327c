"""Which wire form a message has, told from its first bytes.

    C3 01 + 8 bytes   Avro single-object encoding: the writer schema's CRC-64-AVRO fingerprint, little-endian
    00 + 4 bytes      Confluent framing: the writer schema's registry id, big-endian
    anything else     JSON: `{` or white space first, and what is neither is broken JSON

The forms cannot be mistaken for each other: JSON text starts with neither C3 (no JSON token does) nor 00.
"""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

SINGLE_OBJECT_MARKER = b"\xc3\x01"
CONFLUENT_MARKER = b"\x00"
SINGLE_OBJECT_HEADER_BYTES = 10
CONFLUENT_HEADER_BYTES = 5
_SCHEMA_ID = struct.Struct(">I")


class WireForm(enum.Enum):
    """How a message's bytes are to be read."""

    json = enum.auto()
    single_object = enum.auto()
    confluent = enum.auto()


class CutHeader(ValueError):
    """The message ends within its Avro header."""


class Frame(NamedTuple):
    """An Avro message taken apart: its schema's fingerprint (8 bytes) or registry id, and where its body starts."""

    fingerprint: bytes | None
    schema_id: int | None
    body_at: int


def wire_form(message: bytes) -> WireForm:
    """Return the form of a message, by its first two bytes at most."""
    if message[:2] == SINGLE_OBJECT_MARKER:
        return WireForm.single_object
    if message[:1] == CONFLUENT_MARKER:
        return WireForm.confluent
    return WireForm.json


def open_frame(message: bytes, form: WireForm) -> Frame:
    """Take apart the header of an Avro message. Raises `CutHeader` if the message is shorter than that."""
    if form is WireForm.single_object:
        if len(message) < SINGLE_OBJECT_HEADER_BYTES:
            raise CutHeader(f"{len(message)} bytes, but a single-object header alone has {SINGLE_OBJECT_HEADER_BYTES}")
        return Frame(message[2:SINGLE_OBJECT_HEADER_BYTES], None, SINGLE_OBJECT_HEADER_BYTES)
    if len(message) < CONFLUENT_HEADER_BYTES:
        raise CutHeader(f"{len(message)} bytes, but a Confluent header alone has {CONFLUENT_HEADER_BYTES}")
    return Frame(None, _SCHEMA_ID.unpack_from(message, 1)[0], CONFLUENT_HEADER_BYTES)


def frame_single_object(fingerprint: bytes, body: bytes) -> bytes:
    """Return `body` as a single-object message; `fingerprint` is 8 bytes, little-endian."""
    return SINGLE_OBJECT_MARKER + fingerprint + body


def frame_confluent(schema_id: int, body: bytes) -> bytes:
    """Return `body` in Confluent framing under a registry id below 2^32."""
    return CONFLUENT_MARKER + _SCHEMA_ID.pack(schema_id) + body
