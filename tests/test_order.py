"""The order: what timing decided is in a log, and everybody who follows it applies the same."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.order import FollowedOrder, OrderBroken, OrderPosition
from millstream.online_learning.step import Step
from millstream.schemas.columns import Chunk, InteractionColumns
from millstream.schemas.order_records import Claim, Go, Hold, Order, OrderRecord, Run, Swap

PARTITIONS, EVENTS = 3, 120
CONFIG = LearningConfig(max_users=64, max_items=64, first_trained=0)
Log = dict[int, Chunk]
NOTHING = InteractionColumns(
    user_ids=[],
    item_ids=[],
    kinds=np.empty(0, np.int8),
    ts_ms=np.empty(0, np.int64),
    values=np.empty(0),
    as_of_ms=np.empty(0, np.int64),
    offsets=np.empty(0, np.int64),
)


@pytest.fixture
def log() -> Log:
    """One chunk a partition: all its events, with holes between offsets."""
    rng = np.random.default_rng(5)
    chunks = {}
    for partition in range(PARTITIONS):
        offsets = np.cumsum(rng.integers(1, 3, EVENTS))
        ts_ms = 1_700_000_000_000 + np.arange(EVENTS, dtype=np.int64) * 1_000
        columns = InteractionColumns(
            user_ids=[f"u{partition}{user}" for user in rng.integers(0, 9, EVENTS)],
            item_ids=[f"i{item}" for item in rng.integers(0, 25, EVENTS)],
            kinds=np.ones(EVENTS, np.int8),
            ts_ms=ts_ms,
            values=np.full(EVENTS, np.nan),
            as_of_ms=ts_ms,
            offsets=offsets.astype(np.int64),
        )
        chunks[partition] = Chunk("interactions", partition, 0, int(offsets[-1]) + 1, columns)
    return chunks


def shuffled_parts(log: Log, seed: int) -> list[Chunk]:
    """Cut every partition at random places and deal the parts in a random order that keeps each partition's own."""
    chance = random.Random(seed)
    parts = {}
    for partition, chunk in log.items():
        cuts = [0, *sorted(chance.sample(range(1, EVENTS), 6)), EVENTS]
        parts[partition] = [chunk.cut(first, last) for first, last in itertools.pairwise(cuts)]
    dealt = [partition for partition, its in parts.items() for _ in its]
    chance.shuffle(dealt)
    return [parts[partition].pop(0) for partition in dealt]


def first_run(log: Log, seed: int) -> tuple[Step, list[OrderRecord]]:
    """Apply the parts as they come, with changing effort; return the state and what was recorded, two runs a record."""
    step, runs = Step(CONFIG), []
    for number, part in enumerate(shuffled_parts(log, seed)):
        train_every = 1 + number % 3
        step.apply(part, train_every=train_every)
        runs.append(Run(part.input, part.partition, part.start, part.end, train_every))
    pairs = itertools.zip_longest(runs[::2], runs[1::2])
    return step, [claim(1, "a"), *(order(1, "a", *(run for run in pair if run is not None)) for pair in pairs)]


def claim(epoch: int, writer: str, *positions: tuple[str, int, int]) -> Claim:
    return Claim(epoch, writer, positions)


def order(epoch: int, writer: str, *runs: Run) -> Order:
    return Order(epoch, writer, runs)


def run(start: int, end: int, *, partition: int = 0, train_every: int = 1) -> Run:
    return Run("interactions", partition, start, end, train_every)


def followed(records: Sequence[OrderRecord], *, first: int = 0, position: OrderPosition | None = None) -> FollowedOrder:
    """A reader that has read the records from `first` on, from the empty state or from `position`."""
    it = FollowedOrder(position or OrderPosition(), {})
    for offset, record in enumerate(records[first:], first):
        it.read(offset, record)
    return it


def empty(start: int, end: int, *, partition: int = 0) -> Chunk:
    """A chunk of rejected records alone."""
    return Chunk("interactions", partition, start, end, NOTHING)


@pytest.mark.parametrize("seed", range(4))
def test_the_recorded_order_gives_the_same_state_whatever_comes_first_now(log: Log, seed: int) -> None:
    """Other cuts, another interleaving: following the records, the state hash is the first run's."""
    step, records = first_run(log, seed)
    again, order = Step(CONFIG), followed(records)
    for chunk in shuffled_parts(log, seed + 100):
        order.offer(chunk, len(chunk))
        for part in order.take():
            again.apply(part.chunk, train_every=part.train_every)
    assert order.needed is None
    assert again.state_hash() == step.state_hash()


def test_without_the_records_the_state_differs(log: Log) -> None:
    """The guard of the test above: order and effort do matter."""
    step, _ = first_run(log, 0)
    other = Step(CONFIG)
    for part in shuffled_parts(log, 100):
        other.apply(part)
    assert other.state_hash() != step.state_hash()


@pytest.mark.parametrize("seed", range(4))
def test_a_state_goes_on_in_the_order_from_wherever_it_stands(log: Log, seed: int) -> None:
    """Saved in the midst of a record, or of a run: from its place in the order and its own, it comes out the same."""
    step, records = first_run(log, seed)
    chance = random.Random(seed)
    states = [(Step(CONFIG), OrderPosition(), followed(records))]
    for _ in range(3):
        state, position, reader = states.pop()
        for chunk in shuffled_parts(log, chance.randrange(1_000)):
            reader.offer(chunk, len(chunk))
        for _, part in zip(range(chance.randrange(1, 12)), reader.take(), strict=False):
            state.apply(part.chunk, train_every=part.train_every)
            position = part.after
        begun = FollowedOrder(position, state.positions)
        for offset in range(position.offset, len(records)):
            begun.read(offset, records[offset])
        states.append((state, position, begun))
    state, _, reader = states.pop()
    for chunk in shuffled_parts(log, seed + 100):
        reader.offer(chunk, len(chunk))
    for part in reader.take():
        state.apply(part.chunk, train_every=part.train_every)
    assert state.state_hash() == step.state_hash()


def test_what_no_record_covers_waits() -> None:
    """Nothing is applied that is not in the log; what the log has and nobody offered is what is needed."""
    it = followed([claim(1, "a"), order(1, "a", run(0, 4), run(2, 9, partition=1))])
    assert it.needed == ("interactions", 0)
    it.offer(empty(0, 10), 10)
    assert [(part.chunk.start, part.chunk.end, part.records) for part in it.take()] == [(0, 4, 0)]
    assert it.needed == ("interactions", 1)
    assert it.waiting == 10
    it.offer(empty(2, 9, partition=1), 7)
    assert [(part.chunk.start, part.records) for part in it.take()] == [(2, 7)]
    assert it.needed is None
    it.read(2, order(1, "a", run(4, 10)))
    assert [(part.chunk.start, part.chunk.end, part.records) for part in it.take()] == [(4, 10, 10)]


def test_a_record_is_done_when_its_last_run_is() -> None:
    """Until then, whoever stands there reads it again."""
    it = followed([claim(1, "a"), order(1, "a", run(0, 4), run(0, 2, partition=1))])
    for chunk in (empty(0, 3), empty(3, 4), empty(0, 1, partition=1), empty(1, 2, partition=1)):
        it.offer(chunk, 1)
    assert [part.after.offset for part in it.take()] == [1, 1, 1, 2]


def test_a_claim_voids_what_an_older_writer_writes_after_it() -> None:
    """The log decides, not who is alive: every reader passes over the same records."""
    records = [
        claim(1, "a"),
        order(1, "a", run(0, 2)),
        claim(2, "b"),
        order(1, "a", run(2, 4, train_every=9)),  # a zombie's
        order(2, "a", run(2, 4, train_every=9)),  # nobody's
        claim(2, "c"),  # too late: the epoch is b's
        order(2, "c", run(2, 4, train_every=9)),
        order(2, "b", run(2, 5)),
        claim(4, "d"),  # not the next one
        order(2, "b", run(5, 6)),
    ]
    it = FollowedOrder(OrderPosition(), {})
    counts = [it.read(offset, record) for offset, record in enumerate(records)]
    assert counts == [True, True, True, False, False, False, False, True, False, True]
    it.offer(empty(0, 6), 6)
    assert [(part.chunk.end, part.train_every) for part in it.take()] == [(2, 1), (5, 1), (6, 1)]
    assert it.position == OrderPosition(len(records), 2, "b")


def test_a_record_that_came_twice_counts_once() -> None:
    """After an outage a producer may have written it twice, or two that overlap."""
    twice = [order(1, "a", run(0, 3)), order(1, "a", run(0, 3)), order(1, "a", run(2, 5))]
    it = followed([claim(1, "a"), *twice])
    it.offer(empty(0, 5), 5)
    assert [(part.chunk.start, part.chunk.end) for part in it.take()] == [(0, 3), (3, 5)]


def test_an_order_with_a_gap_is_refused() -> None:
    """It cannot be followed, and following on would lose what is between."""
    it = followed([claim(1, "a", ("interactions", 0, 5))])
    assert it.begun == {("interactions", 0): 5}
    with pytest.raises(OrderBroken, match=r"interactions\[0\]: a record orders offsets from 7 on, .* from 5"):
        it.read(1, order(1, "a", run(7, 9)))


def test_what_was_offered_before_is_passed_over() -> None:
    """A topic that is read once more from its beginning changes nothing; what is new of a chunk counts."""
    it = FollowedOrder(OrderPosition(), {("interactions", 0): 4})
    assert it.offer(empty(0, 4), 4) is None
    new = it.offer(empty(2, 6), 4)
    assert new is not None
    assert (new.start, new.end) == (4, 6)
    assert it.offer(empty(0, 6), 6) is None
    assert it.waiting == 4


@given(st.data())
def test_every_reader_of_a_log_applies_the_same(data: st.DataObject) -> None:
    """Any writers, each proposing from what it has read so far, and none of them knowing of the others.

    Whatever the log comes to look like, each offset is applied exactly once, in one order, by whoever reads it, however
    far it had read when the chunks came.
    """
    writers = {name: FollowedOrder(OrderPosition(), {("t", 0): 0, ("t", 1): 0}) for name in "abc"}
    log: list[OrderRecord] = []
    for _ in range(data.draw(st.integers(1, 30))):
        name = data.draw(st.sampled_from("abc"))
        writer = writers[name]
        for offset in range(writer.position.offset, data.draw(st.integers(writer.position.offset, len(log)))):
            writer.read(offset, log[offset])
        if data.draw(st.booleans()):
            log.append(Claim(writer.position.epoch + 1, name, (("t", 0, 0), ("t", 1, 0))))
        else:
            partition = data.draw(st.integers(0, 1))
            start = writer.ordered["t", partition]
            end = start + data.draw(st.integers(1, 3))
            log.append(Order(writer.position.epoch, name, (Run("t", partition, start, end, 1),)))
    applied = {}
    for first in (0, data.draw(st.integers(0, len(log)))):
        reader = FollowedOrder(OrderPosition(), {("t", 0): 0, ("t", 1): 0})
        for offset, record in enumerate(log[:first]):
            reader.read(offset, record)
        for partition in (0, 1):
            reader.offer(Chunk("t", partition, 0, 1_000, NOTHING), 0)
        parts = list(reader.take())
        for offset, record in enumerate(log[first:], first):
            reader.read(offset, record)
        parts += reader.take()
        applied[first] = [(part.chunk.partition, part.chunk.start, part.chunk.end) for part in parts]
        for partition in (0, 1):
            covered = [each for each in applied[first] if each[0] == partition]
            assert [start for _, start, _ in covered] == [0, *(end for *_, end in covered[:-1])][: len(covered)]
    assert len({tuple(each) for each in applied.values()}) == 1


def taken(it: FollowedOrder) -> list[tuple[int, int] | str]:
    """What comes next as far as it goes: runs by their offsets, and the snapshots of models that are switched to."""
    found: list[tuple[int, int] | str] = []
    while True:
        found += [(part.chunk.start, part.chunk.end) for part in it.take()]
        swapped = it.swapped()
        if swapped is None:
            return found
        found.append(swapped.swap.snapshot)


@pytest.mark.parametrize(("answer", "between"), [(Swap("s", "other", "h"), ["other"]), (Go("s"), [])])
def test_what_comes_after_a_hold_waits_for_its_answer(answer: OrderRecord, between: list[str]) -> None:
    """Then it comes, behind the switch if there is one; others' answers are void, and so is a second hold."""
    it = followed([claim(1, "a"), order(1, "a", run(0, 4)), Hold("s"), order(1, "a", run(4, 9))])
    it.offer(empty(0, 20), 20)
    assert taken(it) == [(0, 4)]
    assert (it.held, it.needed, it.taken, it.ahead) == ("s", None, 2, 5)
    for offset, void in enumerate((Hold("t"), Swap("t", "x", ""), Go("t")), 4):
        assert not it.read(offset, void)
    assert taken(it) == []
    assert it.read(7, answer)
    assert taken(it) == [*between, (4, 9)]
    assert not it.read(8, Go("s"))
    assert (it.held, it.taken) == (None, 9)
    assert it.read(9, Hold("s"))
    it.read(10, order(1, "a", run(9, 12)))
    assert taken(it) == []


def test_whoever_switched_goes_on_behind_the_hold() -> None:
    """Where the switched state stands, the hold is not read again, and its answer is void."""
    records: list[OrderRecord] = [claim(1, "a"), order(1, "a", run(0, 4)), Hold("s"), order(1, "a", run(4, 9))]
    records.append(Swap("s", "other", "h"))
    it = followed(records)
    it.offer(empty(0, 9), 9)
    assert [part.after.offset for part in it.take()] == [2]
    swapped = it.swapped()
    assert swapped is not None
    assert (swapped.before.offset, swapped.after) == (2, OrderPosition(3, 1, "a"))
    again = FollowedOrder(swapped.after, {("interactions", 0): 4})
    for offset in range(3, len(records)):
        again.read(offset, records[offset])
    again.offer(empty(4, 9), 5)
    assert taken(again) == taken(it) == [(4, 9)]


@given(
    st.lists(st.sampled_from([Hold("s"), Hold("t"), Swap("s", "m", ""), Swap("t", "n", ""), Go("s"), Go("t"), None]))
)
def test_all_readers_switch_between_the_same_events(answers: list[OrderRecord | None]) -> None:
    """Whether a reader follows record by record or reads all at once, and wherever it begins to apply."""
    ends = itertools.count(1)
    records = [answer if answer is not None else order(1, "a", run((end := next(ends)) - 1, end)) for answer in answers]
    records = [claim(1, "a"), *records]
    at_once = followed(records)
    at_once.offer(empty(0, 100), 100)
    slowly, seen = FollowedOrder(OrderPosition(), {}), []
    slowly.offer(empty(0, 100), 100)
    for offset, record in enumerate(records):
        slowly.read(offset, record)
        seen += taken(slowly)
    assert seen == taken(at_once)
    assert slowly.held == at_once.held
