"""From an item's entry in the catalogue to its content vector: what it says as one text, and the vectors it brings.

An item may bring vectors of its own, of an image or a sound, by name and of any width. Each is put onto `CONTENT`
directions drawn for its name, and the sum, with the text's, is taken at length 1. Directions of different names are
nearly orthogonal, so the inner product of two items is nearly the mean of those of what they have in common.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from millstream.schemas.item_vectors import ItemVector, quantise
from millstream.schemas.records import Item

from .encoders import TextEncoder, normalised, projected

_MOST_CHARACTERS = 4_000
"""Of a text: more than any of the encoders reads."""


def text_of(item: Item) -> str:
    """Return all that an item says of itself, the most telling first; empty where it says nothing."""
    head = item.title or ""
    details = [f"{name}: {value}" for name, value in sorted(item.attributes.items())]
    if item.price is not None:
        details.append(f"price: {item.price:g}")
    parts = (head, ", ".join(item.categories), item.text or "", ", ".join(details))
    return ". ".join(part for part in parts if part)[:_MOST_CHARACTERS]


def digest_of(item: Item, encoder: str) -> str:
    """Return 32 hex digits of all that a content vector is made of."""
    digest = hashlib.blake2b(f"{encoder}\0{text_of(item)}".encode(), digest_size=16)
    for name, vector in sorted(item.vectors.items()):
        digest.update(f"\0{name}\0".encode() + np.array(vector, np.float32).tobytes())
    return digest.hexdigest()


def contents(items: Sequence[Item], encoder: TextEncoder) -> list[ItemVector]:
    """Return the content vectors of items, those of one that says nothing and brings nothing 0."""
    texts = [text_of(item) for item in items]
    order = sorted({text for text in texts if text}, key=len)  # of a length together: less padding
    encoded = dict(zip(order, encoder.encode(order), strict=True)) if order else {}
    return [_content(item, encoded.get(text), encoder.name) for item, text in zip(items, texts, strict=True)]


def _content(item: Item, text: NDArray[np.float32] | None, encoder: str) -> ItemVector:
    parts = [] if text is None else [text]
    for name, vector in sorted(item.vectors.items()):
        parts.append(_turned(name, normalised(projected(np.array([vector], np.float32)))[0]))
    digest = digest_of(item, encoder)
    if not parts:
        return ItemVector(item.item_id, encoder, digest, 0.0, b"")
    coded, scale = quantise(normalised(np.sum(parts, axis=0, keepdims=True))[0])
    return ItemVector(item.item_id, encoder, digest, scale, coded.tobytes() if scale > 0 else b"")


def _turned(name: str, vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a vector with its elements at other places, and some of them negative, as the name decides."""
    seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
    rng = np.random.default_rng(seed)
    places, signs = rng.permutation(len(vector)), rng.integers(0, 2, len(vector)) * 2 - 1
    return vector[places] * signs.astype(np.float32)
