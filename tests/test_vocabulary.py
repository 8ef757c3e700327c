"""The vocabulary: ids and rows, one to one, in order of first sight, up to the cap."""

from __future__ import annotations

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
