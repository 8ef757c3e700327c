"""Wire forms are told apart by their first bytes."""

from __future__ import annotations

import pytest

from millstream.schemas.framing import (
    CutHeader,
    Frame,
    WireForm,
    frame_confluent,
    frame_single_object,
    open_frame,
    wire_form,
)


@pytest.mark.parametrize(
    ("message", "form"),
    [
        (b'{"user": 1}', WireForm.json),
        (b' \n\t{"user": 1}', WireForm.json),
        (b"", WireForm.json),
        (b"nonsense", WireForm.json),
        (b"\xc3", WireForm.json),
        (b"\xc3\x02", WireForm.json),
        (b"\xc3\x01", WireForm.single_object),
        (b"\x00", WireForm.confluent),
    ],
)
def test_first_bytes_tell_the_form(message: bytes, form: WireForm) -> None:
    """Only C3 01 and 00 are Avro; everything else is left to the JSON parser to judge."""
    assert wire_form(message) is form


def test_single_object_header_is_the_marker_and_eight_bytes() -> None:
    """What is framed is taken apart into the same fingerprint and body."""
    message = frame_single_object(b"12345678", b"body")
    assert message == b"\xc3\x0112345678body"
    assert open_frame(message, wire_form(message)) == Frame(b"12345678", None, 10)


def test_confluent_id_is_big_endian() -> None:
    """Schema id 258 is 00 00 01 02 after the zero byte."""
    message = frame_confluent(258, b"body")
    assert message == b"\x00\x00\x00\x01\x02body"
    assert open_frame(message, wire_form(message)) == Frame(None, 258, 5)


@pytest.mark.parametrize("message", [b"\xc3\x01", b"\xc3\x011234567", b"\x00", b"\x00\x00\x00\x01"])
def test_message_that_ends_within_its_header_is_named(message: bytes) -> None:
    """A header cut short says how many bytes there were."""
    with pytest.raises(CutHeader, match=f"{len(message)} bytes"):
        open_frame(message, wire_form(message))
