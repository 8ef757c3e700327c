"""Catalogue messages in, items and rejects out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from decoding import NOW_MS, avro_body
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.schemas.avro_schemas import our_schema
from millstream.schemas.columns import Reject
from millstream.schemas.decode_items import ItemDecoder
from millstream.schemas.framing import frame_single_object
from millstream.schemas.records import Item

ITEM = {"item": 5, "title": "Toy Story", "categories": ["Animation"], "price": 3, "year": "1995"}


def decode_item(message: bytes) -> Item | Reject:
    """Decode as offset 9 of `items`, partition 0."""
    return ItemDecoder().decode_item(message, offset=9, timestamp_ms=NOW_MS, input="items", partition=0)


def test_item_is_read_from_json_and_avro() -> None:
    """A catalogue entry by common names; what it does not say about its time, the record does."""
    assert decode_item(json.dumps(ITEM).encode()) == Item(
        item_id="5",
        title="Toy Story",
        categories=["Animation"],
        price=3.0,
        attributes={"year": "1995"},
        updated_ms=NOW_MS,
    )
    ours = our_schema("item")
    body = avro_body(ours, {"item_id": "5", "title": "Toy Story", "updated_ms": NOW_MS - 1})
    assert decode_item(frame_single_object(ours.fingerprint, body)) == Item(
        item_id="5", title="Toy Story", updated_ms=NOW_MS - 1
    )


def test_what_else_an_item_says_of_itself_is_an_attribute() -> None:
    """Texts and numbers under names that are none of ours; what is named as one wins; the rest is left."""
    found = decode_item(
        json.dumps({"item": 5, "attributes": {"by": "A"}, "by": "B", "pages": 90, "tags": ["x"], "old": None}).encode()
    )
    assert isinstance(found, Item)
    assert found.attributes == {"by": "A", "pages": "90"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"item": None}, "missing_item"),
        ({"item": ""}, "empty_id"),
        ({"title": 3}, "wrong_type"),
        ({"price": -1}, "negative_value"),
        ({"categories": [1]}, "wrong_type"),
        ({"vectors": {"text": ["x"]}}, "wrong_type"),
        ({"updated_ms": 17}, "timestamp_in_seconds"),
    ],
)
def test_bad_item_is_a_reject(change: dict[str, Any], code: str) -> None:
    """One wrong field rejects the entry under the code for it, with its place."""
    found = decode_item(json.dumps(ITEM | change).encode())
    assert isinstance(found, Reject)
    assert found.code == code
    assert found.message.startswith("items[0]@9: ")


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_a_reject_not_an_error(message: bytes) -> None:
    """No catalogue message raises."""
    assert isinstance(decode_item(message), Item | Reject)
