"""From catalogue messages to items. Few and rare beside events, so one object each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from .avro_schemas import SchemaLookup, our_schema
from .columns import Reject
from .mapping import InputMapping
from .records import Item
from .rejects import Flaw, RejectCode, shown
from .rules import judge_id, judge_time, judge_value, pick
from .wire import MessageOpener

_ID_NAMES = InputMapping().names("item_id")
_PLAIN_FIELDS = ("title", "text", "categories", "price", "available", "attributes", "vectors", "updated_ms")
_KNOWN = frozenset({*_PLAIN_FIELDS, *_ID_NAMES})
_SAYS = (str, int, float)


class ItemDecoder:
    """Decodes catalogue messages: JSON or Avro, `item_id` or `item`. One thread at a time."""

    def __init__(self, schemas: SchemaLookup | None = None) -> None:
        self._opener = MessageOpener(our_schema("item"), schemas)

    def decode_item(
        self, message: bytes, *, offset: int, timestamp_ms: int, input: str, partition: int, index: int = 0
    ) -> Item | Reject:
        """Return the item a message holds, or why it holds none. A tombstone (None) is the caller's to apply.

        An item that does not say when it was updated has `updated_ms` = the record's timestamp.
        """
        opened = self._opener.open(message)
        item = opened if isinstance(opened, Flaw) else judge_item(opened.record, timestamp_ms)
        if isinstance(item, Item):
            return item
        where = f"{input}[{partition}]@{offset}"
        return Reject(index, offset, item.code.value, f"{where}: {item.text}; kept as a dead letter")


def judge_item(record: Mapping[str, Any], record_ms: int) -> Item | Flaw:
    """Return the item a record stands for, or the first thing wrong with it. Never raises.

    A field that is none of ours and holds a text or a number is an attribute; others are ignored.
    """
    item_id = judge_id(*pick(record, _ID_NAMES), RejectCode.missing_item)
    if isinstance(item_id, Flaw):
        return item_id
    fields = {name: record[name] for name in _PLAIN_FIELDS if record.get(name) is not None}
    others = {name: str(value) for name, value in record.items() if name not in _KNOWN and isinstance(value, _SAYS)}
    if others and isinstance(fields.get("attributes", {}), dict):
        fields["attributes"] = others | fields.get("attributes", {})
    if isinstance(fields.get("categories"), str):
        fields["categories"] = [fields["categories"]]
    if fields.get("updated_ms", 0) != 0:
        updated_ms = judge_time("updated_ms", fields["updated_ms"], record_ms)
        if isinstance(updated_ms, Flaw):
            return updated_ms
        fields["updated_ms"] = updated_ms
    else:
        fields["updated_ms"] = max(record_ms, 0)
    try:
        item = msgspec.convert({**fields, "item_id": item_id}, Item)
    except msgspec.ValidationError as error:
        return Flaw(RejectCode.wrong_type, f"item_id={shown(item_id)}: {error}")
    price = judge_value("price", item.price)
    if isinstance(price, Flaw):
        return price
    for name, vector in item.vectors.items():
        if not all(map(math.isfinite, vector)):
            return Flaw(RejectCode.non_finite_value, f"item_id={shown(item_id)}: vectors[{shown(name)}] is not finite")
    return item
