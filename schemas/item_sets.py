"""A set of item ids as one Redis value: what a user's rules keep off their lists, and what is withdrawn for everybody.

One format byte, a version (8 bytes, big-endian, greater is newer), then the ids with a NUL between them, oldest first.
No id holds a NUL (`rules.judge_id`), so any client reads it by a split. One value, not a Redis set: so that it comes
with the list in the same MGET.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

FORMAT = b"\x01"
_HEADER = struct.Struct(">cQ")


class ItemSet(NamedTuple):
    """Item ids, and how new the set is; 0: there is none yet."""

    version: int = 0
    items: frozenset[str] = frozenset()


class UnreadableItemSet(ValueError):
    """The bytes under a key are not a set of items this version can read."""


def encode_item_set(version: int, items: Iterable[str]) -> bytes:
    r"""Return the Redis value of a set.

    >>> encode_item_set(3, ["a", "b"])
    b'\x01\x00\x00\x00\x00\x00\x00\x00\x03a\x00b'
    """
    return _HEADER.pack(FORMAT, version) + "\0".join(items).encode()


def decode_item_set(value: bytes) -> ItemSet:
    """Read back what `encode_item_set` wrote. Raises `UnreadableItemSet` for another format or damage.

    >>> decode_item_set(encode_item_set(3, ["a", "b"])) == ItemSet(3, frozenset({"a", "b"}))
    True
    """
    if value[:1] != FORMAT or len(value) < _HEADER.size:
        raise UnreadableItemSet(f"starts with {value[:1]!r}, expected {FORMAT!r}; written by a newer Millstream?")
    try:
        text = value[_HEADER.size :].decode()
    except UnicodeDecodeError as error:
        raise UnreadableItemSet(f"damaged: {error}") from error
    return ItemSet(_HEADER.unpack_from(value)[1], frozenset(text.split("\0")) if text else frozenset())
