"""Items that somebody else found, scored for a user: as on the user's list, and as truly for what is on none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_why import CONFIG, learned

from millstream.online_learning.scored import scores
from millstream.online_learning.step import Step
from millstream.online_learning.why import why
from millstream.schemas.questions import MOST_SCORED


@pytest.fixture(scope="module")
def step() -> Step:
    return learned()


@pytest.mark.parametrize("name", ["main", "buy"])
@pytest.mark.parametrize("user", ["u1", "u7", "who"])
def test_items_score_as_on_the_list_and_as_they_are_explained(step: Step, name: str, user: str) -> None:
    """Those listed, the user's own, and any other, asked for together in any order; asking changes nothing."""
    before = step.state_hash()
    items = [item for item in reversed(step.items.ids) if item][:MOST_SCORED]
    answer = scored(step, user, items, name)
    explained = [why(step, user, item, name).item for item in items]
    assert [each and each.score for each in explained] == pytest.approx(answer, rel=1e-4, abs=1e-5)
    if user != "who":
        listed = {
            each.item_id: each.score
            for slate in step.relist([user]).slates(0)
            if slate.list == name
            for each in slate.items
        }
        found = dict(zip(listed, scored(step, user, list(listed), name), strict=True))
        assert found == pytest.approx(listed, rel=1e-4)
    assert step.state_hash() == before


def scored(step: Step, user: str, items: list[str], name: str) -> list[float | None]:
    return scores(step, user, items, name).scores


def test_what_is_kept_off_is_scored_all_the_same_and_what_is_unknown_is_not() -> None:
    """An item chosen before has a score where such are left out, too."""
    step = learned(replace(CONFIG, exclude_consumed=True))
    mine = why(step, "u1", "i1", "main").item
    assert mine is not None
    assert scored(step, "u1", ["i1", "nowhere", "i1"], "main") == [
        pytest.approx(mine.score, rel=1e-4),
        None,
        pytest.approx(mine.score, rel=1e-4),
    ]
    assert scored(step, "u1", [], "main") == []


def test_what_cannot_be_scored_is_refused(step: Step) -> None:
    """A list that is not made, and more items than a ranking holds."""
    with pytest.raises(ValueError, match="no list 'other' is made; the lists are main, buy"):
        scored(step, "u1", ["i1"], "other")
    with pytest.raises(ValueError, match="129 items are to be scored; 128 at most"):
        scored(step, "u1", ["i1"] * 129, "main")
