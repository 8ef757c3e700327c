"""The hash of the catalogue in Redis: each item as its last record says, for whoever shows titles or changes a part.

Written by the worker that leads, before it orders the record; an item that was removed is gone from it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import redis.asyncio

from millstream.schemas.records import Item

_encoder = msgspec.json.Encoder()
_item = msgspec.json.Decoder(Item)


class _Titled(msgspec.Struct, frozen=True):
    title: str | None = None


class _Categorised(msgspec.Struct, frozen=True):
    categories: list[str] = []


_categorised = msgspec.json.Decoder(_Categorised)


def catalogue_key(prefix: str) -> str:
    """Return the Redis key of the hash: item id to the item's record as JSON."""
    return f"{prefix}items"


def encode_item(item: Item) -> bytes:
    """Return what the hash holds of an item."""
    return _encoder.encode(item)


def titles(values: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the titles in a hash as `HGETALL` gives it; items without one are left out."""
    read = {key.decode(): msgspec.json.decode(value, type=_Titled).title for key, value in values.items()}
    return {item_id: title for item_id, title in read.items() if title is not None}


def of_category(item_ids: Sequence[str], values: Sequence[bytes | None], category: str) -> set[str]:
    """Return those of the items that are of the category, by what `HMGET` gives for them."""
    found = set()
    for item_id, value in zip(item_ids, values, strict=True):
        if value is not None:
            with contextlib.suppress(msgspec.MsgspecError):
                if category in _categorised.decode(value).categories:
                    found.add(item_id)
    return found


async def read_items(client: redis.asyncio.Redis, prefix: str, item_ids: Sequence[str]) -> dict[str, Item]:
    """Return those of the items that the hash holds. Raises what redis-py raises."""
    if not item_ids:
        return {}
    values: Any = await client.hmget(catalogue_key(prefix), list(item_ids))
    found = {}
    for item_id, value in zip(item_ids, values, strict=True):
        if value is not None:
            with contextlib.suppress(msgspec.MsgspecError):  # of another version: as good as none
                found[item_id] = _item.decode(value)
    return found
