"""What every part of the model promises: a part declares tables in the arena, and each table is held to this.

The tables are found in a fresh step's arena, so that a new part is under contract by being declared.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from logs import START_MS, chunk_of, columns_of, random_log, simulated
from references import assert_nothing_is_left

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.step import NOBODY, Step
from millstream.schemas.columns import InteractionColumns, catalogue_chunk, vectors_chunk
from millstream.schemas.item_vectors import CONTENT
from millstream.schemas.records import Item, Kind
from millstream.schemas.utterances import Utterances

CAPPED = LearningConfig(
    max_users=50,
    max_speakers=9,
    max_items=60,
    history_length=10,
    max_neighbours=16,
    neighbours_per_item=20,
    exclude_consumed=True,
    max_consumed=16,
    consumed_per_user=20,
    lists=("main", "buy"),
    dedupe_events=70,
    kept_off_kinds=("purchase",),
    session_transformer=True,
)
KEEPS_ALL = replace(CAPPED, exclude_consumed=False)
TABLES = sorted(Step(CAPPED).arena.tables)
YEAR_MS = 365 * 86_400_000
every_table = pytest.mark.parametrize("table", TABLES)


def described(config: LearningConfig) -> Step:
    """A step that knows a category or two of some items, and that some of these cannot be had."""
    step = Step(config)
    step.apply(
        catalogue_chunk(
            Item(item_id=f"i{n}", categories=[f"c{n % 7}", f"c{n % 3}"], price=1.0 + n, available=n % 8 > 0)
            for n in range(0, 60, 2)
        )
    )
    some = [f"i{n}" for n in range(0, 60, 3)]
    drawn = np.random.default_rng(5).integers(-127, 128, (len(some), CONTENT)).astype(np.int8)
    step.apply(vectors_chunk(some, drawn, np.full(len(some), 1e-3, np.float32)))
    return step


def learned(columns: InteractionColumns, config: LearningConfig = CAPPED, *, seed_step: Step | None = None) -> Step:
    step = seed_step or described(config)
    step.apply(chunk_of(columns), lists=False)
    return step


def digests(step: Step) -> dict[str, int]:
    return {name: table.digest() for name, table in step.arena.tables.items()}


@pytest.fixture(scope="module")
def log() -> InteractionColumns:
    """1,500 events of 80 users on 90 items, of many kinds: more of everything than the caps allow."""
    log = random_log(1_500, users=80, items=90, seed=11)
    turn = np.arange(len(log)) % 20
    kinds = np.select(
        [turn == 19, turn == 18, turn < 5, turn < 8, (turn >= 10) & (turn < 14)],
        [Kind.dismiss, Kind.say, Kind.rating, Kind.purchase, Kind.impression],
        log.kinds,
    )
    # of a slate of four, the last is chosen
    before = np.arange(len(log)) - np.select([(turn > 10) & (turn < 14), turn == 14], [turn - 10, 1], 0)
    log = replace(
        log,
        user_ids=[log.user_ids[row] for row in before.tolist()],
        item_ids=[
            "" if at % 20 == 18 else log.item_ids[row]
            for at, row in enumerate(np.where(turn == 14, before, np.arange(len(log))).tolist())
        ],
        slates=np.where((turn >= 10) & (turn < 15), 1 + np.arange(len(log)) // 20, 0).astype(np.uint32),
        slots=np.where((turn >= 10) & (turn < 14), turn - 10, -1).astype(np.int16),
        surfaces=(np.arange(len(log)) % 7 // 3).astype(np.uint32),
    )
    event_ids = [f"e{number % 1_100}" if number % 2 else None for number in range(len(log))]
    values = np.where(turn < 4, 1.0 + turn, np.nan)
    spoken = np.flatnonzero(turn == 18)
    drawn = np.random.default_rng(7).integers(-127, 128, (len(spoken), CONTENT)).astype(np.int8)
    words = Utterances(spoken, drawn, np.full(len(spoken), 1e-3, np.float32), (spoken // 20 % 3).astype(np.int8))
    return replace(log, kinds=kinds.astype(np.int8), values=values, event_ids=event_ids, words=words)


@pytest.fixture(scope="module")
def whole(log: InteractionColumns) -> Step:
    return learned(log)


def test_in_the_contracts_log_rows_change_hands(whole: Step, log: InteractionColumns) -> None:
    """So all that follows holds of parts whose rows are cleared and given again."""
    for vocabulary, ids in ((whole.users, log.user_ids), (whole.items, log.item_ids)):
        first = list(dict.fromkeys(ids))[: vocabulary.capacity]
        assert sum(one != other for one, other in zip(vocabulary.ids, first, strict=True)) > 10
    assert_nothing_is_left(whole)


@every_table
def test_a_part_says_whose_rows_it_has(table: str) -> None:
    """A table with as many rows as there may be users, or items, is cleared with them."""
    held = Step(CAPPED).arena.tables[table]
    whose = {CAPPED.max_users: "users", CAPPED.max_users + 1: "users", CAPPED.max_items: "items"}
    assert held.of == whose.get(held.rows, "")


@every_table
def test_a_part_learns_something(table: str, whole: Step) -> None:
    """The log reaches every table: a part that ignores it would pass all that follows."""
    assert digests(whole)[table] != digests(Step(CAPPED))[table]


@every_table
def test_the_same_events_give_the_same_state(table: str, whole: Step, log: InteractionColumns) -> None:
    """Two runs over one log agree bit for bit."""
    again = learned(log)
    assert digests(again)[table] == digests(whole)[table]
    for name, array in whole.arena.tables[table].arrays.items():
        assert array.tobytes() == again.arena.tables[table].arrays[name].tobytes()


@every_table
def test_a_loaded_part_is_the_dumped_one_and_goes_on_the_same(table: str, whole: Step, log: InteractionColumns) -> None:
    """Dump and load half-way: equal at once, and equal to the uninterrupted run at the end."""
    half = learned(log.cut(0, 600))
    loaded = Step.load(CAPPED, half.dump())
    assert digests(loaded)[table] == digests(half)[table]
    for name, array in half.arena.tables[table].arrays.items():
        used = half.arena.tables[table].used()
        assert array[:used].tobytes() == loaded.arena.tables[table].arrays[name][:used].tobytes()
    learned(log.cut(600, len(log)), seed_step=loaded)
    assert digests(loaded)[table] == digests(whole)[table]


@every_table
def test_a_dump_stays_as_it_was_while_the_part_learns_on(table: str, log: InteractionColumns) -> None:
    """Copies share no memory with the state, on the way out and on the way in."""
    step = learned(log.cut(0, 600))
    dump = step.dump()
    before = {name: array.tobytes() for name, array in dump.arrays.items()}
    loaded = Step.load(CAPPED, dump)
    learned(log.cut(600, len(log)), seed_step=step)
    learned(log.cut(600, len(log)), seed_step=loaded)
    for name in step.arena.tables[table].arrays:
        assert dump.arrays[f"{table}/{name}"].tobytes() == before[f"{table}/{name}"]
        assert not np.shares_memory(dump.arrays[f"{table}/{name}"], step.arena.tables[table].arrays[name])


@every_table
def test_every_change_of_a_part_is_marked(table: str, log: InteractionColumns) -> None:
    """The digest kept up to date event by event equals one made from scratch: no write without its mark."""
    step = described(CAPPED)
    for at in range(0, 300, 7):
        learned(log.cut(at, min(300, at + 7)), seed_step=step)
        step.state_hash()
    assert digests(Step.load(CAPPED, step.dump()))[table] == digests(step)[table]


@every_table
def test_a_part_keeps_to_its_rows_and_what_it_uses(table: str, whole: Step) -> None:
    """Nothing lies beyond the used rows, which never exceed the cap, however much was offered."""
    held = whole.arena.tables[table]
    assert held.used() <= held.rows
    for array in held.arrays.values():
        assert not array[held.used() :].any()


@every_table
@pytest.mark.parametrize("config", [CAPPED, KEEPS_ALL], ids=["excluding", "keeping"])
def test_making_lists_changes_no_part(table: str, config: LearningConfig, log: InteractionColumns) -> None:
    """Ranking anybody, and nobody, leaves every byte as it was; so does the list after an event."""
    step = learned(log, config)
    bytes_before = {name: array.tobytes() for name, array in step.arena.tables[table].arrays.items()}
    before = digests(step)[table]
    assert step.relist([*step.users.ids, NOBODY, "a stranger"]).slates(0)
    step.arena.tables[table].dirty[:] = 1
    assert digests(step)[table] == before
    assert {name: array.tobytes() for name, array in step.arena.tables[table].arrays.items()} == bytes_before
    listed = described(config)
    for at in range(0, len(log), 100):
        listed.apply(chunk_of(log.cut(at, at + 100)), lists=True)
    assert digests(listed)[table] == before


def adversarial() -> dict[str, InteractionColumns]:
    """Logs that break what divides, takes logarithms or subtracts times."""
    base = random_log(500, users=20, items=30, seed=4)
    n = len(base)
    rng = np.random.default_rng(6)
    users, items = base.user_ids, base.item_ids
    backwards = [START_MS - 60_000 * at for at in range(n)]
    years = (START_MS + np.cumsum(rng.choice([0, 1, YEAR_MS // 3, 3 * YEAR_MS], n))).tolist()
    jumps = (START_MS + rng.choice([-30 * YEAR_MS, -1, 0, 1, 100 * YEAR_MS], n)).tolist()
    return {
        "one moment": columns_of(users, items, ts_ms=[START_MS] * n),
        "backwards": columns_of(users, items, ts_ms=backwards),
        "gaps of years": columns_of(users, items, ts_ms=years),
        "jumping clock": columns_of(users, items, ts_ms=jumps),
        "before the epoch": columns_of(users, items, ts_ms=list(range(-n, 0))),
        "one user": columns_of(["u"] * n, items),
        "one item": columns_of(users, ["i"] * n),
        "one user, one item": columns_of(["u"] * n, ["i"] * n),
        "only strangers": columns_of([f"s{at}" for at in range(n)], [f"t{at}" for at in range(n)]),
    }


ADVERSARIAL = adversarial()


@pytest.fixture(scope="module", params=[(name, cap) for name in ADVERSARIAL for cap in ("excluding", "keeping")])
def tortured(request: pytest.FixtureRequest) -> tuple[Step, Step]:
    """A step after an adversarial log, and another after a simulated shop on top of it."""
    name, cap = request.param
    config = CAPPED if cap == "excluding" else KEEPS_ALL
    step = learned(ADVERSARIAL[name], config)
    shop = simulated(400, users=100, items=90)
    offsets = shop.offsets + len(ADVERSARIAL[name])
    onwards = learned(replace(shop, offsets=offsets), seed_step=Step.load(config, step.dump()))
    return step, onwards


def test_no_part_ever_holds_a_number_that_is_not_finite(tortured: tuple[Step, Step]) -> None:
    """One moment, clocks running backwards, gaps of years, one user, one item: all floats of all tables are finite."""
    for step in tortured:
        for name, table in step.arena.tables.items():
            for array_name, array in table.arrays.items():
                if np.issubdtype(array.dtype, np.floating):
                    assert np.isfinite(array).all(), f"{name}/{array_name}"


def test_lists_after_an_adversarial_log_are_sound(tortured: tuple[Step, Step]) -> None:
    """Everyone still gets a list of distinct items with finite scores in falling order."""
    for step in tortured:
        for slate in step.relist([*step.users.ids, NOBODY]).slates(0):
            scores = [item.score for item in slate.items]
            assert np.isfinite(scores).all()
            assert all(one >= other - 1e-3 for one, other in pairwise(scores))
            assert len({item.item_id for item in slate.items}) == len(slate.items)
