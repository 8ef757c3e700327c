"""The order of events: proposed by the worker that leads, followed by every worker, that one included.

Chunks come in from the source, decoded; they wait here until a record of the order says that their events are next.
The leader writes those records: what waits is put into one, and comes back through the log like everybody's. So nothing
is applied that is not safe in the log, and a leader whose claim is over finds its records void instead of a state that
went astray: it just follows. Why it is done so: `docs/decisions/0022-everybody-follows-the-log.md`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec

from millstream.online_learning.order import FollowedOrder, OrderPosition, Part, Place, Swapped
from millstream.schemas.columns import Chunk
from millstream.schemas.order_records import Claim, Order, OrderRecord, Run, decode_order
from millstream.streams.errors import Unavailable
from millstream.streams.model_log import Written

from .effort import LONGEST_PAUSE_S, OTHERS_LITTLE_S, Effort

_MOST_AHEAD = 1
"""Batches on their way through the log or queued for the thread: what comes meanwhile makes the next one."""
_CLAIM_AGAIN_S = 0.5

_log = logging.getLogger(__name__)


class Log(Protocol):
    """Where records are appended: `ModelLog`."""

    topic: str

    async def append(self, record: OrderRecord) -> None:
        """Return when the record stands in the log."""


class OthersOrder(Unavailable):
    """The order is of topics that are no inputs of ours; the message names one, and the remedy."""


class Learner(Protocol):
    """What applies: `StepThread`."""

    order_position: OrderPosition
    """Where in the order its state stands."""

    @property
    def queued(self) -> int:
        """Batches that wait."""

    def submit(self, batch: Sequence[Part]) -> None:
        """Queue a batch."""

    def waiting_s(self, events: int) -> float:
        """Return how long what is queued, and so many events more, would take."""

    def behind_s(self, events: int) -> float:
        """Return the same with what is left of the batch under way."""


class Reading(NamedTuple):
    """A chunk, how many records it was read as, and what its leader does before it is ordered."""

    chunk: Chunk
    records: int
    first: Callable[[], Awaitable[None]] | None = None
    """Dead letters of rejected records, say; only what may be done twice."""


@dataclass(slots=True, eq=False)
class _Unordered:
    chunk: Chunk | None
    """None: all of it was offered before, so only `first` is to be done."""
    records: int
    first: Callable[[], Awaitable[None]] | None
    proposed: bool = False


class Ordering:
    """Puts what is offered into the log while it leads, and hands to the thread what the log says. One event loop.

    Guarantee: every worker that follows the log from the same state applies the same events in the same order with the
    same effort. Every record of the inputs from where the order begins is in exactly one run that counts.
    """

    def __init__(
        self,
        log: Log,
        learner: Learner,
        effort: Effort,
        *,
        release: Callable[[int], None],
        failed: Callable[[BaseException], None],
        most_events: int,
        topics: Collection[str],
        swap: Callable[[Swapped], None],
    ) -> None:
        self.topic = log.topic
        self.writer = secrets.token_hex(6)
        """Who we are in the log: another one each start."""
        self.leads = False
        """Whether the claim that stands last is ours."""
        self.void = 0
        """Records read that did not count: of an epoch that was over, or not the next one."""
        self._log = log
        self._learner = learner
        self._effort = effort
        self._release = release
        self._failed = failed
        self._most_events = most_events
        self._topics = frozenset(topics)
        self._swap = swap
        self._order = FollowedOrder(OrderPosition(), {})
        self._unordered: list[_Unordered] = []
        self._cut = 0
        self._in_log = 0
        self._claim: Claim | None = None
        self._stopping = False
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()

    @property
    def next_record(self) -> int:
        """Offset of the first record that was not read yet."""
        return self._order.position.offset

    @property
    def needed(self) -> Place | None:
        """The place whose records have to be read before anything else can be applied."""
        return self._order.needed

    @property
    def taken(self) -> int:
        """Offset of the first record that is not whole with the thread."""
        return self._order.taken

    @property
    def held(self) -> str | None:
        """The switch to another model that everything waits for."""
        return self._order.held

    @property
    def ahead(self) -> int:
        """Offsets that are ordered and not with the thread."""
        return self._order.ahead

    @property
    def pause_s(self) -> float:
        """How long there is no use in reading more: while a batch waits for more to come, or much waits here."""
        if self._stopping:
            return 0.0
        if self.leads:
            return self._effort.pause_s / 2
        behind_s = self._learner.behind_s(self.ahead)
        return min(LONGEST_PAUSE_S, behind_s) / 2 if behind_s > OTHERS_LITTLE_S else 0.0

    @property
    def begun(self) -> Mapping[Place, int]:
        """Where places begin, as far as the state or the order says."""
        return self._order.begun

    @property
    def topic_ids(self) -> Mapping[str, str]:
        """The broker's UUIDs of the topics that the order is of."""
        return self._order.topic_ids

    def begin(self, position: OrderPosition, positions: Mapping[Place, int]) -> None:
        """Follow the order from where a state stands in it."""
        self._order = FollowedOrder(position, positions)

    def begin_anew(self) -> None:
        """Follow another log from its beginning, with the same state."""
        if self.next_record:
            _log.warning(
                "topic %s is not the one that the snapshot was taken beside: going on from the snapshot; nothing is "
                "lost or counted twice, but what came after it may be learned in another order than before",
                self.topic,
            )
        self._order = FollowedOrder(OrderPosition(), self._order.begun)
        self._learner.order_position = self._order.position

    def lead(self, positions: Mapping[Place, int], topic_ids: Mapping[str, str]) -> None:
        """Claim the log, again and again while another has; `positions` say where places begin that are new in it."""
        self._claim = Claim(
            0, self.writer, tuple((*place, offset) for place, offset in positions.items()), dict(topic_ids)
        )
        self._wake.set()

    def follow(self) -> None:
        """Claim no more; what is led now, until somebody else claims."""
        self._claim = None

    async def room(self) -> None:
        """Wait until a batch may be cut: for who leads, when its thread has taken the one before and others keep up."""
        while self.leads and not self._stopping and self._ahead() >= _MOST_AHEAD:
            self._moved.clear()
            await self._moved.wait()
        if self.leads and not self._stopping and self._effort.pause_s > 0:
            await asyncio.sleep(self._effort.pause_s)
        self._cut += 1

    def _ahead(self) -> int:
        unproposed = any(not waiting.proposed for waiting in self._unordered)
        return self._cut + unproposed + self._in_log + self._learner.queued

    def moved(self) -> None:
        """Say that the thread has taken a batch."""
        self._moved.set()

    def offer(self, readings: Sequence[Reading]) -> None:
        """Take in a batch that was cut; it is applied when its records come."""
        self._cut -= 1
        if self._stopping:
            self._release(sum(reading.records for reading in readings))
            return
        for chunk, records, first in readings:
            new = self._order.offer(chunk, records)
            if new is None and first is None:
                self._release(records)
            else:
                self._unordered.append(_Unordered(new, records, first))
        self._wake.set()
        self._dispatch()

    def read(self, records: Sequence[Written]) -> None:
        """Take in what the log has next, and hand over what can be applied. Errors are reported."""
        try:
            for record in records:
                if not self._stopping or self.leads:
                    self._read(record)
            self._dispatch()
        except Exception as error:
            self._failed(error)

    def stop(self) -> None:
        """Propose no more, and follow nobody else; what was proposed is still read back and applied.

        Everything else that waits is released.
        """
        self._stopping = True
        self._moved.set()
        proposed = [waiting for waiting in self._unordered if waiting.proposed]
        self._release(self._order.waiting - sum(waiting.records for waiting in proposed))
        self._release(sum(waiting.records for waiting in self._unordered if waiting.chunk is None))
        self._unordered = proposed

    async def run(self) -> None:
        """Claim and propose until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._claim is not None and not self.leads:
                await self._claim_it(self._claim)
            while self.leads and (batch := self._to_propose()):
                await self._propose(batch)

    async def _claim_it(self, claim: Claim) -> None:
        epoch = self._order.position.epoch + 1
        merged = {(topic, partition): offset for topic, partition, offset in claim.positions} | self._order.ordered
        positions = tuple((*place, offset) for place, offset in merged.items())
        await self._log.append(msgspec.structs.replace(claim, epoch=epoch, positions=positions))
        while self._order.position.epoch < epoch:
            self._moved.clear()
            await self._moved.wait()
        if not self.leads:
            await asyncio.sleep(_CLAIM_AGAIN_S)
            self._wake.set()

    def _to_propose(self) -> list[_Unordered]:
        batch: list[_Unordered] = []
        events = 0
        for waiting in self._unordered:
            if events >= self._most_events or self._stopping:
                break
            if not waiting.proposed:
                batch.append(waiting)
                events += 0 if waiting.chunk is None else len(waiting.chunk)
        return batch

    async def _propose(self, batch: Sequence[_Unordered]) -> None:
        for waiting in batch:
            if waiting.first is not None:
                await waiting.first()
                waiting.first = None
        for done in [waiting for waiting in batch if waiting.chunk is None]:
            self._unordered.remove(done)
            self._release(done.records)
            self._moved.set()
        runs = self._runs(batch) if self.leads and not self._stopping else ()
        if runs:
            self._in_log += 1
            await self._log.append(Order(self._order.position.epoch, self.writer, runs))

    def _runs(self, batch: Sequence[_Unordered]) -> tuple[Run, ...]:
        """Return the runs of what has no record yet, marked as proposed."""
        train_every = self._effort.choose(self._learner.waiting_s(self._proposed_events(batch)))
        runs = []
        for waiting in batch:
            if waiting.chunk is not None and waiting in self._unordered:
                chunk = waiting.chunk
                start = max(chunk.start, self._order.ordered.get((chunk.input, chunk.partition), 0))
                runs.append(Run(chunk.input, chunk.partition, start, chunk.end, train_every))
                waiting.proposed = True
        return tuple(runs)

    def _proposed_events(self, batch: Sequence[_Unordered]) -> int:
        proposed = [waiting for waiting in self._unordered if waiting.proposed]
        return sum(len(waiting.chunk) for waiting in (*proposed, *batch) if waiting.chunk is not None)

    def _read(self, written: Written) -> None:
        try:
            record = decode_order(written.value or b"")
        except msgspec.MsgspecError as error:
            _log.error("%s at offset %d is no record of the order, passed over: %s", self.topic, written.offset, error)
            self._order.skip(written.offset)
            return
        counts = self._order.read(written.offset, record, written.written_ms)
        if isinstance(record, Order):
            for other in {run.input for run in record.runs if counts} - self._topics:
                raise OthersOrder(
                    f"{self.topic} at offset {written.offset} orders events of topic {other}, which is no input here: "
                    f"put it back into the inputs, or, if {self.topic} is another pipeline's, name a topic of this "
                    "one's own in MILLSTREAM_TOPICS__MODEL_LOG"
                )
            if record.writer == self.writer:
                self._in_log = max(0, self._in_log - 1)
            if counts:
                self._unordered = [waiting for waiting in self._unordered if not self._is_ordered(waiting)]
        elif counts and isinstance(record, Claim):
            self._led_by(record)
        self.void += not counts
        self._moved.set()

    def _led_by(self, claim: Claim) -> None:
        led, self.leads = self.leads, claim.writer == self.writer
        if self.leads:
            _log.info("this worker decides the order now (epoch %d)", claim.epoch)
        elif led:
            _log.info("another worker decides the order now (epoch %d); this one follows", claim.epoch)
        # what an older claim of ours proposed and is not ordered yet is void
        self._in_log = 0
        for waiting in self._unordered:
            waiting.proposed = False
        self._wake.set()

    def _is_ordered(self, waiting: _Unordered) -> bool:
        chunk = waiting.chunk
        return chunk is not None and chunk.end <= self._order.ordered.get((chunk.input, chunk.partition), 0)

    def _dispatch(self) -> None:
        while True:
            if parts := list(self._order.take()):
                self._learner.submit(parts)
            swapped = self._order.swapped()
            if swapped is None:
                return
            self._swap(swapped)
