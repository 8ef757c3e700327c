"""Why an item stands where it does: as on the list, and as truly for what is on none."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from logs import chunk_of, columns_of, random_log

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.step import Step
from millstream.online_learning.why import why
from millstream.schemas.columns import catalogue_chunk
from millstream.schemas.questions import WhyAnswer
from millstream.schemas.records import Item, Kind

CONFIG = LearningConfig(max_users=64, max_items=512, neighbours_per_item=32, list_length=10, lists=("main", "buy"))
PRICED = [Item(item_id=f"i{number}", price=float(number + 1), categories=["c"]) for number in range(0, 400, 3)]


def learned(config: LearningConfig = CONFIG) -> Step:
    step = Step(config)
    step.apply(catalogue_chunk(PRICED))
    step.apply(chunk_of(random_log(2_000, users=20, items=400, seed=3)))
    return step


@pytest.fixture(scope="module")
def step() -> Step:
    return learned()


def sums(answer: WhyAnswer) -> None:
    assert answer.item is not None
    assert sum(reason.contribution for reason in answer.item.reasons) == pytest.approx(answer.item.score, rel=1e-4)


@pytest.mark.parametrize("name", ["main", "buy"])
def test_an_item_of_the_list_has_its_place_score_and_reasons(step: Step, name: str) -> None:
    """Every one of them, of every user: what is said is what is shown."""
    for slate in step.relist([user for user in step.users.ids if user]).slates(0):
        if slate.list == name:
            for place, item in enumerate(slate.items, start=1):
                answer = why(step, slate.user_id, item.item_id, name)
                assert answer.item == item
                assert answer.kept_off == []
                assert answer.place == pytest.approx(place, abs=0.5)  # ties count half
                assert answer.version == slate.version
                sums(answer)


def test_any_other_item_is_scored_beside_them(step: Step) -> None:
    """Below the last of the list, and with reasons that sum to its score; asking changes nothing."""
    before = step.state_hash()
    slate = step.relist(["u1"]).slates(0)[0]
    on_list = {item.item_id for item in slate.items}
    said = set()
    for item in filter(None, step.items.ids):
        if item not in on_list:
            answer = why(step, "u1", item, "main")
            assert answer.item is not None
            assert answer.item.item_id == item
            if not answer.kept_off:
                assert answer.item.score <= slate.items[-1].score
                assert answer.place > len(slate.items)
            said.update(answer.kept_off)
            sums(answer)
    assert "not_shortlisted" in said
    assert step.state_hash() == before
    assert step.relist(["u1"]).slates(0)[0] == slate


def test_what_keeps_it_off_is_said() -> None:
    """All of it, and the score that it would have."""
    step = learned(replace(CONFIG, exclude_consumed=True))
    listed = [item.item_id for item in step.relist(["u1"]).slates(0)[0].items]
    end = step.positions["interactions", 0]
    kinds, times = [Kind.hide, Kind.click], [step.last_ms + 1] * 2
    events = columns_of(["u1", "u1"], listed[:2], kinds=kinds, ts_ms=times, offsets=[end, end + 1])
    step.apply(chunk_of(events, start=end))
    withdrawn = [Item(item_id=listed[place], available=False) for place in (0, 2)]
    step.apply(catalogue_chunk([*withdrawn, Item(item_id="new")], start=step.catalogue["items", 0]))
    said = {item: why(step, "u1", item, "main").kept_off for item in (*listed[:3], "new", "nowhere")}
    assert said == {
        listed[0]: ["unavailable", "hidden"],
        listed[1]: ["chosen_before"],
        listed[2]: ["unavailable"],
        "new": ["never_chosen"],
        "nowhere": ["unknown_item"],
    }
    sums(why(step, "u1", listed[2], "main"))


def test_an_unknown_user_is_answered_as_anybody(step: Step) -> None:
    """By the popular list."""
    popular = step.relist([""]).slates(0)[0]
    answer = why(step, "who", popular.items[0].item_id, "main")
    assert (answer.user_known, answer.item) == (False, popular.items[0])


def test_an_unknown_item_has_no_score(step: Step) -> None:
    """And the answer travels."""
    answer = why(step, "u1", "nowhere", "main")
    assert (answer.item, answer.place) == (None, None)
    assert msgspec.json.decode(msgspec.json.encode(answer), type=WhyAnswer) == answer
    with pytest.raises(ValueError, match="no list 'other' is made; the lists are main, buy"):
        why(step, "u1", "i1", "other")
