"""The state arena: the hash misses no element, the dirty marks lose nothing, copies are exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from millstream.online_learning.arena import Arena, Table

ROWS = 7
SHAPES: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
    "wide": (np.float32, (3, 2)),
    "long": (np.int64, ()),
    "odd": (np.uint8, (11,)),  # not a multiple of the hash's word
    "double": (np.float64, (5,)),
    "short": (np.int16, (1,)),
}
exact = settings(deadline=None, max_examples=40)  # the first example compiles, or loads what was compiled


def filled(seed: int, used: Callable[[], int] = lambda: ROWS) -> tuple[Arena, Table]:
    """An arena of one table with random bytes everywhere, every row marked."""
    arena = Arena()
    table = arena.table("part", ROWS, used)
    rng = np.random.default_rng(seed)
    for name, (dtype, shape) in SHAPES.items():
        array = table.array(name, dtype, *shape)
        array[...] = rng.integers(1, 200, array.shape)
    table.dirty[:] = 1
    return arena, table


def bits(array: NDArray[Any]) -> NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)


@exact
@given(
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(sorted(SHAPES)),
    place=st.integers(0, 10**6),
    flip=st.integers(1, 255),
)
def test_changing_one_byte_of_any_element_changes_the_digest(seed: int, name: str, place: int, flip: int) -> None:
    """Whatever the array, row and byte, another value is another digest, and putting it back is the old one."""
    arena, table = filled(seed)
    before = arena.digest()
    array = table.arrays[name]
    at = place % array.nbytes
    row = at // (array.nbytes // ROWS)
    bits(array)[at] ^= flip
    table.dirty[row] = 1
    assert arena.digest() != before
    bits(array)[at] ^= flip
    table.dirty[row] = 1
    assert arena.digest() == before


@exact
@given(seed=st.integers(0, 2**32 - 1), one=st.integers(0, ROWS - 1), other=st.integers(0, ROWS - 1))
def test_two_rows_that_change_places_change_the_digest(seed: int, one: int, other: int) -> None:
    """A row's hash knows its place: a sum over rows alone would not notice."""
    arena, table = filled(seed)
    before = arena.digest()
    for array in table.arrays.values():
        array[[one, other]] = array[[other, one]]
    table.dirty[[one, other]] = 1
    assert (arena.digest() == before) == (one == other)


def test_the_same_bytes_under_another_name_are_another_digest() -> None:
    """Table and array names are part of the hash."""
    digests = set()
    for table_name, array_name in (("a", "x"), ("a", "y"), ("b", "x")):
        arena = Arena()
        table = arena.table(table_name, 2, lambda: 2)
        table.array(array_name, np.int32)[:] = 5
        table.dirty[:] = 1
        digests.add(arena.digest())
    assert len(digests) == 3


@exact
@given(
    seed=st.integers(0, 2**32 - 1),
    writes=st.lists(
        st.tuples(st.sampled_from(sorted(SHAPES)), st.integers(0, ROWS - 1), st.integers(0, 100), st.booleans()),
        max_size=30,
    ),
)
def test_the_digest_kept_up_to_date_is_the_one_made_from_scratch(
    seed: int, writes: list[tuple[str, int, int, bool]]
) -> None:
    """However often the digest is asked for between writes, it equals that of a fresh arena loaded from the dump."""
    arena, table = filled(seed)
    for name, row, value, ask in writes:
        table.arrays[name][row] = value
        table.dirty[row] = 1
        if ask:
            arena.digest()
    fresh, _ = filled(seed + 1)
    fresh.digest()
    fresh.load(arena.dump())
    assert fresh.digest() == arena.digest()


def test_a_row_back_to_zeros_counts_as_never_touched() -> None:
    """A row that was reset leaves no trace in the digest; an arena of zeros has digest 0."""
    arena, table = filled(3)
    for array in table.arrays.values():
        array[ROWS - 1] = 0
    never = arena.digest()
    for array in table.arrays.values():
        array[ROWS - 1] = 9
    table.dirty[ROWS - 1] = 1
    assert arena.digest() != never
    for array in table.arrays.values():
        array[ROWS - 1] = 0
    table.dirty[ROWS - 1] = 1
    assert arena.digest() == never
    for array in table.arrays.values():
        array[...] = 0
    table.dirty[:] = 1
    assert arena.digest() == 0


def test_a_dump_holds_the_rows_in_use_and_shares_no_memory() -> None:
    """Copies end at `used()`; writing on does not reach them."""
    arena, table = filled(4, used=lambda: 3)
    copies = arena.dump()
    assert copies.keys() == {f"part/{name}" for name in SHAPES}
    for name, array in table.arrays.items():
        copy = copies[f"part/{name}"]
        assert copy.dtype == array.dtype
        assert copy.tobytes() == array[:3].tobytes()
        assert not np.shares_memory(copy, array)


def test_loading_copies_too() -> None:
    """Writing to the loaded arena does not reach the dump it came from."""
    copies = filled(5)[0].dump()
    arena, table = filled(6)
    arena.load(copies)
    table.arrays["long"][0] = 77
    assert copies["part/long"][0] != 77


def test_used_bytes_counts_rows_in_use() -> None:
    """Bytes are those of the used rows over all arrays of the table."""
    arena, _ = filled(7, used=lambda: 2)
    assert arena.used_bytes() == {"part": 2 * (6 * 4 + 8 + 11 + 5 * 8 + 2)}


def test_a_table_name_is_declared_once() -> None:
    """Two parts cannot share a table by accident."""
    arena, _ = filled(8)
    with pytest.raises(ValueError, match="'part' is declared twice"):
        arena.table("part", 1, lambda: 1)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda copy: copy.astype(np.int32), id="another dtype"),
        pytest.param(lambda copy: np.zeros((len(copy), 2), copy.dtype), id="another width"),
        pytest.param(lambda copy: np.zeros(ROWS + 1, copy.dtype), id="more rows than the cap"),
    ],
)
def test_an_array_that_does_not_fit_is_named(change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    """The error says which array, what the snapshot has and what this configuration holds."""
    copies = filled(9)[0].dump()
    copies["part/long"] = change(copies["part/long"])
    with pytest.raises(ValueError, match=r"part/long in the snapshot is .*, this configuration holds int64\(7,\)"):
        filled(10)[0].load(copies)


def test_missing_and_unknown_arrays_are_named() -> None:
    """A snapshot with other arrays than this version's is refused with their names."""
    copies = filled(11)[0].dump()
    del copies["part/odd"]
    with pytest.raises(ValueError, match="part/odd"):
        filled(12)[0].load(copies)
    copies = filled(13)[0].dump()
    copies["part/later"] = np.zeros(1)
    with pytest.raises(ValueError, match="part/later"):
        filled(14)[0].load(copies)
