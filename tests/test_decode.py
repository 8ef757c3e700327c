"""Messages in, columns and rejects out."""

from __future__ import annotations

import json
from importlib import resources
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pytest
from decoding import GOOD, NOW_MS, decode, one, rows
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.schemas.avro_schemas import KnownSchemas, our_schema
from millstream.schemas.columns import Chunk, InteractionColumns
from millstream.schemas.framing import frame_single_object
from millstream.schemas.mapping import InputMapping, WrongMapping
from millstream.schemas.rejects import Flaw, RejectCode
from millstream.schemas.rules import Event, judge


def test_columns_have_the_documented_types_and_places() -> None:
    """Two events around a broken one: arrays of the documented types, offsets with a hole."""
    columns, rejects = decode([json.dumps(GOOD).encode(), b"{", json.dumps(GOOD | {"value": 2}).encode()])
    assert rows(columns) == [("u", "i", "click", NOW_MS, None), ("u", "i", "click", NOW_MS, 2.0)]
    assert columns.offsets.tolist() == [100, 102]
    assert columns.as_of_ms.tolist() == [NOW_MS, NOW_MS]
    types = {name: getattr(columns, name).dtype for name in ("kinds", "ts_ms", "values", "as_of_ms", "offsets")}
    assert types == {
        "kinds": np.int8,
        "ts_ms": np.int64,
        "values": np.float64,
        "as_of_ms": np.int64,
        "offsets": np.int64,
    }
    assert [(reject.index, reject.offset, reject.code) for reject in rejects] == [(1, 101, "broken_json")]


def test_no_messages_give_empty_columns() -> None:
    """A chunk of nothing is nothing, with the types of something."""
    columns, rejects = decode([])
    assert len(columns) == 0
    assert rejects == []
    assert columns.kinds.dtype == np.int8


@pytest.mark.parametrize(
    ("event", "row"),
    [
        ({"user": "u", "item": "i", "type": "view", "ts": NOW_MS}, ("u", "i", "click", NOW_MS, None)),
        ({"user": "u", "item": "i", "event": "buy", "timestamp": NOW_MS}, ("u", "i", "purchase", NOW_MS, None)),
        ({"user": 7, "item": -8, "rating": 4, "ts": NOW_MS}, ("7", "-8", "click", NOW_MS, 4.0)),
        ({"user": 2**63, "item": "i"}, (str(2**63), "i", "click", NOW_MS, None)),
        ({"user_id": None, "user": "u", "item": "i"}, ("u", "i", "click", NOW_MS, None)),
        ({"user_id": "a", "user": "b", "item": "i"}, ("a", "i", "click", NOW_MS, None)),
        ({"user": "u", "item": "i", "kind": None, "type": "cart"}, ("u", "i", "add_to_cart", NOW_MS, None)),
        ({"user": "u", "item": "i", "type": "Add-To-Cart"}, ("u", "i", "add_to_cart", NOW_MS, None)),
        ({"user": "u", "item": "i", "ts": float(NOW_MS)}, ("u", "i", "click", NOW_MS, None)),
        ({"user": "é" * 128, "item": "i"}, ("é" * 128, "i", "click", NOW_MS, None)),
        ({"user": "u\n", "item": "日本"}, ("u\n", "日本", "click", NOW_MS, None)),
    ],
)
def test_common_names_and_kinds_need_no_mapping(event: dict[str, Any], row: Any) -> None:
    """The commonest ways to say an event are understood; the first name present and not null counts."""
    assert one(event) == row


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"user_id": None}, "missing_user"),
        ({"item_id": None}, "missing_item"),
        ({"user_id": ""}, "empty_id"),
        ({"item_id": ""}, "empty_id"),
        ({"user_id": "x" * 257}, "id_too_long"),
        ({"user_id": "é" * 129}, "id_too_long"),
        ({"item_id": "a\0b"}, "bad_id"),
        ({"user_id": 1.5}, "wrong_type"),
        ({"user_id": True}, "wrong_type"),
        ({"user_id": {}}, "wrong_type"),
        ({"item_id": ["i"]}, "wrong_type"),
        ({"kind": "frobnicate"}, "unknown_kind"),
        ({"kind": ""}, "unknown_kind"),
        ({"kind": 1}, "wrong_type"),
        ({"kind": ["click"]}, "wrong_type"),
        ({"kind": "say", "vector": [0.1, 0.2]}, "wrong_type"),
        ({"kind": "query", "vector": ["a"] * 384}, "wrong_type"),
        ({"kind": "merge"}, "unsupported_kind"),
        ({"ts_ms": "yesterday"}, "wrong_type"),
        ({"ts_ms": True}, "wrong_type"),
        ({"ts_ms": NOW_MS + 0.5}, "wrong_type"),
        ({"ts_ms": -1}, "negative_timestamp"),
        ({"ts_ms": NOW_MS // 1000}, "timestamp_in_seconds"),
        ({"ts_ms": 0}, "timestamp_in_seconds"),
        ({"ts_ms": NOW_MS + 86_400_001}, "timestamp_ahead"),
        ({"ts_ms": NOW_MS * 1000}, "timestamp_ahead"),
        ({"value": -0.01}, "negative_value"),
        ({"value": -3}, "negative_value"),
        ({"value": "4"}, "wrong_type"),
        ({"value": True}, "wrong_type"),
        ({"value": [4]}, "wrong_type"),
    ],
)
def test_each_flaw_has_its_code(change: dict[str, Any], code: str) -> None:
    """One wrong field rejects the event under the code for it."""
    assert one(GOOD | change) == code


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (None, "null_message"),
        (b"", "broken_json"),
        (b"nonsense", "broken_json"),
        (b'{"user_id": "u"', "broken_json"),
        (b'{"user_id": "\xff"}', "broken_json"),
        (b'{"user_id": "\\ud800", "item_id": "i"}', "broken_json"),
        (b'{"user_id": "u", "item_id": "i", "value": NaN}', "broken_json"),
        (b'{"user_id": "u", "item_id": "i", "value": 1e999}', "broken_json"),
        (b"[1]", "wrong_type"),
        (b"3", "wrong_type"),
        (b"\x00\x00", "bad_avro"),
        (b"\xc3\x01", "bad_avro"),
        (b"\x00\x00\x00\x00\x63", "unknown_schema"),
        (b"\xc3\x01" + b"\x07" * 8, "unknown_schema"),
        (frame_single_object(our_schema("interaction").fingerprint, b"\x02"), "bad_avro"),
    ],
)
def test_message_that_holds_no_record_has_its_code(message: bytes | None, code: str) -> None:
    """What cannot be opened at all is rejected by what is wrong with the bytes."""
    _, rejects = decode([message])
    assert [reject.code for reject in rejects] == [code]


def test_message_says_value_place_and_consequence() -> None:
    """A reject reads as a sentence a person can act on."""
    _, rejects = decode([json.dumps({"user": "u", "item": "i", "rating": -5}).encode()])
    assert rejects[0].message == "interactions[3]@100: rating=-5 is below 0; kept as a dead letter"


def test_megabyte_of_id_is_refused_with_a_short_message() -> None:
    """The message shows the start of a long id and its length, never the whole."""
    _, rejects = decode([json.dumps(GOOD | {"user_id": "x" * 1_000_000}).encode()])
    assert rejects[0].code == "id_too_long"
    assert "(1,000,000 characters)" in rejects[0].message
    assert len(rejects[0].message) < 250


def test_record_timestamp_stands_in_for_a_missing_one() -> None:
    """An event without a time happened when its record says; without either it is rejected."""
    assert one({"user": "u", "item": "i"}) == ("u", "i", "click", NOW_MS, None)
    assert one({"user": "u", "item": "i"}, record_ms=-1) == "missing_timestamp"
    assert one({"user": "u", "item": "i"}, record_ms=NOW_MS // 1000) == "timestamp_in_seconds"


def test_record_without_a_timestamp_counts_as_of_its_event() -> None:
    """as_of_ms is never the -1 that Kafka gives for no timestamp."""
    columns, _ = decode([json.dumps(GOOD).encode()], record_ms=-1)
    assert columns.as_of_ms.tolist() == [NOW_MS]


def test_event_up_to_a_day_ahead_of_its_record_is_kept() -> None:
    """Clocks differ; a day is the limit, inclusive."""
    assert one(GOOD | {"ts_ms": NOW_MS + 86_400_000})[3] == NOW_MS + 86_400_000


def test_mapping_names_their_fields_and_kinds() -> None:
    """A mapped field goes by its mapped name alone, and a mapped kind wins over the common ones."""
    mapping = InputMapping(
        "purchase", {"user_id": "customer", "item_id": "sku"}, {"seen": "impression", "view": "like"}
    )
    event = {"customer": 5, "sku": "s", "user": "not me", "ts": NOW_MS}
    assert one(event, mapping) == ("5", "s", "purchase", NOW_MS, None)
    assert one(event | {"type": "seen"}, mapping)[2] == "impression"
    assert one(event | {"type": "view"}, mapping)[2] == "like"
    assert one(event | {"type": "buy"}, mapping)[2] == "purchase"
    assert one({"user": "u", "item": "i"}, mapping) == "missing_user"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"default_kind": "klick"}, "default_kind = 'klick'"),
        ({"fields": {"usr": "customer"}}, r"fields\.usr"),
        ({"fields": {"user_id": ""}}, r"fields\.user_id"),
        ({"kinds": {"seen": "viewed"}}, r"kinds\.seen = 'viewed'"),
    ],
)
def test_wrong_mapping_is_named_when_it_is_made(arguments: dict[str, Any], named: str) -> None:
    """A mapping onto what we do not have fails at once, naming the line to mend."""
    with pytest.raises(WrongMapping, match=named):
        InputMapping(**arguments)


ids = st.one_of(
    st.none(), st.text(max_size=70), st.integers(), st.floats(), st.booleans(), st.lists(st.integers(), max_size=1)
)
events = st.dictionaries(
    st.sampled_from(
        [
            *("user_id", "user", "item_id", "item", "kind", "type", "ts_ms", "ts", "value", "rating", "x"),
            *("slate_id", "position"),
        ]
    ),
    st.one_of(
        ids, st.sampled_from(["click", "view", "query", "Buy", NOW_MS, NOW_MS // 1000, float(NOW_MS), -0.0, 3, 4.5])
    ),
)


def _json(event: Any) -> bytes | None:
    try:
        return orjson.dumps(event)  # what it refuses (a lone surrogate, a huge integer) is no JSON message
    except orjson.JSONEncodeError:
        return None


@settings(deadline=None)
@given(st.lists(events, max_size=8), st.sampled_from([NOW_MS, -1]))
def test_short_way_agrees_with_the_rules(several: list[dict[str, Any]], record_ms: int) -> None:
    """Whatever the hot path takes, the rules would have taken, with the same row; what came before changes nothing."""
    messages = [message for message in map(_json, several) if message is not None]
    columns, rejects = decode(messages, record_ms=record_ms)
    judged = [judge(orjson.loads(message), InputMapping(), record_ms) for message in messages]
    expected = [event for event in judged if isinstance(event, Event)]
    assert columns.user_ids == [event.user_id for event in expected]
    assert columns.item_ids == [event.item_id for event in expected]
    assert columns.kinds.tolist() == [int(event.kind) for event in expected]
    assert columns.ts_ms.tolist() == [event.ts_ms for event in expected]
    assert columns.values.tobytes() == np.array([event.value for event in expected], dtype=np.float64).tobytes()
    assert [reject.code for reject in rejects] == [flaw.code.value for flaw in judged if isinstance(flaw, Flaw)]
    slates, slots = [event.slate for event in expected], [event.slot for event in expected]
    assert slates == ([0] * len(expected) if columns.slates is None else columns.slates.tolist())
    assert slots == ([-1] * len(expected) if columns.slots is None else columns.slots.tolist())


garbage = st.one_of(
    st.none(),
    st.binary(max_size=80),
    st.binary(max_size=60).map(lambda tail: b"\xc3\x01" + our_schema("interaction").fingerprint + tail),
    st.binary(max_size=60).map(lambda tail: b"\x00\x00\x00\x00\x01" + tail),
    st.binary(max_size=60).map(lambda tail: b"{" + tail),
    events.map(_json),
)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.one_of(garbage, st.just("good")), max_size=12))
def test_good_events_survive_any_garbage(mixed: list[bytes | str | None]) -> None:
    """Arbitrary bytes never raise, every record is a row or a reject, and each good event is a row."""
    known = KnownSchemas()
    known.add(our_schema("interaction"), schema_id=1)
    good = json.dumps(GOOD | {"item_id": "the good one"}).encode()
    messages = [good if isinstance(each, str) else each for each in mixed]
    columns, rejects = decode(messages, schemas=known)
    places = sorted(columns.offsets.tolist() + [reject.offset for reject in rejects])
    assert places == list(range(100, 100 + len(messages)))
    assert columns.item_ids.count("the good one") == mixed.count("good")
    assert all(len(reject.message) < 600 for reject in rejects)


@given(st.integers(0, 6), st.data())
def test_chunk_cut_anywhere_joins_without_gap(n: int, data: st.DataObject) -> None:
    """Pieces of a chunk cover its offsets exactly, holes included, and hold its events."""
    offsets = sorted(data.draw(st.sets(st.integers(11, 40), min_size=n, max_size=n)))
    columns = InteractionColumns(
        user_ids=[str(offset) for offset in offsets],
        item_ids=["i"] * n,
        kinds=np.zeros(n, np.int8),
        ts_ms=np.zeros(n, np.int64),
        values=np.zeros(n),
        as_of_ms=np.zeros(n, np.int64),
        offsets=np.array(offsets, np.int64),
    )
    chunk = Chunk("interactions", 0, 10, 50, columns)
    inner = data.draw(st.sets(st.integers(1, n - 1), max_size=4)) if n > 1 else set()
    cuts = [0, *sorted(inner), n]
    pieces = [chunk.cut(first, last) for first, last in pairwise(cuts)]
    assert [user for piece in pieces for user in piece.columns.user_ids] == columns.user_ids
    assert pieces[0].start == 10
    assert pieces[-1].end == 50
    assert all(before.end == after.start for before, after in pairwise(pieces))


def test_every_code_is_in_the_readme() -> None:
    """The table people look codes up in lists every code."""
    readme = resources.files("millstream.schemas").joinpath("README.md").read_text(encoding="utf-8")
    assert [code for code in RejectCode if f"`{code.value}`" not in readme] == []
