"""Coverage and novelty, each against a case done by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from millstream.online_learning.arena import Arena
from millstream.online_learning.beyond_accuracy import TOP, Shown, popular_top, shown, tops_of
from millstream.online_learning.popularity import ALL_TIME, EVENTS, Popularity, popularity
from millstream.online_learning.vocabulary import Vocabulary


def chosen(*times: int) -> Popularity:
    """Item k was chosen `times[k]` times."""
    counted = popularity(Arena(), Vocabulary("items", 50))
    counted.facts[: len(times), EVENTS] = times
    counted.total[ALL_TIME] = sum(times)
    counted.seen[ALL_TIME] = sum(count > 0 for count in times)
    return counted


def lists(*items: list[int]) -> Shown:
    tops = np.full((len(items), TOP), -1, np.int32)
    for row, places in enumerate(items):
        tops[row, : len(places)] = places
    return shown(tops, chosen(8, 4, 2, 1, 1))


def test_coverage_and_novelty_done_by_hand() -> None:
    """Shares 1/2, 1/4, 1/8: the places say 1, 2, 1 and 3 bits; three of five known items are covered."""
    assert lists([0, 1], [0, 2]) == Shown(2, pytest.approx(3 / 5), pytest.approx((1 + 2 + 1 + 3) / 4))


def test_the_rarest_item_says_most() -> None:
    """One in sixteen is four bits."""
    assert lists([3]).novelty_bits == pytest.approx(4.0)


def test_an_item_forgotten_since_it_was_listed_counts_as_never_listed() -> None:
    """Its row has no events any more: it is no known item, and its share would have no logarithm."""
    tops = np.array([[0, 3]], np.int32)
    assert shown(tops, chosen(3, 1, 0, 0)) == Shown(1, pytest.approx(1 / 2), pytest.approx(math.log2(4 / 3)))
    assert np.isnan(shown(tops[:, 1:], chosen(3, 1, 0, 0)).coverage)


def test_no_list_and_an_empty_list_show_nothing() -> None:
    """Neither has a figure, and JSON has no NaN."""
    for none, count in ((lists(), 0), (lists([]), 1)):
        found = json.loads(json.dumps(none.as_json(), allow_nan=False))
        assert found == {"lists": count, "coverage": None, "novelty": None}
    assert lists([0]).as_json() == {"lists": 1, "coverage": 0.2, "novelty": 1.0}


@pytest.mark.parametrize("length", [3, 10, 20])
def test_only_the_first_ten_places_of_a_list_are_looked_at(length: int) -> None:
    """Shorter lists leave places empty."""
    tops = tops_of(np.arange(2 * length, dtype=np.int32).reshape(2, length))
    held = min(length, TOP)
    assert tops.shape == (2, TOP)
    assert tops[1, :held].tolist() == list(range(length, length + held))
    assert (tops[:, held:] == -1).all()


def test_popularitys_list_is_its_ten_best() -> None:
    """Before there are ten, as many as there are."""
    counted = chosen(1, 1, 1)
    counted.best[ALL_TIME, :3] = [2, 0, 1]
    counted.best_held[ALL_TIME] = 3
    assert popular_top(counted, ALL_TIME).tolist() == [2, 0, 1] + [-1] * 7
    counted.best[ALL_TIME, :20] = np.arange(20)
    counted.best_held[ALL_TIME] = 20
    assert popular_top(counted, ALL_TIME).tolist() == list(range(10))
