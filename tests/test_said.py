"""What users said: in force, shifting their lists, fading; the same bytes whatever happens around it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from contents import ids_of, tell, vectors_of
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import START_MS, chunk_of, columns_of, random_log
from numpy.typing import NDArray
from references import assert_nothing_is_left

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.said import FADE, HALF_LIFE_MS, LEAST, NEAR, WEIGHT, in_force
from millstream.online_learning.step import Step
from millstream.online_learning.why import why
from millstream.schemas.columns import Chunk, InteractionColumns, catalogue_chunk
from millstream.schemas.item_vectors import quantise
from millstream.schemas.records import Item, Kind, Slate
from millstream.schemas.utterances import Intent, Utterances

CONFIG = LearningConfig(max_users=60, max_items=300, first_trained=0)
ITEMS, GROUPS = 60, 6
VECTORS = vectors_of(np.arange(ITEMS) % GROUPS)
MIDDLES = np.stack([VECTORS[group::GROUPS].mean(axis=0) for group in range(GROUPS)])
"""What somebody says who asks for a group."""
LOG = random_log(400, users=12, items=ITEMS, seed=4)
LAST_MS = int(LOG.ts_ms[-1])


def words(
    user: str, group: int, *, at: int, ts_ms: int = LAST_MS + 1_000, intent: Intent = Intent.explore
) -> InteractionColumns:
    """One event that asks for a group, at this offset."""
    said = columns_of([user], [""], ts_ms=[ts_ms], kinds=[Kind.say], offsets=[at])
    coded, scale = quantise(np.asarray(MIDDLES[group] / np.linalg.norm(MIDDLES[group]), np.float32))
    spoken = Utterances(np.array([0]), coded[None], np.array([scale], np.float32), np.array([intent], np.int8))
    return replace(said, words=spoken)


def joined(*parts: InteractionColumns) -> InteractionColumns:
    """Parts of one log as one."""
    spoken, before = [], 0
    for part in parts:
        if part.words is not None:
            spoken.append(part.words._replace(rows=part.words.rows + before))
        before += len(part)
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("kinds", "ts_ms", "values", "as_of_ms")
    }
    return InteractionColumns(
        user_ids=[user for part in parts for user in part.user_ids],
        item_ids=[item for part in parts for item in part.item_ids],
        offsets=np.arange(before),
        words=Utterances(*map(np.concatenate, zip(*spoken, strict=True))) if spoken else None,
        **arrays,
    )


@pytest.fixture
def step() -> Step:
    """A model that knows all users and items, and what these say."""
    made = Step(CONFIG)
    tell(made, ids_of(ITEMS), VECTORS)
    made.apply(chunk_of(LOG), lists=False)
    return made


def say(step: Step, user: str, group: int, *, intent: Intent = Intent.explore, later_ms: int = 1_000) -> Slate:
    """The list that comes of it."""
    at = next(iter(step.positions.values()))
    spoken = words(user, group, at=at, ts_ms=LAST_MS + later_ms, intent=intent)
    ranked = step.apply(chunk_of(spoken, start=at)).ranked
    assert ranked is not None
    return ranked.slates(0)[0]


def click(step: Step, user: str, item: str, *, later_ms: int) -> None:
    at = next(iter(step.positions.values()))
    step.apply(chunk_of(columns_of([user], [item], ts_ms=[LAST_MS + later_ms], offsets=[at]), start=at), lists=False)


def bare(user: str, at: int) -> InteractionColumns:
    """Words that nobody has understood."""
    return columns_of([user], [""], ts_ms=[LAST_MS + 1_000], kinds=[Kind.say], offsets=[at])


def of_group(slate: Slate, group: int, first: int = 10) -> int:
    return sum(int(item.item_id.removeprefix("i")) % GROUPS == group for item in slate.items[:first])


def force(step: Step, user: str, later_ms: int) -> float:
    row = step.users.row(user)
    assert row is not None
    return float(in_force(step.model.said, step.model.histories, np.int32(row), np.int64(LAST_MS + later_ms)))


@pytest.mark.parametrize("intent", list(Intent))
def test_the_list_turns_to_what_was_asked_for(step: Step, intent: Intent) -> None:
    """Ten items of sixty are of the group: most of the first ten places are theirs, and the reason says so."""
    before = step.relist(["u3"]).slates(0)[0]
    after = say(step, "u3", 2, intent=intent)
    assert of_group(after, 2) >= 7 > of_group(before, 2) + 2
    first = after.items[0]
    assert sum(reason.contribution for reason in first.reasons) == pytest.approx(first.score, rel=1e-4)
    (asked,) = [reason for reason in first.reasons if reason.signal == "asked"]
    assert 0 < asked.contribution <= WEIGHT[intent] * 1.01
    assert after.version > before.version
    assert why(step, "u3", first.item_id, "main").item == step.relist(["u3"]).slates(0)[0].items[0]


def test_nobody_elses_list_changes(step: Step) -> None:
    """Not a byte of it, beside a state in which nobody understood the words."""
    other = Step.load(CONFIG, step.dump())
    say(step, "u3", 2)
    at = next(iter(other.positions.values()))
    other.apply(chunk_of(bare("u3", at), start=at))
    others = [user for user in sorted(set(LOG.user_ids)) if user != "u3"]
    assert step.relist(others).slates(0) == other.relist(others).slates(0)


def test_somebody_new_is_heard(step: Step) -> None:
    """Who has chosen nothing yet gets what they asked for."""
    assert of_group(say(step, "somebody new", 4), 4) >= 8


def test_words_find_an_item_that_nobody_has_chosen(step: Step) -> None:
    """It came among many new ones; it is on the list of who asks for it."""
    rng = np.random.default_rng(8)
    new = np.concatenate([VECTORS[5:6] + 0.1 * rng.normal(size=(1, VECTORS.shape[1])).astype(np.float32) / 20])
    step.apply(catalogue_chunk([Item(item_id="i65")]))
    tell(step, ["i65"], np.asarray(new / np.linalg.norm(new), np.float32), start=900)
    assert "i65" in [item.item_id for item in say(step, "u3", 5).items]


def test_the_shift_fades_with_time_and_with_choices(step: Step) -> None:
    """By half in a half-life, by `FADE` a choice, to nothing below `LEAST`."""
    say(step, "u3", 2, later_ms=0)
    half_ms = int(HALF_LIFE_MS[Intent.explore])
    assert force(step, "u3", 0) == 1
    assert force(step, "u3", half_ms) == pytest.approx(0.5)
    click(step, "u3", "i1", later_ms=10)
    click(step, "u3", "i7", later_ms=20)
    assert force(step, "u3", 20) == pytest.approx(float(FADE) ** 2, rel=1e-4)
    assert force(step, "u3", half_ms) == pytest.approx(0.5 * float(FADE) ** 2, rel=1e-4)
    gone_ms = int(half_ms * (1 + np.log2(float(FADE) ** 2 / LEAST)))
    assert force(step, "u3", gone_ms) == 0


def test_a_list_after_the_shift_has_faded_is_as_if_nothing_had_been_said(step: Step) -> None:
    """Two states, one of which understood something long ago: the same items, scores and reasons."""
    other = Step.load(CONFIG, step.dump())
    say(step, "u3", 2)
    at = next(iter(other.positions.values()))
    other.apply(chunk_of(bare("u3", at), start=at))
    for each in (step, other):
        at = next(iter(each.positions.values()))
        later = columns_of(["u5"], ["i1"], ts_ms=[LAST_MS + 6 * 3_600_000], offsets=[at])
        each.apply(chunk_of(later, start=at), lists=False)
    assert step.relist(["u3"]).slates(0)[0].items == other.relist(["u3"]).slates(0)[0].items


def test_what_is_said_next_goes_on_from_what_was_said(step: Step) -> None:
    """Both groups are on the list, the newer words' first; said much later, the older ones are forgotten."""
    say(step, "u3", 2)
    both = say(step, "u3", 4, later_ms=2_000)
    assert of_group(both, 4, 20) + of_group(both, 2, 20) >= 15
    assert of_group(both, 2, 20) >= 4
    alone = say(step, "u4", 4)
    assert of_group(both, 2, 20) > of_group(alone, 2, 20)


def test_words_that_come_late_change_nothing(step: Step) -> None:
    """Those that were said later are in force."""
    say(step, "u3", 2, later_ms=5_000)
    before = step.model.said.coded.copy()
    say(step, "u3", 4, later_ms=1_000)
    assert np.array_equal(before, step.model.said.coded)


def test_words_nobody_understood_change_no_list(step: Step) -> None:
    """The event is counted, and that is all."""
    before = step.relist(["u3"]).slates(0)[0].items
    at = next(iter(step.positions.values()))
    items, seq = len(step.items), step.seq
    step.apply(chunk_of(bare("u3", at), start=at))
    assert (len(step.items), step.seq) == (items, seq + 1)
    after = step.relist(["u3"]).slates(0)[0].items
    assert [item.item_id for item in after] == [item.item_id for item in before]
    assert "asked" not in {reason.signal for item in after for reason in item.reasons}


def test_a_withdrawn_item_is_not_brought_back_by_words(step: Step) -> None:
    """Withdrawn before or after they were said."""
    step.apply(catalogue_chunk([Item(item_id="i2", available=False)]))
    assert "i2" not in [item.item_id for item in say(step, "u3", 2).items]
    step.apply(catalogue_chunk([Item(item_id="i8", available=False)], start=1))
    assert "i8" not in [item.item_id for item in step.relist(["u3"]).slates(0)[0].items]


def test_of_more_speakers_than_are_kept_who_spoke_longest_ago_gives_way() -> None:
    """Nobody has the words of somebody else."""
    step = Step(replace(CONFIG, max_speakers=3))
    tell(step, ids_of(ITEMS), VECTORS)
    step.apply(chunk_of(LOG), lists=False)
    for number, user in enumerate(("u1", "u2", "u3", "u1", "u4")):
        say(step, user, number % GROUPS, later_ms=number)
    assert [force(step, user, 5) > 0 for user in ("u1", "u2", "u3", "u4")] == [True, False, True, True]


def test_who_signs_in_takes_their_words_along(step: Step) -> None:
    """What the visitor said is the account's, unless it said something since; choices of before do not count."""
    say(step, "visitor", 2)
    at = next(iter(step.positions.values()))
    alias = columns_of(["u3"], ["visitor"], ts_ms=[LAST_MS + 2_000], kinds=[Kind.alias], offsets=[at])
    ranked = step.apply(chunk_of(alias, start=at)).ranked
    assert ranked is not None
    assert of_group(ranked.slates(0)[0], 2) >= 7
    assert force(step, "u3", 2_000) == pytest.approx(force(step, "u3", 1_000), rel=1e-2)
    assert force(step, "u3", 1_000) == 1


LONG = joined(
    LOG.cut(0, 100),
    words("u3", 2, at=0, ts_ms=int(LOG.ts_ms[100])),
    LOG.cut(100, 101),
    words("u3", 4, at=0, ts_ms=int(LOG.ts_ms[101])),
    words("u5", 1, at=0, ts_ms=int(LOG.ts_ms[101]), intent=Intent.find),
    LOG.cut(101, 400),
)


def folded(cuts: list[int], column: NDArray[np.int64] | None = None) -> Step:
    step = Step(CONFIG)
    tell(step, ids_of(ITEMS), VECTORS)
    for first, last in zip([0, *cuts], [*cuts, len(LONG)], strict=True):
        if first < last:
            step.apply(chunk_of(LONG.cut(first, last), start=first))
    return step


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, len(LONG)), max_size=6).map(sorted))
def test_where_a_log_is_cut_changes_nothing(cuts: list[int]) -> None:
    """The same hash and the same lists, words in force among them."""
    one, other = folded([]), folded(cuts)
    assert one.state_hash() == other.state_hash()
    users = sorted(set(LOG.user_ids))
    assert one.relist(users).slates(0) == other.relist(users).slates(0)


def test_a_loaded_state_goes_on_with_what_was_said() -> None:
    """The hash is the same, and so is each list."""
    step = folded([])
    loaded = Step.load(CONFIG, step.dump())
    assert loaded.state_hash() == step.state_hash()
    assert loaded.relist(["u3", "u5"]).slates(0) == step.relist(["u3", "u5"]).slates(0)


def test_a_row_that_is_given_again_inherits_no_words() -> None:
    """Users and items come and go for long: no words name a row that is free, and nobody has somebody else's."""
    small = LearningConfig(max_users=32, max_items=64, first_trained=0, max_speakers=8)
    step = Step(small)
    rng = np.random.default_rng(6)
    at = 0
    for turn in range(60):
        users = [f"u{turn * 4 + int(each)}" for each in rng.integers(0, 8, 20)]
        items = [f"i{turn * 5 + int(each)}" for each in rng.integers(0, 20, 20)]
        tell(step, sorted(set(items)), vectors_of(np.zeros(len(set(items)), np.int64), seed=turn), start=turn * 50)
        step.apply(chunk_of(columns_of(users, items, offsets=list(range(at, at + 20))), start=at), lists=False)
        at += 20
        step.apply(Chunk("interactions", 0, at, at + 1, words(users[0], turn % GROUPS, at=at, ts_ms=START_MS + at)))
        at += 1
        assert_nothing_is_left(step)
        s = step.model.said
        held = {int(user) for user in s.user if user}
        assert held == {row + 1 for row in range(len(step.users)) if s.place[row]}
        for row in range(len(step.users)):
            assert not s.place[row] or s.user[s.place[row] - 1] == row + 1
        near = s.near[s.near > 0] - 1
        known = set(np.flatnonzero(step.items.is_held).tolist()) | set(step.items.limbo.tolist())
        assert set(near.tolist()) <= known
        assert s.near.shape[1] == NEAR
