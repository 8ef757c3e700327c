"""The vocabulary: ids and rows, one to one, in order of first sight, up to the cap."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.online_learning.vocabulary import NOT_ADMITTED, Vocabulary

ids = st.lists(st.text(min_size=1, max_size=3), max_size=40)


@settings(deadline=None)
@given(batches=st.lists(ids, max_size=5))
def test_rows_are_given_in_order_of_first_sight_however_ids_come(batches: list[list[str]]) -> None:
    """Rows count from 0; asking again, in one batch or in many, gives the same row."""
    vocabulary = Vocabulary("items", 1_000)
    flat = [id_ for batch in batches for id_ in batch]
    in_order = list(dict.fromkeys(flat))
    given_ = [row for batch in batches for row in vocabulary.rows(batch).tolist()]
    assert given_ == [in_order.index(id_) for id_ in flat]
    assert vocabulary.ids == in_order
    assert len(vocabulary) == len(in_order)
    whole = Vocabulary("items", 1_000)
    whole.rows(flat)
    assert whole.digest() == vocabulary.digest()


@settings(deadline=None)
@given(batches=st.lists(ids, max_size=6), cap=st.integers(1, 8))
def test_at_the_cap_new_ids_get_no_row_and_old_ones_keep_theirs(batches: list[list[str]], cap: int) -> None:
    """The first `cap` ids seen are admitted; where batches are cut does not matter."""
    vocabulary = Vocabulary("items", cap)
    flat = [id_ for batch in batches for id_ in batch]
    admitted = list(dict.fromkeys(flat))[:cap]
    given_ = [row for batch in batches for row in vocabulary.rows(batch).tolist()]
    assert given_ == [admitted.index(id_) if id_ in admitted else NOT_ADMITTED for id_ in flat]
    assert vocabulary.ids == admitted


def test_asking_for_a_row_creates_none() -> None:
    """`row` of a stranger is None, and stays so."""
    vocabulary = Vocabulary("users", 4, ["a"])
    assert vocabulary.row("a") == 0
    assert vocabulary.row("b") is None
    assert len(vocabulary) == 1


def test_the_digest_knows_name_row_and_id_and_is_kept_up_to_date() -> None:
    """Other ids, another order or another vocabulary are another digest; asking in between changes nothing."""
    kept = Vocabulary("users", 9)
    for id_ in ("a", "b", "c"):
        kept.rows([id_])
        kept.digest()
    digest = Vocabulary("users", 9, ["a", "b", "c"]).digest()
    assert kept.digest() == digest
    assert Vocabulary("users", 9, ["a", "c", "b"]).digest() != digest
    assert Vocabulary("users", 9, ["a", "b"]).digest() != digest
    assert Vocabulary("items", 9, ["a", "b", "c"]).digest() != digest
    assert Vocabulary("users", 9).digest() == 0


def test_a_forgotten_row_is_in_limbo_then_free_then_anothers() -> None:
    """Forgotten ids are strangers at once; their rows are given out after `release`, the lowest first."""
    vocabulary = Vocabulary("items", 4, ["a", "b", "c", "d"])
    vocabulary.forget(np.array([2, 0]))
    assert vocabulary.ids == ["", "b", "", "d"]
    assert [vocabulary.row(id_) for id_ in ("a", "b", "c", "")] == [None, 1, None, None]
    assert vocabulary.rows(["a"]).tolist() == [NOT_ADMITTED]
    assert (vocabulary.free, vocabulary.limbo.tolist()) == (0, [2, 0])
    vocabulary.release()
    assert (vocabulary.free, vocabulary.limbo.tolist()) == (2, [])
    assert vocabulary.rows(["c", "x", "b", "y"]).tolist() == [0, 2, 1, NOT_ADMITTED]
    assert vocabulary.ids == ["c", "b", "x", "d"]
    assert vocabulary.is_held.all()
    assert len(vocabulary) == 4


@settings(deadline=None)
@given(
    steps=st.lists(st.tuples(st.lists(st.text(min_size=1, max_size=2), max_size=8), st.sets(st.integers(0, 5)))),
    asked=st.booleans(),
)
def test_a_restored_vocabulary_is_the_one_it_was_and_goes_on_the_same(
    steps: list[tuple[list[str], set[int]]], asked: bool
) -> None:
    """Its digest is that of one made from scratch, whenever it was asked for; the next rows are the same."""
    vocabulary = Vocabulary("items", 6)
    for ids, forgotten in steps:
        vocabulary.rows(ids)
        if asked:
            vocabulary.digest()
        vocabulary.forget(np.array([row for row in sorted(forgotten) if vocabulary.is_held[row]], np.int64))
        if len(forgotten) % 2:
            vocabulary.release()
    again = Vocabulary("items", 6)
    again.restore(vocabulary.ids, vocabulary.limbo.tolist())
    assert again.digest() == vocabulary.digest()
    assert (again.free, len(again)) == (vocabulary.free, len(vocabulary))
    assert np.array_equal(again.is_held, vocabulary.is_held)
    new = ["new 1", "new 2", "new 3"]
    assert again.rows(new).tolist() == vocabulary.rows(new).tolist()
