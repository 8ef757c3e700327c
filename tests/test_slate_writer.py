"""The compiled writer of items: what any JSON reader reads back is what the arrays hold."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from millstream.online_learning.json_ids import JsonIds
from millstream.online_learning.signal import GROUPS
from millstream.online_learning.slate_writer import room, write_lists
from millstream.online_learning.vocabulary import Vocabulary

_ids = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=8)
_part = st.floats(-1e6, 1e6, width=32)


def written(
    ids: list[str],
    item: NDArray[np.int32],
    parts: NDArray[np.float32],
    evidence: NDArray[np.int32],
    propensity: NDArray[np.float32] | None = None,
) -> list[list[list[object]]]:
    """Return each list as JSON reads it; the writer must keep to the room it was given."""
    names = JsonIds(Vocabulary("items", len(ids), ids))
    names.catch_up()
    size = room(item.shape[1], names.longest)
    out, lengths = np.zeros((len(item), size), np.uint8), np.zeros(len(item), np.int64)
    likely = no_chance(item) if propensity is None else propensity
    write_lists(item, parts, evidence, likely, names.text, names.begins, names.ends, out, lengths)
    assert (lengths <= size).all()
    return [json.loads(out[row, :end].tobytes()) for row, end in enumerate(lengths.tolist())]


def no_chance(item: NDArray[np.int32]) -> NDArray[np.float32]:
    return np.full(item.shape, np.nan, np.float32)


@settings(deadline=None)
@given(_ids, st.data())
def test_what_is_written_reads_back(ids: list[str], data: st.DataObject) -> None:
    """Ids of any text; parts to five decimals; the score is their sum; only parts that say something are there."""
    rows = st.integers(0, len(ids) - 1)
    item = np.array([data.draw(st.lists(rows, min_size=3, max_size=3))], np.int32)
    of_a_place = st.lists(_part, min_size=len(GROUPS), max_size=len(GROUPS))
    parts = np.array([data.draw(st.lists(of_a_place, min_size=3, max_size=3))], np.float32)
    of_each = st.lists(st.integers(-1, len(ids) - 1), min_size=len(GROUPS), max_size=len(GROUPS))
    evidence = np.array([data.draw(st.lists(of_each, min_size=3, max_size=3))], np.int32)
    propensity = np.array([[data.draw(st.sampled_from([np.nan, 1.0, 0.9, 0.0025])) for _ in range(3)]], np.float32)
    (places,) = written(ids, item, parts, evidence, propensity)
    for place, at in zip(places, range(3), strict=True):
        rounded = np.round(parts[0, at].astype(np.float64), 5)
        expected = [
            [group, value, ids[from_] if from_ >= 0 else ""]
            for group, value, from_ in zip(GROUPS, rounded.tolist(), evidence[0, at].tolist(), strict=True)
            if value != 0
        ]
        item_id, score, reasons, likely = place
        assert item_id == ids[item[0, at]]
        assert likely == (None if np.isnan(propensity[0, at]) else pytest.approx(propensity[0, at], abs=1e-5))
        assert [reason[::2] for reason in reasons] == [reason[::2] for reason in expected]
        np.testing.assert_allclose([reason[1] for reason in reasons], [reason[1] for reason in expected], atol=1.1e-5)
        np.testing.assert_allclose(score, sum(reason[1] for reason in reasons), rtol=1e-12, atol=1e-9)


def test_numbers_are_written_short_and_whole() -> None:
    """No trailing zeros, one decimal at least, the sign before, nothing lost at a carry."""
    values = [0.5, -0.5, 2.0, 10.0, 99_999.99, 1e-5, 0.100004, -123.45]
    parts = np.zeros((1, len(values), len(GROUPS)), np.float32)
    parts[0, :, 0] = values
    names = JsonIds(Vocabulary("items", 1, ["i"]))
    names.catch_up()
    item = np.zeros((1, len(values)), np.int32)
    out, lengths = np.zeros((1, room(len(values), names.longest)), np.uint8), np.zeros(1, np.int64)
    write_lists(
        item,
        parts,
        np.full(parts.shape, -1, np.int32),
        no_chance(item),
        names.text,
        names.begins,
        names.ends,
        out,
        lengths,
    )
    text = out[0, : lengths[0]].tobytes().decode()
    assert [each.split(",")[1] for each in text.split('["i",')[1:]][:1] == ['[["popular"']
    scores = [each.split(",")[0] for each in text.split('["i",')[1:]]
    assert scores == ["0.5", "-0.5", "2.0", "10.0", "99999.99219", "0.00001", "0.1", "-123.45"]


def test_a_list_ends_at_the_first_empty_place() -> None:
    """Fewer items than places, and none at all."""
    item = np.array([[0, -1, 0], [-1, -1, -1]], np.int32)
    parts = np.ones((2, 3, len(GROUPS)), np.float32)
    first, second = written(["a"], item, parts, np.full(parts.shape, -1, np.int32))
    assert [place[0] for place in first] == ["a"]
    assert second == []


def test_ids_added_later_are_taken_in() -> None:
    """The arrays grow; what was there stays where it was."""
    ids = ["a", 'quote"d']
    vocabulary = Vocabulary("items", 502, ids)
    names = JsonIds(vocabulary)
    names.catch_up()
    ids += [f"item {number} é" for number in range(500)]
    vocabulary.rows(ids)
    names.catch_up()
    assert read(names, len(ids)) == ids


def test_a_row_that_goes_to_another_id_takes_its_text_along() -> None:
    """Shorter, as long and longer ones; what is left behind stays less than what is in use."""
    vocabulary = Vocabulary("items", 3, ["a", "bb", "ccc"])
    names = JsonIds(vocabulary)
    names.catch_up()
    for turn in range(300):
        vocabulary.forget(np.array([turn % 3]))
        names.catch_up()
        vocabulary.release()
        vocabulary.rows([f"{turn}" * (1 + turn % 20)])
        names.catch_up()
        assert read(names, 3) == vocabulary.ids
    assert len(names.text) == 1024


def read(names: JsonIds, rows: int) -> list[str]:
    return [json.loads(names.text[names.begins[row] : names.ends[row]].tobytes()) for row in range(rows)]
