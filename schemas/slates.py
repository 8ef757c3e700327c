"""How a slate is stored in Redis: one format byte, the version, a MessagePack body.

The version stands outside the body so that the newer-wins script compares it without decoding anything. Light on
purpose: serving processes import this, so it needs msgspec alone.
"""

from __future__ import annotations

import msgspec

from .records import ScoredItem, Slate, Version

FORMAT = b"\x01"
VERSION_BYTES = 24
_HEADER_BYTES = len(FORMAT) + VERSION_BYTES


class SlateBody(msgspec.Struct, frozen=True, array_like=True):
    """The part of a slate that is not its key or its version."""

    slate_id: str
    as_of_ms: int
    generated_ts_ms: int
    items: tuple[ScoredItem, ...]


class UnreadableSlate(ValueError):
    """The bytes under a list's key are not a slate this version can read."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(SlateBody)


def encode_slate(slate: Slate) -> bytes:
    """Return the Redis value of `slate`: format byte, 24 bytes of version, MessagePack body."""
    body = SlateBody(slate.slate_id, slate.as_of_ms, slate.generated_ts_ms, slate.items)
    return FORMAT + slate.version.pack() + _encoder.encode(body)


def decode_slate(value: bytes, *, list_name: str, user_id: str) -> Slate:
    """Read back what `encode_slate` wrote.

    Raises `UnreadableSlate` with the key and the first byte when the value is of another format or damaged.
    """
    if value[:1] != FORMAT or len(value) < _HEADER_BYTES:
        raise UnreadableSlate(
            f"rec:{list_name}:{user_id}: starts with {value[:1]!r}, expected {FORMAT!r}; written by a newer Millstream?"
        )
    try:
        body = _decoder.decode(value[_HEADER_BYTES:])
    except msgspec.MsgspecError as error:
        raise UnreadableSlate(f"rec:{list_name}:{user_id}: damaged body: {error}") from error
    return Slate(
        slate_id=body.slate_id,
        list=list_name,
        user_id=user_id,
        items=body.items,
        version=Version.unpack(value[1:_HEADER_BYTES]),
        as_of_ms=body.as_of_ms,
        generated_ts_ms=body.generated_ts_ms,
    )
