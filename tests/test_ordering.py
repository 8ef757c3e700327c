"""Workers and the order: one proposes, all apply what the log says, and whose claim is over finds itself following."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import numpy as np
import pytest

from millstream.agents.effort import Effort
from millstream.agents.ordering import Ordering, OthersOrder, Reading
from millstream.online_learning.order import OrderPosition, Part
from millstream.schemas.columns import Chunk, InteractionColumns
from millstream.schemas.order_records import Claim, Order, OrderRecord, Run, decode_order, encode_order
from millstream.streams.model_log import Written

PLACE = ("t", 0)


def chunk(start: int, end: int) -> Chunk:
    """One event a record, by one user."""
    n = end - start
    columns = InteractionColumns(
        user_ids=["u"] * n,
        item_ids=["i"] * n,
        kinds=np.ones(n, np.int8),
        ts_ms=np.zeros(n, np.int64),
        values=np.full(n, np.nan),
        as_of_ms=np.zeros(n, np.int64),
        offsets=np.arange(start, end, dtype=np.int64),
    )
    return Chunk(*PLACE, start, end, columns)


class Log:
    """A log that several workers share; what is appended is acknowledged at once."""

    topic = "model-log"

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.readers: list[Ordering] = []

    async def append(self, record: OrderRecord) -> None:
        await asyncio.sleep(0)
        self.records.append(encode_order(record))

    @property
    def said(self) -> list[OrderRecord]:
        return [decode_order(record) for record in self.records]

    async def settle(self, *readers: Ordering) -> None:
        """Let these read, again and again, until nobody appends any more."""
        for _ in range(20):
            await asyncio.sleep(0)
            for reader in readers or self.readers:
                new = self.records[reader.next_record :]
                reader.read([Written(offset, value, 0) for offset, value in enumerate(new, reader.next_record)])


class Worker:
    """An `Ordering`, and what it handed over."""

    def __init__(self, log: Log) -> None:
        self.parts: list[Part] = []
        self.released = 0
        self.errors: list[BaseException] = []
        self.queued = 0
        self.behind = 0.0
        self.effort = Effort("full")
        self.order_position = OrderPosition()
        self.ordering = Ordering(
            log,
            self,
            self.effort,
            release=self._release,
            failed=self.errors.append,
            most_events=1_000,
            topics=["t"],
            swap=lambda swapped: None,
        )
        log.readers.append(self.ordering)

    def submit(self, batch: Sequence[Part]) -> None:
        self.parts += batch

    def waiting_s(self, events: int) -> float:
        return 0.0

    def behind_s(self, events: int) -> float:
        return self.behind

    def _release(self, records: int) -> None:
        self.released += records

    @property
    def applied(self) -> list[tuple[int, int]]:
        return [(part.chunk.start, part.chunk.end) for part in self.parts]

    async def offer(self, start: int, end: int, first: Callable[[], Awaitable[None]] | None = None) -> None:
        await self.ordering.room()
        self.ordering.offer([Reading(chunk(start, end), end - start, first)])


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


def start(stack: AsyncExitStack, *workers: Worker) -> None:
    for worker in workers:
        task = asyncio.ensure_future(worker.ordering.run())
        stack.callback(task.cancel)


async def test_the_leader_applies_what_it_has_read_back(stack: AsyncExitStack) -> None:
    """Nothing before its claim, nothing that is not in the log; then all that was offered, as a run of the record."""
    log = Log()
    worker = Worker(log)
    start(stack, worker)
    await worker.offer(0, 3)
    await log.settle()
    assert log.said == []
    worker.ordering.lead({PLACE: 0}, {"t": "id"})
    await asyncio.sleep(0.01)
    assert log.said == [Claim(1, worker.ordering.writer, ((*PLACE, 0),), {"t": "id"})]
    assert not worker.ordering.leads
    await log.settle()
    assert worker.ordering.leads
    assert log.said[1:] == [Order(1, worker.ordering.writer, (Run(*PLACE, 0, 3, 1),))]
    assert worker.applied == [(0, 3)]
    assert worker.parts[-1].after == OrderPosition(2, 1, worker.ordering.writer)


async def test_what_comes_first_is_done_before_the_record_stands(stack: AsyncExitStack) -> None:
    """A rejected record's letter, say: once, by the leader, and by no follower."""
    log, done = Log(), []
    leader, follower = Worker(log), Worker(log)
    start(stack, leader, follower)
    leader.ordering.lead({PLACE: 0}, {})
    await log.settle()

    async def first(name: str) -> None:
        done.append((name, len(log.records)))

    await leader.offer(0, 2, lambda: first("leader"))
    await follower.offer(0, 2, lambda: first("follower"))
    await log.settle()
    assert done == [("leader", 1)]
    assert leader.applied == follower.applied == [(0, 2)]


async def test_a_leader_cuts_the_next_batch_when_the_thread_has_taken_the_last(stack: AsyncExitStack) -> None:
    """One batch on its way at most; whoever follows is never held up."""
    log = Log()
    worker = Worker(log)
    start(stack, worker)
    worker.ordering.lead({PLACE: 0}, {})
    await log.settle()
    await worker.offer(0, 1)
    room = asyncio.ensure_future(worker.ordering.room())
    await asyncio.sleep(0.01)
    assert not room.done(), "it is in the log"
    worker.queued = 1
    await log.settle()
    assert not room.done(), "it is queued for the thread"
    worker.queued = 0
    worker.ordering.moved()
    await asyncio.wait_for(room, 1)


async def test_what_is_read_again_is_done_again_and_ordered_once(stack: AsyncExitStack) -> None:
    """A catalogue read from its beginning, for what goes beside it: the next batch is not held up by it."""
    log, done = Log(), []
    worker = Worker(log)
    start(stack, worker)
    worker.ordering.lead({PLACE: 0}, {})
    await log.settle()

    async def first() -> None:
        done.append(len(log.records))

    for end in (2, 2, 3):
        await asyncio.wait_for(worker.offer(0, end, first), 1)
        await log.settle()
    assert done == [1, 2, 2]
    assert worker.applied == [(0, 2), (2, 3)]
    assert worker.released == 2


async def test_whose_claim_is_over_follows(stack: AsyncExitStack) -> None:
    """Stopped with a batch on its way and gone on with after another has claimed: its record is void for both."""
    log = Log()
    zombie, heir = Worker(log), Worker(log)
    start(stack, zombie, heir)
    zombie.ordering.lead({PLACE: 0}, {})
    await log.settle()
    for worker in (zombie, heir):
        await worker.offer(0, 2)
    await log.settle()
    heir.ordering.lead({PLACE: 0}, {})
    await log.settle(heir.ordering)  # the zombie reads nothing
    assert heir.ordering.leads
    assert zombie.ordering.leads
    zombie.ordering.follow()  # Kafka has told it, too, but the log has not yet
    await zombie.offer(2, 9)
    await heir.offer(2, 5)
    await log.settle()
    assert not zombie.ordering.leads
    assert zombie.ordering.void == heir.ordering.void == 1
    await heir.offer(5, 9)
    await log.settle()
    assert [(part.chunk.start, part.chunk.end) for part in heir.parts] == [(0, 2), (2, 5), (5, 9)]
    assert zombie.applied == heir.applied


async def test_who_is_still_to_lead_claims_again(stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim that came late ends a leader's; if it still has the role it takes it back, and what waits is ordered."""
    monkeypatch.setattr("millstream.agents.ordering._CLAIM_AGAIN_S", 0.01)
    log = Log()
    worker = Worker(log)
    start(stack, worker)
    worker.ordering.lead({PLACE: 0}, {})
    await log.settle()
    await log.append(Claim(2, "somebody"))
    await worker.offer(0, 2)
    await log.settle()
    await asyncio.sleep(0.05)
    await log.settle()
    assert [record.epoch for record in log.said if isinstance(record, Claim)] == [1, 2, 3]
    assert worker.ordering.leads
    assert worker.applied == [(0, 2)]


async def test_of_two_claims_at_once_the_first_in_the_log_counts(stack: AsyncExitStack) -> None:
    """Both believe they are to lead; the log says who does."""
    log = Log()
    workers = Worker(log), Worker(log)
    start(stack, *workers)
    for worker in workers:
        worker.ordering.lead({PLACE: 0}, {})
    await asyncio.sleep(0.01)
    assert [record.epoch for record in log.said] == [1, 1]
    for worker in workers:
        worker.ordering.follow()
    await log.settle()
    assert [worker.ordering.leads for worker in workers] == [True, False]


async def test_what_is_no_record_is_passed_over(stack: AsyncExitStack) -> None:
    """Somebody wrote into the topic by hand: the order goes on."""
    log = Log()
    worker = Worker(log)
    start(stack, worker)
    log.records.append(b"hello")
    worker.ordering.lead({PLACE: 0}, {})
    await log.settle()
    await worker.offer(0, 1)
    await log.settle()
    assert worker.applied == [(0, 1)]
    assert not worker.errors


async def test_another_pipelines_order_is_refused_with_the_remedy() -> None:
    """Two pipelines by mistake on one topic: nobody waits for events that never come."""
    log = Log()
    worker = Worker(log)
    log.records += [encode_order(Claim(1, "x")), encode_order(Order(1, "x", (Run("views", 0, 0, 3, 1),)))]
    await log.settle()
    (error,) = worker.errors
    assert isinstance(error, OthersOrder)
    assert "events of topic views, which is no input here" in str(error)
    assert "MILLSTREAM_TOPICS__MODEL_LOG" in str(error)


async def test_a_log_that_is_another_one_now_is_followed_from_its_beginning(stack: AsyncExitStack) -> None:
    """Deleted and created again: the state goes on from where it stands, and nothing of it is applied once more."""
    log = Log()
    worker = Worker(log)
    worker.order_position = OrderPosition(70, 6, "before")
    worker.ordering.begin(worker.order_position, {PLACE: 40})
    worker.ordering.begin_anew()
    assert worker.order_position == OrderPosition()
    start(stack, worker)
    worker.ordering.lead({PLACE: 40}, {})
    await log.settle()
    await worker.offer(40, 43)
    await log.settle()
    assert worker.applied == [(40, 43)]


@pytest.mark.parametrize("leads", [True, False])
async def test_a_stop_applies_what_is_in_the_log_and_releases_the_rest(stack: AsyncExitStack, leads: bool) -> None:
    """Whoever waits until all that was read is done with does not wait for what nobody will order."""
    log = Log()
    worker = Worker(log)
    start(stack, worker)
    if leads:
        worker.ordering.lead({PLACE: 0}, {})
        await log.settle()
    await worker.offer(0, 3)
    await asyncio.sleep(0.01)
    worker.ordering._cut += 1
    worker.ordering.stop()
    worker.ordering.offer([Reading(chunk(3, 8), 5)])
    await log.settle()
    assert worker.applied == ([(0, 3)] if leads else [])
    assert worker.released == (5 if leads else 8)


async def test_who_leads_waits_for_more_to_come_while_others_are_behind(stack: AsyncExitStack) -> None:
    """Before each batch, and half as long between two reads; who follows does neither for their sake."""
    log = Log()
    leader, follower = Worker(log), Worker(log)
    start(stack, leader, follower)
    leader.ordering.lead({PLACE: 0}, {})
    await log.settle()
    assert (leader.ordering.pause_s, follower.ordering.pause_s) == (0, 0)
    for worker in (leader, follower):
        worker.effort.pause_s = 0.1
    assert (leader.ordering.pause_s, follower.ordering.pause_s) == (0.05, 0)
    began_s = time.monotonic()
    await follower.ordering.room()
    assert time.monotonic() - began_s < 0.1
    await leader.ordering.room()
    assert time.monotonic() - began_s >= 0.1


async def test_who_follows_reads_no_more_while_much_waits(stack: AsyncExitStack) -> None:
    """For half of what waits, at most half of the longest pause; when it stops, not at all."""
    worker = Worker(Log())
    pauses = {}
    for worker.behind in (0.0, 0.02, 0.03, 0.1, 10.0):
        pauses[worker.behind] = worker.ordering.pause_s
    assert pauses == {0.0: 0.0, 0.02: 0.0, 0.03: 0.015, 0.1: 0.05, 10.0: 0.05}
    worker.ordering.stop()
    assert worker.ordering.pause_s == 0
