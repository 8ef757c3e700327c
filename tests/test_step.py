"""The step: cutting chunks, loading copies and making lists change nothing; what a version and a reason say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import SMALL, START_MS, chunk_of, columns_of, random_log, simulated

from millstream.online_learning.config import MAIN, LearningConfig
from millstream.online_learning.kinds import TEACHING
from millstream.online_learning.signal import GROUPS
from millstream.online_learning.step import INTERACTIONS, NOBODY, OutOfOrderChunk, Step
from millstream.schemas.columns import Chunk, InteractionColumns
from millstream.schemas.records import Kind, Slate, Version

EXCLUDING = replace(SMALL, exclude_consumed=True)
both = pytest.mark.parametrize("config", [SMALL, EXCLUDING], ids=["keeping", "excluding"])


def mixed(events: int, *, seed: int = 3) -> InteractionColumns:
    """A simulated shop with holes in the offsets, and impressions, dismissals and hides among the choices."""
    shop = simulated(events, seed=seed, users=120, items=150)
    rng = np.random.default_rng(seed)
    kinds = np.where(
        rng.random(events) < 0.2, rng.choice([Kind.impression, Kind.dismiss, Kind.hide], events), shop.kinds
    ).astype(np.int8)
    return replace(shop, kinds=kinds, offsets=100 + np.cumsum(rng.integers(1, 4, events)))


def final_lists(step: Step, chunks: Iterable[Chunk]) -> dict[str, Slate]:
    """Apply the chunks with lists; return the last list of each user, as Redis would hold it."""
    held: dict[str, Slate] = {}
    for chunk in chunks:
        for slate in step.apply(chunk).slates(7):
            if slate.user_id not in held or slate.version > held[slate.user_id].version:
                held[slate.user_id] = slate
    return held


LOG = mixed(400)
WHOLE = chunk_of(LOG, start=90)
_uncut: dict[bool, tuple[str, dict[str, Slate]]] = {}


def uncut(config: LearningConfig) -> tuple[str, dict[str, Slate]]:
    """State hash and final lists of the log in one piece."""
    if config.exclude_consumed not in _uncut:
        step = Step(config)
        lists = final_lists(step, [WHOLE])
        _uncut[config.exclude_consumed] = (step.state_hash(), lists)
    return _uncut[config.exclude_consumed]


def cut_at(chunk: Chunk, places: Iterable[int]) -> list[Chunk]:
    bounds = [0, *sorted(set(places) - {0, len(chunk)}), len(chunk)]
    return [chunk.cut(first, last) for first, last in pairwise(bounds)]


@both
@settings(deadline=None, max_examples=25)
@given(places=st.sets(st.integers(1, len(LOG) - 1), max_size=60))
def test_where_a_log_is_cut_changes_neither_state_nor_lists(config: LearningConfig, places: set[int]) -> None:
    """Any cut gives the same state hash, and the same last list of every user, version and reasons included."""
    step = Step(config)
    lists = final_lists(step, cut_at(WHOLE, places))
    assert (step.state_hash(), lists) == uncut(config)
    assert step.positions == {(INTERACTIONS, 0): WHOLE.end}


@both
@pytest.mark.parametrize("size", [1, 7, 399])
def test_chunks_of_one_size_give_what_one_chunk_gives(config: LearningConfig, size: int) -> None:
    """Event by event too."""
    step = Step(config)
    lists = final_lists(step, cut_at(WHOLE, range(0, len(LOG), size)))
    assert (step.state_hash(), lists) == uncut(config)


def test_making_no_lists_changes_no_state() -> None:
    """A run for its state alone, as `evaluate` makes it, ends in the same state."""
    step = Step(SMALL)
    assert step.apply(WHOLE, lists=False).slates(0) == []
    assert step.state_hash() == uncut(SMALL)[0]


def test_a_choice_followed_by_what_teaches_nothing_still_gets_its_list() -> None:
    """A click and then an impression of the same user in one chunk: the click's list is made all the same."""
    columns = columns_of(["u", "u"], ["a", "b"], kinds=[Kind.click, Kind.impression])
    slates = Step(SMALL).apply(chunk_of(columns)).slates(0)
    assert [(slate.user_id, slate.version.position) for slate in slates] == [("u", 1)]


def test_a_chunk_applied_before_changes_nothing() -> None:
    """Redelivery of a whole chunk, or of its first part, teaches nothing and lists nothing."""
    step = Step(SMALL)
    step.apply(WHOLE)
    before = (step.state_hash(), step.seq, dict(step.positions))
    for stale in (WHOLE, WHOLE.cut(0, 10), WHOLE.cut(5, 9)):
        applied = step.apply(stale)
        assert (applied.events, applied.slates(0), applied.seq) == (0, [], step.seq)
        assert (step.state_hash(), step.seq, step.positions) == before


@pytest.mark.parametrize(("first", "last"), [(20, 30), (5, 30)], ids=["a gap", "half of it new"])
def test_a_chunk_that_leaves_a_gap_or_laps_over_is_refused(first: int, last: int) -> None:
    """The error says where the state stands; nothing is learned."""
    step = Step(SMALL)
    step.apply(WHOLE.cut(0, 10))
    before = step.state_hash()
    stands = int(LOG.offsets[10])
    with pytest.raises(OutOfOrderChunk, match=f"the state stands at {stands}; read on from {stands}"):
        step.apply(WHOLE.cut(first, last))
    assert step.state_hash() == before


def test_a_chunk_of_an_input_nobody_named_is_refused() -> None:
    """An input outside the settings is a wiring error, by name."""
    with pytest.raises(ValueError, match="a chunk of 'orders', but the inputs are interactions"):
        Step(SMALL).apply(replace(WHOLE, input="orders"))


def test_a_chunk_without_events_moves_the_position() -> None:
    """Holes and rejected records are passed over, and the hash knows where the state stands."""
    step, empty = Step(SMALL), LOG.cut(0, 0)
    step.apply(Chunk(INTERACTIONS, 0, 10, 25, empty))
    before = step.state_hash()
    applied = step.apply(Chunk(INTERACTIONS, 0, 25, 40, empty))
    assert (step.positions[INTERACTIONS, 0], applied.events, applied.slates(0)) == (40, 0, [])
    assert step.state_hash() != before


@both
def test_dump_and_load_half_way_give_the_same_end(config: LearningConfig) -> None:
    """The loaded step has the dumped one's hash, and goes on to the uninterrupted run's state and lists."""
    first, second = WHOLE.cut(0, 217), WHOLE.cut(217, len(LOG))
    step = Step(config)
    lists = final_lists(step, [first])
    loaded = Step.load(config, step.dump())
    assert loaded.state_hash() == step.state_hash()
    assert (loaded.seq, loaded.positions, loaded.last_ms) == (step.seq, step.positions, step.last_ms)
    lists |= final_lists(loaded, [second])
    assert (loaded.state_hash(), lists) == uncut(config)


@both
def test_a_loaded_state_lists_a_thousand_users_bit_for_bit_as_the_dumped_one(config: LearningConfig) -> None:
    """Every byte of every slate agrees, scores and reasons included."""
    step = Step(config)
    step.apply(chunk_of(random_log(6_000, users=1_000, items=300, seed=8)), lists=False)
    users = [*step.users.ids[:1_000], NOBODY]
    assert len(users) > 990
    encode = msgspec.msgpack.encode
    assert encode(Step.load(config, step.dump()).relist(users).slates(5)) == encode(step.relist(users).slates(5))


def test_a_snapshot_made_with_other_settings_is_refused_by_name() -> None:
    """Each setting that differs is named, with both values."""
    dump = Step(SMALL).dump()
    with pytest.raises(ValueError, match=r"learning\.list_length = 9, was 20; learning\.history_length = 8, was 50"):
        Step.load(replace(SMALL, list_length=9, history_length=8), dump)


def test_a_state_that_folded_an_input_no_longer_named_still_loads() -> None:
    """An input taken out of the settings keeps its place: its events are in the state, and in the hash."""
    step = Step(SMALL, ["views", "orders"])
    step.apply(replace(WHOLE, input="orders"))
    assert Step.load(SMALL, step.dump(), ["views"]).state_hash() == step.state_hash()


def test_the_hash_knows_inputs_by_place_not_by_name() -> None:
    """The same events give the same hash whatever their topic is called; another input's place is another state."""
    hashes = []
    for inputs, topic in ((["a"], "a"), (["b"], "b"), (["a", "b"], "b")):
        step = Step(SMALL, inputs)
        step.apply(replace(WHOLE, input=topic), lists=False)
        hashes.append(step.state_hash())
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_hash_knows_the_position_and_the_event_number() -> None:
    """The same events at other offsets, or one event more that teaches nothing, are another state."""
    hashes = set()
    for offsets, kinds in (([0, 1], [1, 1]), ([0, 2], [1, 1]), ([0, 1], [1, 0])):
        step = Step(SMALL)
        step.apply(chunk_of(columns_of(["u", "u"], ["a", "b"], offsets=offsets, kinds=[Kind(k) for k in kinds])))
        hashes.add(step.state_hash())
    assert len(hashes) == 3


def test_a_lists_version_is_its_events_next_offset_over_all_inputs_and_its_seq() -> None:
    """Generation 1; position: the sum over the inputs of the user's partition; revision: the event number."""
    step = Step(SMALL, ["views", "orders"])
    views = chunk_of(columns_of(["u", "v", "u"], ["a", "a", "b"], offsets=[10, 12, 15]), start=8)
    first = {slate.user_id: slate for slate in step.apply(replace(views, input="views")).slates(0)}
    assert first["v"].version == Version(1, 13, 2)
    assert first["u"].version == Version(1, 16, 3)
    assert first["u"].slate_id == "u@1.16.3"
    orders = chunk_of(columns_of(["u"], ["c"], offsets=[70]), start=60)
    second = step.apply(replace(orders, input="orders")).slates(0)
    assert second[0].version == Version(1, 16 + 71, 4)
    other = replace(chunk_of(columns_of(["w"], ["a"], offsets=[5])), input="views", partition=3)
    assert step.apply(other).slates(0)[0].version == Version(1, 6, 5)


def test_a_list_made_again_never_outranks_the_users_next_event() -> None:
    """`relist` carries the position reached; the next event's list is newer, an earlier event's older."""
    step = Step(SMALL)
    earlier = step.apply(WHOLE.cut(0, 50)).slates(0)
    again = {slate.user_id: slate for slate in step.relist([slate.user_id for slate in earlier]).slates(0)}
    assert all(again[slate.user_id].version >= slate.version for slate in earlier)
    assert {slate.version.position for slate in again.values()} == {int(LOG.offsets[50])}
    for later in step.apply(WHOLE.cut(50, len(LOG))).slates(0):
        if later.user_id in again:
            assert later.version > again[later.user_id].version


def test_slates_say_when_and_as_of_what() -> None:
    """`as_of_ms` is the last event's record time, `generated_ts_ms` the caller's; lists come in order of the events."""
    columns = columns_of(["u", "v", "u"], ["a", "b", "c"], ts_ms=[START_MS, START_MS + 5, START_MS + 9])
    columns = replace(columns, as_of_ms=columns.ts_ms + 1_000)
    slates = Step(SMALL).apply(chunk_of(columns)).slates(99)
    assert [(slate.user_id, slate.as_of_ms, slate.generated_ts_ms) for slate in slates] == [
        ("v", START_MS + 1_005, 99),
        ("u", START_MS + 1_009, 99),
    ]


PUT_ASIDE = ("dismissals", "impressions", "impressions_cells", "impressions_slab")


@pytest.mark.parametrize("kind", [Kind.impression, Kind.dismiss, Kind.hide])
def test_kinds_that_are_no_choice_teach_nothing_and_are_no_targets(kind: Kind) -> None:
    """No rank is measured, and no table changes but those of what users put away and were shown; it is counted."""
    step = Step(SMALL)
    step.apply(WHOLE)
    before, seq = {name: table.digest() for name, table in step.arena.tables.items()}, step.seq
    columns = columns_of(LOG.user_ids[:50], LOG.item_ids[:50], kinds=[kind] * 50, offsets=range(10_000, 10_050))
    applied = step.apply(chunk_of(columns, start=WHOLE.end))
    after = {name: table.digest() for name, table in step.arena.tables.items()}
    assert {name for name in before if before[name] != after[name]} <= {*PUT_ASIDE, "touched"}
    assert applied.measured is not None
    assert np.isnan(applied.measured.rank).all()
    assert not TEACHING[kind]
    assert step.seq == seq + 50


def test_an_impression_makes_no_list_and_what_is_put_away_does() -> None:
    """So the one makes none, and the other one a user."""
    for kind, refreshed in ((Kind.impression, 0), (Kind.dismiss, 1), (Kind.hide, 1)):
        step = Step(SMALL)
        step.apply(WHOLE)
        columns = columns_of(LOG.user_ids[:50], LOG.item_ids[:50], kinds=[kind] * 50, offsets=range(10_000, 10_050))
        made = step.apply(chunk_of(columns, start=WHOLE.end)).slates(0)
        assert len(made) == refreshed * len(set(LOG.user_ids[:50]))


@both
def test_a_slates_reasons_sum_to_the_score_it_was_ranked_by(config: LearningConfig) -> None:
    """Within 1e-4 of it, relatively; each names a group of signals once; items stand by falling score."""
    step = Step(config)
    step.apply(WHOLE.cut(0, 50))  # before the first choice there is nothing to list
    applied = step.apply(WHOLE.cut(50, len(LOG)))
    assert applied.ranked is not None
    for slate, ranked in zip(applied.slates(0), applied.ranked.lists[MAIN].score.tolist(), strict=True):
        assert slate.items
        for item, score in zip(slate.items, ranked, strict=False):
            total = sum(reason.contribution for reason in item.reasons)
            parts = sum(abs(reason.contribution) for reason in item.reasons)
            assert total == pytest.approx(item.score, rel=1e-4)
            assert total == pytest.approx(score, rel=1e-4, abs=1e-4 * parts)
            names = [reason.signal for reason in item.reasons]
            assert len(set(names)) == len(names)
            assert set(names) <= set(GROUPS)
        scores = ranked[: len(slate.items)]
        assert scores == sorted(scores, reverse=True)


def test_the_evidence_is_an_item_of_the_users_own_past() -> None:
    """ "together" and "taste" name an item the user chose; "yours" names the item itself."""
    step = Step(SMALL)
    step.apply(WHOLE, lists=False)
    chosen: dict[str, set[str]] = {}
    for user, item in zip(LOG.user_ids, LOG.item_ids, strict=True):
        chosen.setdefault(user, set()).add(item)
    named = 0
    for slate in step.relist(step.users.ids).slates(0):
        for item in slate.items:
            for reason in item.reasons:
                if reason.signal in ("together", "taste") and reason.evidence:
                    named += 1
                    assert reason.evidence in chosen[slate.user_id]
                if reason.signal == "yours":
                    assert reason.evidence == item.item_id
                    assert item.item_id in chosen[slate.user_id]
    assert named > 100


def test_excluded_items_are_on_no_list_and_repeats_are_where_nothing_is_excluded() -> None:
    """With `exclude_consumed` nothing a user chose comes back; without it a groceries' list does repeat."""
    log = random_log(800, users=20, items=60, seed=9)
    chosen: dict[str, set[str]] = {}
    for user, item in zip(log.user_ids, log.item_ids, strict=True):
        chosen.setdefault(user, set()).add(item)
    repeats = {}
    for config in (SMALL, EXCLUDING):
        step = Step(config)
        step.apply(chunk_of(log), lists=False)
        slates = step.relist(step.users.ids).slates(0)
        repeats[config.exclude_consumed] = sum(
            item.item_id in chosen[slate.user_id] for slate in slates for item in slate.items
        )
        assert all(len({item.item_id for item in slate.items}) == len(slate.items) for slate in slates)
    assert repeats[True] == 0
    assert repeats[False] > 0


def test_the_popular_list_is_there_for_anybody() -> None:
    """It has no user, no reason from a history, the sum of all positions, and the most chosen item."""
    step = Step(SMALL)
    step.apply(chunk_of(columns_of(["u", "v", "w"], ["best", "a", "b"])))
    step.apply(chunk_of(columns_of(["x", "y"], ["best", "c"]), partition=2))
    step.apply(chunk_of(columns_of(["z"] * 3, ["best"] * 3), partition=5))
    slate = step.relist([NOBODY]).slates(8)[0]
    assert (slate.user_id, slate.list, slate.generated_ts_ms) == (NOBODY, "main", 8)
    assert slate.version == Version(1, 3 + 2 + 3, 8)
    assert slate.items[0].item_id == "best"
    assert {reason.signal for item in slate.items for reason in item.reasons} <= {"popular", "trending", "together"}
    assert all(reason.evidence == "" for item in slate.items for reason in item.reasons)


def test_before_the_first_event_the_popular_list_is_empty() -> None:
    """A new pipeline answers with nothing rather than with an error."""
    assert Step(SMALL).relist([NOBODY]).slates(0)[0].items == ()


def test_users_not_known_are_passed_over_when_lists_are_made_again() -> None:
    """`relist` of strangers gives no list and admits nobody."""
    step = Step(SMALL)
    step.apply(WHOLE)
    before = step.state_hash()
    assert step.relist(["a stranger"]).slates(0) == []
    assert step.relist([]).slates(0) == []
    assert step.state_hash() == before


def test_when_the_vocabularies_are_full_the_stream_goes_on() -> None:
    """Whoever finds no row is passed over; all others go on learning; cuts still change nothing."""
    config = LearningConfig(max_users=20, max_items=30)
    step = Step(config)
    lists = final_lists(step, [WHOLE])
    assert (len(step.users), len(step.items)) == (20, 30)
    assert len(lists) > 20
    assert step.positions[INTERACTIONS, 0] == WHOLE.end
    assert step.seq == len(LOG)
    cut = Step(config)
    # a list made before its user was forgotten and refused is made only where a chunk ends before that
    assert final_lists(cut, cut_at(WHOLE, range(0, len(LOG), 13))).items() >= lists.items()
    assert cut.state_hash() == step.state_hash()
    users, items = ([id_ for id_ in vocabulary.ids if id_][:3] for vocabulary in (step.users, step.items))
    known = columns_of(users, items, offsets=range(WHOLE.end, WHOLE.end + 3))
    assert len(step.apply(chunk_of(known)).slates(0)) == 3


def test_a_longer_list_begins_with_the_shorter_one() -> None:
    """The list length cuts a list; it does not change what is on it."""
    lists = {}
    for length in (1, 5, 50):
        step = Step(replace(SMALL, list_length=length))
        step.apply(WHOLE, lists=False)
        slates = step.relist(step.users.ids).slates(0)
        assert max(len(slate.items) for slate in slates) == length
        lists[length] = [[item.item_id for item in slate.items] for slate in slates]
    assert [ids[:5] for ids in lists[50]] == lists[5]
    assert [ids[:1] for ids in lists[50]] == lists[1]


def test_bytes_used_grow_with_use() -> None:
    """An empty step uses little more than its fixed tables; each table is named."""
    step = Step(SMALL)
    empty = step.bytes_used()
    step.apply(WHOLE, lists=False)
    used = step.bytes_used()
    assert used["histories"] == len(step.users) * (empty["histories"] or used["histories"] // len(step.users))
    assert sum(used.values()) > sum(empty.values())
    assert used.keys() == step.arena.tables.keys()
