"""What users say: judged, carried in columns, written and read back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import START_MS

from millstream.schemas.canonical import canonical_event, extras_of
from millstream.schemas.decode import InteractionDecoder
from millstream.schemas.item_vectors import CONTENT
from millstream.schemas.mapping import InputMapping
from millstream.schemas.records import Kind
from millstream.schemas.rejects import Flaw
from millstream.schemas.rules import Event, judge
from millstream.schemas.utterances import Intent, Utterance, Utterances, judge_utterance, utterances


def vector(seed: int = 0) -> list[float]:
    drawn = np.random.default_rng(seed).normal(size=CONTENT)
    return [float(each) for each in drawn / np.linalg.norm(drawn)]


def said(seed: int) -> Utterance:
    found = judge_utterance("vector", vector(seed), {"intent": list(Intent)[seed % 3].name})
    assert isinstance(found, Utterance)
    return found


def test_words_are_kept_in_eight_bits_with_what_they_are_after() -> None:
    """The vector comes back within half a step of its scale."""
    found = judge_utterance("vector", vector(), {"intent": "find", "device": "phone"})
    assert isinstance(found, Utterance)
    assert found.intent is Intent.find
    np.testing.assert_allclose(found.coded * found.scale, vector(), atol=found.scale / 2 + 1e-7)


@pytest.mark.parametrize("context", [None, {}, {"intent": "dance"}, {"intent": 3}, "find", {"intent": ""}])
def test_words_that_do_not_say_what_they_are_after_explore(context: Any) -> None:
    """Whatever stands there: it never costs the words."""
    found = judge_utterance("vector", vector(), context)
    assert isinstance(found, Utterance)
    assert found.intent is Intent.explore


@pytest.mark.parametrize("wrong", [[0.5] * 3, vector()[:-1], [math.nan] * CONTENT, [True] * CONTENT, "text", 7, {}])
def test_a_vector_that_is_none_is_refused(wrong: Any) -> None:
    """Of another width, not finite, no numbers, no list."""
    found = judge_utterance("vector", wrong, None)
    assert isinstance(found, Flaw)
    assert "vector" in found.text
    assert str(CONTENT) in found.text


@pytest.mark.parametrize("nothing", [None, [0.0] * CONTENT])
def test_words_that_nobody_has_understood_say_nothing(nothing: Any) -> None:
    """Without a vector, or with one of zeros."""
    assert judge_utterance("vector", nothing, None) is None


@pytest.mark.parametrize("kind", [Kind.say, Kind.query])
def test_an_event_with_words_comes_back_from_its_message(kind: Kind) -> None:
    """It needs no item, and the message names none."""
    record = {"user": "u", "type": kind.name, "ts": START_MS, "query": "slow westerns", "vector": vector(1)}
    record["context"] = {"intent": "category"}
    mapping = InputMapping()
    event = judge(record, mapping, -1)
    assert isinstance(event, Event)
    message = canonical_event(event, mapping, extras_of(record, mapping))
    assert "item_id" not in orjson.loads(message)
    columns, rejects = InteractionDecoder(mapping).decode([message], [5], [START_MS], input="x", partition=0)
    assert not rejects
    assert (columns.user_ids, columns.item_ids, columns.kinds.tolist()) == (["u"], [""], [kind])
    assert columns.words is not None
    assert columns.words.intent.tolist() == [Intent.category]
    assert event.words is not None
    assert columns.words.coded[0].tolist() == event.words.coded.tolist()


def test_clicks_carry_no_words() -> None:
    """Whatever vector they bring."""
    message = orjson.dumps({"user": "u", "item": "i", "ts": START_MS, "vector": [1.0], "query": "boots"})
    columns, rejects = InteractionDecoder(InputMapping()).decode([message], [0], [START_MS], input="x", partition=0)
    assert not rejects
    assert columns.words is None


@given(st.integers(0, 30), st.sets(st.integers(0, 29)), st.data())
def test_words_stay_with_their_events(n: int, spoken: set[int], data: st.DataObject) -> None:
    """However the columns are cut, and whichever rows are taken of them, in any order."""
    rows = sorted(row for row in spoken if row < n)
    all_ = utterances([(row, said(row)) for row in rows])
    assert (all_ is None) == (not rows)
    if all_ is None:
        return
    first = data.draw(st.integers(0, n))
    last = data.draw(st.integers(first, n))
    assert of(all_.cut(first, last)) == {row - first: row for row in rows if first <= row < last}
    events = data.draw(st.lists(st.integers(0, n - 1), unique=True))
    assert of(all_.taken(np.array(events, np.int64))) == {at: row for at, row in enumerate(events) if row in rows}


def of(found: Utterances | None) -> dict[int, int]:
    """Which of the words of `said` stands at each event."""
    if found is None:
        return {}
    known = {said(seed).coded.tobytes(): seed for seed in range(30)}
    return {int(row): known[coded.tobytes()] for row, coded in zip(found.rows, found.coded, strict=True)}
