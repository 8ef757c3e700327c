"""The stored form of a slate: what is written is read back, and damage is named."""

from __future__ import annotations

import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.schemas.records import Reason, ScoredItem, Slate, Version
from millstream.schemas.slates import FORMAT, UnreadableSlate, assemble_slate, decode_slate, encode_slate, read_slate

_numbers = st.integers(0, 2**53 - 1)
_finite = st.floats(allow_nan=False, allow_infinity=False)
_reasons = st.builds(Reason, st.text(max_size=8), _finite, st.text(max_size=8))
_items = st.builds(
    ScoredItem,
    st.text(min_size=1, max_size=20),
    _finite,
    st.lists(_reasons, max_size=3).map(tuple),
    st.none() | _finite,
)
_versions = st.builds(Version, _numbers, _numbers, _numbers)
_slates = st.builds(
    Slate,
    slate_id=st.text(max_size=20),
    list=st.sampled_from(["main", "home"]),
    user_id=st.text(max_size=20),
    items=st.lists(_items, max_size=5).map(tuple),
    version=_versions,
    as_of_ms=_numbers,
    generated_ts_ms=_numbers,
)

SLATE = Slate(
    slate_id="s1",
    list="main",
    user_id="42",
    items=(ScoredItem("a", 2.0, (Reason("covisitation", 2.0, "b"),)), ScoredItem("c", 1.0)),
    version=Version(1, 10, 7),
    as_of_ms=1_700_000_000_000,
    generated_ts_ms=1_700_000_000_010,
)
STORED = encode_slate(SLATE).stored


@given(_slates)
def test_a_slate_is_read_back_as_it_was_written(slate: Slate) -> None:
    """Every field survives, whatever the ids hold; list and user come from the key."""
    assert decode_slate(encode_slate(slate).stored, list_name=slate.list, user_id=slate.user_id) == slate


@given(_versions, _versions)
def test_packed_versions_sort_as_versions_do(left: Version, right: Version) -> None:
    """Comparing the 24 bytes says what comparing the three numbers says, in order."""
    assert (left.pack() < right.pack()) == (left < right)
    assert Version.unpack(left.pack()) == left


@pytest.mark.parametrize("cut", range(len(STORED)))
def test_a_cut_value_is_unreadable(cut: int) -> None:
    """No prefix of a value passes for a whole one."""
    with pytest.raises(UnreadableSlate, match="rec:main:42"):
        decode_slate(STORED[:cut], list_name="main", user_id="42")


@pytest.mark.parametrize(
    "value",
    [
        b"\x01" + STORED[1:],
        b'{"items": []}',
        FORMAT + SLATE.version.pack() + b'{"slate_id":"s1"}',
        FORMAT + SLATE.version.pack() + STORED[25:].replace(b'"as_of_ms":1', b'"as_of_ms":"1"'),
        STORED + b"\x00",
    ],
    ids=["another format", "json", "missing fields", "wrong type", "left over"],
)
def test_a_value_of_another_form_is_unreadable(value: bytes) -> None:
    """A foreign value is named with its key, never half understood."""
    with pytest.raises(UnreadableSlate, match="rec:main:42"):
        decode_slate(value, list_name="main", user_id="42")


def test_any_client_reads_a_slate_with_json_alone() -> None:
    """25 bytes of header, then one JSON object whose items are arrays: id, score, reasons, propensity."""
    value = json.loads(STORED[25:])
    assert {key: value[key] for key in ("slate_id", "user_id", "version")} == {
        "slate_id": "s1",
        "user_id": "42",
        "version": [1, 10, 7],
    }
    assert value["items"] == [["a", 2.0, [["covisitation", 2.0, "b"]], None], ["c", 1.0, [], None]]
    assert math.isclose(sum(reason[1] for reason in value["items"][0][2]), value["items"][0][1])


@given(st.text(max_size=20), _versions, _numbers)
def test_a_slate_is_assembled_from_encoded_items(user_id: str, version: Version, time_ms: int) -> None:
    """The same text as encoding the whole at once, whatever the user's id holds."""
    slate = msgspec.structs.replace(
        SLATE,
        slate_id=f"{user_id}@{version.generation}.{version.position}.{version.revision}",
        user_id=user_id,
        version=version,
        as_of_ms=time_ms,
        generated_ts_ms=time_ms,
    )
    assembled = assemble_slate(
        msgspec.json.encode(slate.items),
        list_name=slate.list,
        user_id=user_id,
        version=version,
        as_of_ms=time_ms,
        generated_ts_ms=time_ms,
    )
    assert assembled == encode_slate(slate)
    assert read_slate(assembled) == slate
