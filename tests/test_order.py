"""Order records: what timing decided is written down, and followed again whatever the timing is then."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from millstream.agents.order_log import OrderLog, read_order
from millstream.online_learning.config import LearningConfig
from millstream.online_learning.order import OrderRecord, RecordedOrder
from millstream.online_learning.step import Step
from millstream.schemas.columns import Chunk, InteractionColumns

PARTITIONS, EVENTS = 3, 120
CONFIG = LearningConfig(max_users=64, max_items=64, first_trained=0)
Log = dict[int, Chunk]


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
    """Apply the parts as they come, with changing effort; return the state and what was recorded."""
    step, records = Step(CONFIG), []
    for number, part in enumerate(shuffled_parts(log, seed)):
        train_every = 1 + number % 3
        step.apply(part, train_every=train_every)
        records.append(OrderRecord(part.input, part.partition, part.start, part.end, train_every))
    return step, records


@pytest.mark.parametrize("seed", range(4))
def test_the_recorded_order_gives_the_same_state_whatever_comes_first_now(log: Log, seed: int) -> None:
    """Other cuts, another interleaving: following the records, the state hash is the first run's."""
    step, records = first_run(log, seed)
    again, order = Step(CONFIG), RecordedOrder(records)
    for part in shuffled_parts(log, seed + 100):
        for chunk, train_every in order.take(part):
            assert train_every is not None
            again.apply(chunk, train_every=train_every)
    assert order.followed
    assert again.state_hash() == step.state_hash()


def test_without_the_records_the_state_differs(log: Log) -> None:
    """The guard of the test above: order and effort do matter."""
    step, _ = first_run(log, 0)
    other = Step(CONFIG)
    for part in shuffled_parts(log, 100):
        other.apply(part)
    assert other.state_hash() != step.state_hash()


def test_what_comes_after_the_last_record_is_free(log: Log) -> None:
    """Once the records are used up, what waited follows and later chunks pass straight through."""
    _, records = first_run(log, 1)
    order = RecordedOrder(records[:5])
    efforts = [train_every for part in shuffled_parts(log, 7) for _, train_every in order.take(part)]
    assert order.followed
    assert efforts[-1] is None
    assert efforts == sorted(efforts, key=lambda effort: effort is None), "free chunks only after the recorded ones"


def test_a_record_behind_the_start_is_passed_over(log: Log) -> None:
    """Records of a run that began earlier do not stop one that begins later."""
    order = RecordedOrder([OrderRecord("interactions", 0, 0, 10, 2)])
    rest = log[0].cut(50, EVENTS)
    applied = list(order.take(rest))
    assert order.followed
    assert [chunk for chunk, _ in applied if len(chunk)] == [rest]


def test_the_log_survives_a_torn_line(tmp_path: Path) -> None:
    """A half-written last record is dropped, and writing goes on behind the whole ones."""
    records = [OrderRecord("interactions", 0, at, at + 1, 1) for at in range(4)]
    log = OrderLog(tmp_path)
    log.begin(0)
    log.append(records[:3])
    log.close()
    (path,) = tmp_path.glob("order-*.jsonl")
    path.write_bytes(path.read_bytes()[:-4])
    assert read_order(tmp_path, 0) == records[:2]
    log.begin(0)
    log.append(records[3:])
    log.close()
    assert read_order(tmp_path, 0) == [*records[:2], records[3]]


def test_files_before_the_oldest_snapshot_are_forgotten(tmp_path: Path) -> None:
    """What a snapshot contains needs no record; what came after it does."""
    log = OrderLog(tmp_path)
    for seq in (0, 10, 20):
        log.begin(seq)
        log.append([OrderRecord("interactions", 0, seq, seq + 10, 1)])
    log.forget_before(10)
    log.close()
    assert [record.start for record in read_order(tmp_path, 10)] == [10, 20]
    assert [record.start for record in read_order(tmp_path, 0)] == [10, 20]


def test_records_still_to_be_followed_move_to_the_new_file(tmp_path: Path) -> None:
    """A snapshot taken while an order is followed must not lose the rest of it."""
    log = OrderLog(tmp_path)
    ahead = OrderRecord("interactions", 1, 5, 9, 4)
    log.begin(7, [ahead])
    log.close()
    assert read_order(tmp_path, 7) == [ahead]
