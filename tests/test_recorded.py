"""A file in, time-ordered columns out, by the rules live events obey."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest

from millstream.schemas.avro_schemas import our_schema
from millstream.schemas.canonical import canonical_events
from millstream.schemas.columns import InteractionColumns
from millstream.schemas.decode import InteractionDecoder
from millstream.schemas.log_files import UnreadableLog
from millstream.schemas.mapping import InputMapping, WrongMapping
from millstream.schemas.recorded import read_events, read_items
from millstream.schemas.records import Item, Kind

T = 1_600_000_000_000


def event(user: str, item: str, at: int = 0, **more: Any) -> dict[str, Any]:
    """Return an event `at` ms after T, by our names."""
    return {"user_id": user, "item_id": item, "ts_ms": T + at, **more}


def write_jsonl(path: Path, events: Sequence[dict[str, Any]]) -> Path:
    """Write one JSON object a line."""
    path = path / "log.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in events))
    return path


def write_jsonl_gz(path: Path, events: Sequence[dict[str, Any]]) -> Path:
    """Write the same, gzipped."""
    plain = write_jsonl(path, events)
    packed = path / "log.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    return packed


def write_csv(path: Path, events: Sequence[dict[str, Any]]) -> Path:
    """Write a header and one row an event; absent fields are empty cells."""
    names = list(dict.fromkeys(name for each in events for name in each))
    lines = [",".join(names)] + [",".join(str(each.get(name, "")) for name in names) for each in events]
    path = path / "log.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def write_avro(path: Path, events: Sequence[dict[str, Any]]) -> Path:
    """Write an Avro container of our own schema."""
    path = path / "log.avro"
    with path.open("wb") as file:
        fastavro.writer(file, our_schema("interaction").definition, events, codec="deflate")
    return path


WRITERS = [write_jsonl, write_jsonl_gz, write_csv, write_avro]


def pairs(columns: InteractionColumns) -> list[str]:
    """Return `user:item` of each row."""
    return [f"{user}:{item}" for user, item in zip(columns.user_ids, columns.item_ids, strict=True)]


def same(left: InteractionColumns, right: InteractionColumns) -> bool:
    """Whether two columns are equal, bit for bit."""
    arrays = ("kinds", "ts_ms", "values", "as_of_ms", "offsets")
    return (left.user_ids, left.item_ids) == (right.user_ids, right.item_ids) and all(
        getattr(left, name).tobytes() == getattr(right, name).tobytes() for name in arrays
    )


@pytest.mark.parametrize("write", WRITERS)
def test_every_form_gives_the_same_columns(
    write: Callable[[Path, Sequence[dict[str, Any]]], Path], tmp_path: Path
) -> None:
    """JSON lines, gzipped ones, CSV and Avro of the same events read as the same events."""
    events = [
        event("a", "x", kind="click"),
        event("b", "y", 1, kind="rating", value=4.5),
        event("a", "z", 2, kind="purchase", value=3.0, session_id="s1"),
    ]
    log = read_events(write(tmp_path, events))
    assert pairs(log.columns) == ["a:x", "b:y", "a:z"]
    assert log.columns.kinds.tolist() == [Kind.click, Kind.rating, Kind.purchase]
    assert log.columns.ts_ms.tolist() == [T, T + 1, T + 2]
    assert log.columns.as_of_ms.tolist() == [T, T + 1, T + 2]
    assert log.columns.offsets.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(log.columns.values, [np.nan, 4.5, 3.0])
    assert log.rejects == []


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("keep_extras", [False, True])
def test_events_are_sorted_by_time_and_file_order_breaks_ties(
    write: Callable[[Path, Sequence[dict[str, Any]]], Path], keep_extras: bool, tmp_path: Path
) -> None:
    """A stable sort: equal times stay as they stood, and extras follow their events."""
    events = [event("a", str(item), at, session_id=str(item)) for item, at in enumerate([5, 1, 5, 1, 0])]
    log = read_events(write(tmp_path, events), keep_extras=keep_extras)
    assert log.columns.item_ids == ["4", "1", "3", "0", "2"]
    assert log.columns.offsets.tolist() == [0, 1, 2, 3, 4]
    if keep_extras:
        assert log.extras == [{"session_id": item} for item in log.columns.item_ids]


@pytest.mark.parametrize("keep_extras", [False, True])
def test_ratings_below_the_minimum_are_dropped_before_everything(keep_extras: bool, tmp_path: Path) -> None:
    """A low rating does not even count as the first of its pair; other kinds' values are no ratings."""
    events = [
        event("a", "x", 0, kind="rating", value=3),
        event("a", "x", 1, kind="rating", value=4),
        event("a", "x", 2, kind="rating", value=5),
        event("a", "dwell", 3, kind="click", value=0.5),
        event("a", "unrated", 4, kind="rating"),
        {"user": "a", "item": "no kind", "ts": T + 5, "rating": 3.5},
    ]
    log = read_events(write_jsonl(tmp_path, events), min_rating=4, keep_extras=keep_extras)
    assert log.columns.item_ids == ["x", "x", "dwell", "unrated"]
    log = read_events(write_jsonl(tmp_path, events), min_rating=4, first_only=True, keep_extras=keep_extras)
    assert log.columns.item_ids == ["x", "dwell", "unrated"]
    assert log.columns.ts_ms.tolist() == [T + 1, T + 3, T + 4]
    assert log.columns.offsets.tolist() == [0, 1, 2]
    assert log.rejects == []


def test_first_only_keeps_the_earliest_of_each_user_and_item(tmp_path: Path) -> None:
    """First by time, not by place in the file."""
    events = [event("a", "x", 3), event("b", "x", 2), event("a", "x", 1), event("a", "y", 0)]
    log = read_events(write_jsonl(tmp_path, events), first_only=True)
    assert pairs(log.columns) == ["a:y", "a:x", "b:x"]
    assert log.columns.ts_ms.tolist() == [T, T + 1, T + 2]


def test_limit_counts_after_the_filters(tmp_path: Path) -> None:
    """The first n that stay, in time order."""
    events = [event("a", "x", 1), event("a", "x", 2), event("a", "y", 3), event("a", "z", 0)]
    assert pairs(read_events(write_jsonl(tmp_path, events), first_only=True, limit=2).columns) == ["a:z", "a:x"]
    assert len(read_events(write_jsonl(tmp_path, events), limit=0).columns) == 0


@pytest.mark.parametrize("keep_extras", [False, True])
def test_bad_lines_are_rejects_with_their_line(keep_extras: bool, tmp_path: Path) -> None:
    """The good lines count, blank ones are nothing, and each bad one is named by file and line."""
    path = tmp_path / "log.jsonl"
    good = json.dumps(event("a", "x"))
    path.write_text(f'{good}\n{{"user": "a"\n\n{good}\r\n{{"user": "a", "item": "x"}}\n{good}')
    log = read_events(path, keep_extras=keep_extras)
    assert len(log.columns) == 3
    assert [(reject.offset, reject.code) for reject in log.rejects] == [(1, "broken_json"), (4, "missing_timestamp")]
    assert log.rejects[1].message == "log.jsonl:5: no ts_ms, and the record has no timestamp either; left out"


def test_lines_are_whole_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file is cut into blocks changes nothing, line numbers included."""
    path = tmp_path / "log.jsonl"
    lines = [json.dumps(event("a", str(item), item)) for item in range(50)]
    lines.insert(30, "broken")
    path.write_text("\n".join(lines))
    whole = read_events(path)
    monkeypatch.setattr("millstream.schemas.log_files._BLOCK_BYTES", 100)
    blocks = read_events(path)
    assert same(whole.columns, blocks.columns)
    assert len(whole.columns) == 50
    assert blocks.rejects == whole.rejects
    assert [reject.offset for reject in whole.rejects] == [30]


def test_csv_names_what_is_wrong_in_a_cell(tmp_path: Path) -> None:
    """Text where a number should be, an unknown kind, NaN, a byte that is no UTF-8: one reject each."""
    path = tmp_path / "ratings.csv"
    path.write_bytes(
        b"user;item;rating;ts\r\n"
        b"a;x;4.5;1600000000000\r\n"
        b"a;x;good;1600000000000\r\n"
        b"a;x;nan;1600000000000\r\n"
        b"a;x;4;then\r\n"
        b"\xff;x;4;1600000000000\r\n"
        b"a\r\n"
        b'"a;b";"x ""y""";;1.6e12\r\n'
    )
    log = read_events(path)
    assert pairs(log.columns) == ["a:x", 'a;b:x "y"']
    codes = ["wrong_type", "non_finite_value", "wrong_type", "bad_id", "missing_item"]
    assert [reject.code for reject in log.rejects] == codes
    assert log.rejects[0].message.startswith("ratings.csv:3: rating='good'")


def test_csv_cell_beyond_the_limit_is_one_reject(tmp_path: Path) -> None:
    """A monstrous cell costs its row, not the file."""
    path = tmp_path / "log.csv"
    path.write_text(f"user,item,ts\n{'x' * 200_000},i,{T}\nb,i,{T}\n")
    log = read_events(path)
    assert log.columns.user_ids == ["b"]
    assert len(log.rejects) == 1


def test_csv_without_a_header_is_refused(tmp_path: Path) -> None:
    """A first line that names no user column cannot be a header."""
    path = tmp_path / "log.csv"
    path.write_text(f"1,2,{T}\n")
    with pytest.raises(UnreadableLog, match="user_id or user"):
        read_events(path)


def test_form_is_seen_without_a_suffix(tmp_path: Path) -> None:
    """The first bytes say what a file without a telling name is."""
    for write in WRITERS:
        path = write(tmp_path, [event("a", "x")]).rename(tmp_path / "unnamed")
        assert pairs(read_events(path).columns) == ["a:x"]


def test_empty_file_is_an_empty_log(tmp_path: Path) -> None:
    """No events, no error."""
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"")
    log = read_events(path, first_only=True, keep_extras=True)
    assert len(log.columns) == 0
    assert log.rejects == []
    assert log.extras == []


def test_missing_and_cut_files_are_named(tmp_path: Path) -> None:
    """A path that is not there, a gzip and an Avro file cut short: one clear error each."""
    with pytest.raises(UnreadableLog, match=r"nowhere\.jsonl"):
        read_events(tmp_path / "nowhere.jsonl")
    events = [event("a", str(item), item) for item in range(100)]
    for write in (write_jsonl_gz, write_avro):
        path = write(tmp_path, events)
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(UnreadableLog, match=path.name):
            read_events(path)


def test_foreign_avro_file_is_read_by_the_mapping(tmp_path: Path) -> None:
    """A container of somebody else's schema has its own names."""
    path = tmp_path / "orders.avro"
    fields = [{"name": "customer", "type": "string"}, {"name": "sku", "type": "long"}, {"name": "ts", "type": "long"}]
    with path.open("wb") as file:
        fastavro.writer(
            file, {"type": "record", "name": "Order", "fields": fields}, [{"customer": "c", "sku": 7, "ts": T}]
        )
    log = read_events(path, InputMapping("purchase", {"user_id": "customer", "item_id": "sku"}))
    assert pairs(log.columns) == ["c:7"]
    assert log.columns.kinds.tolist() == [Kind.purchase]


@pytest.mark.parametrize(
    "mapping",
    [
        InputMapping(),
        InputMapping("purchase", {"user_id": "customer", "ts_ms": "at", "session_id": "visit"}, {"click": "like"}),
    ],
)
def test_canonical_json_decodes_to_the_same_columns(mapping: InputMapping, tmp_path: Path) -> None:
    """What replay sends gives back each row bit for bit, with its extras, under whatever names the topic has."""
    events = [event("a", "x", value=0.1 + 0.2), event("é", "1", 1, kind="like", session_id="s", position=3)]
    log = read_events(write_jsonl(tmp_path, events), keep_extras=True)
    messages = list(canonical_events(log.columns, extras=log.extras, mapping=mapping))
    columns, rejects = InteractionDecoder(mapping).decode(
        messages, range(2), log.columns.ts_ms.tolist(), input="t", partition=0
    )
    assert rejects == []
    assert same(columns, log.columns)
    assert json.loads(messages[1])[mapping.names("session_id")[0]] == "s"
    assert json.loads(messages[1])["position"] == 3


def test_kind_that_a_mapping_leaves_without_a_name_is_refused(tmp_path: Path) -> None:
    """An input to which a rating is a like has no name for a rating, so it cannot be sent one."""
    log = read_events(write_jsonl(tmp_path, [event("a", "x", kind="rating", value=4)]))
    with pytest.raises(WrongMapping, match=r"kinds\.rating"):
        list(canonical_events(log.columns, mapping=InputMapping(kinds={"rating": "like"})))


def test_catalogue_is_read_from_jsonl_and_csv(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Titles and categories by item; the last entry counts; entries that are none are left out with one warning."""
    path = tmp_path / "items.jsonl"
    entries = [
        {"item": "1", "title": "Old"},
        {"title": "nobody"},
        {"item": 1, "title": "New", "categories": ["A", "B"]},
    ]
    path.write_text("\n".join(map(json.dumps, entries)))
    assert read_items(path) == {"1": Item(item_id="1", title="New", categories=["A", "B"])}
    assert "1 entries of the catalogue left out; the first: items.jsonl:2: no item_id" in caplog.text
    path = tmp_path / "items.csv"
    path.write_text("item_id,title,categories,price,available\n1,New,A|B,2.5,false\n")
    assert read_items(path) == {"1": Item(item_id="1", title="New", categories=["A", "B"], price=2.5, available=False)}
