"""How a slate travels: one JSON text, the same in Redis (behind a format byte and the version) and on Kafka.

It is encoded once, where it is made. The version stands outside the text so that the newer-wins script compares it
without decoding anything. Light on purpose: serving processes import this, so it needs msgspec alone.
"""

from __future__ import annotations

import msgspec

from .records import Slate, Version

FORMAT = b"\x02"
VERSION_BYTES = 24
_HEADER_BYTES = len(FORMAT) + VERSION_BYTES


class EncodedSlate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A slate ready to be published: what it is told apart by, and its text.

    `json` is one JSON object. `items` and what is in them are arrays in the order of the records' fields: an item is
    `[item_id, score, [[signal, contribution, evidence], …], propensity]`, the version `[generation, position,
    revision]`: half the bytes of names everywhere, and a third of the time.
    """

    list: str
    user_id: str
    version: Version
    as_of_ms: int
    json: bytes

    @property
    def stored(self) -> bytes:
        """The value in Redis: format byte, 24 bytes of version, JSON text."""
        return FORMAT + self.version.pack() + self.json


class UnreadableSlate(ValueError):
    """The bytes under a list's key are not a slate this version can read."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Slate)


def encode_slate(slate: Slate) -> EncodedSlate:
    """Return `slate` as it travels."""
    return EncodedSlate(
        list=slate.list,
        user_id=slate.user_id,
        version=slate.version,
        as_of_ms=slate.as_of_ms,
        json=_encoder.encode(slate),
    )


def assemble_slate(
    items: bytes, *, list_name: str, user_id: str, version: Version, as_of_ms: int, generated_ts_ms: int
) -> EncodedSlate:
    """Return a slate whose items are encoded already, as the JSON array of `items`; its id is made of the rest."""
    which = "" if list_name == "main" else f".{list_name}"
    user, at = _encoder.encode(user_id), f"{version.generation}.{version.position}.{version.revision}{which}"
    head = b'{"slate_id":%b@%b","list":%b,"user_id":%b,"items":' % (
        user[:-1],
        at.encode(),
        _encoder.encode(list_name),
        user,
    )
    tail = b',"version":[%d,%d,%d],"as_of_ms":%d,"generated_ts_ms":%d}' % (
        version.generation,
        version.position,
        version.revision,
        as_of_ms,
        generated_ts_ms,
    )
    return EncodedSlate(
        list=list_name, user_id=user_id, version=version, as_of_ms=as_of_ms, json=b"".join((head, items, tail))
    )


def read_slate(encoded: EncodedSlate) -> Slate:
    """Return the slate as an object. Raises `msgspec.MsgspecError` where its text is none."""
    return _decoder.decode(encoded.json)


def decode_slate(value: bytes, *, list_name: str, user_id: str) -> Slate:
    """Return the slate stored under a list's key.

    Raises `UnreadableSlate` with the key and the first byte when the value is of another format or damaged.
    """
    if value[:1] != FORMAT or len(value) < _HEADER_BYTES:
        raise UnreadableSlate(
            f"rec:{list_name}:{user_id}: starts with {value[:1]!r}, expected {FORMAT!r}; written by another Millstream?"
        )
    try:
        return _decoder.decode(value[_HEADER_BYTES:])
    except msgspec.MsgspecError as error:
        raise UnreadableSlate(f"rec:{list_name}:{user_id}: damaged body: {error}") from error
