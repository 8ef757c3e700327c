"""Content vectors: what an item says of itself, as the encoder's process puts it on the `item-vectors` topic.

{"item_id":"i7","encoder":"minilm","digest":"9f2c…","scale":0.0012,"coded":"base64 of int8"}

An element is `coded * scale`: at 8 bits each the nearest of a vector stay the nearest (`tests/test_item_vectors.py`).
A tombstone, or an item of which nothing is to be encoded, has no vector.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

CONTENT = 384
"""Elements of a content vector."""
_LARGEST = 127


class ItemVector(msgspec.Struct, frozen=True):
    """One item's content vector."""

    item_id: str
    encoder: str
    """Which encoder made it."""
    digest: str
    """Of all that was encoded: while it is the same, the vector is."""
    scale: float
    """Above 0, or 0 for an item that says nothing."""
    coded: bytes
    """int8, `CONTENT` of them, or none where `scale` is 0."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(ItemVector)


def encode_vector(record: ItemVector) -> bytes:
    """Return the record as JSON."""
    return _encoder.encode(record)


def decode_vector(value: bytes) -> ItemVector:
    """Return what was written. Raises `ValueError` for what is none, or holds another number of elements."""
    record: ItemVector = _decoder.decode(value)
    expected = CONTENT if record.scale > 0 else 0
    if len(record.coded) != expected or not 0 <= record.scale < np.inf:
        raise ValueError(
            f"item_id={record.item_id!r}: {len(record.coded)} elements at a scale of {record.scale:g}; a content "
            f"vector has {CONTENT}, at a scale above 0"
        )
    return record


def quantise(vector: NDArray[np.float32]) -> tuple[NDArray[np.int8], float]:
    """Return a vector of shape (CONTENT,) as int8 and the scale it is to be multiplied by; 0 for one of zeros."""
    scale = float(np.abs(vector).max()) / _LARGEST
    if scale == 0:
        return np.zeros(CONTENT, np.int8), 0.0
    return np.rint(vector / np.float32(scale)).astype(np.int8), scale
