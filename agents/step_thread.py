"""The thread that owns the step: batches go in, finished slices come out, and nobody else touches the state.

The event loop hands over a batch, parts of the order that everybody follows; the thread applies it in slices of
`slice_ms`, longer ones when it is behind, so that a slice's lists go out while the next slice is computed, and so that
snapshots and questions get their turn between two slices. A batch that is shorter goes out as one slice: a hand-over
between the threads costs both of them. Where a chunk is cut changes neither the state nor the lists (the step's own
promise). A user's list is made once a part, after the user's last event in it: a part is what was waiting, so
refreshes coalesce exactly when the stream is fast.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from millstream.online_learning.order import OrderPosition, Part
from millstream.schemas.columns import Chunk
from millstream.schemas.slates import EncodedSlate

from .effort import FULL
from .recent import Recent
from .slices import Rest, Slice, SliceDone

T = TypeVar("T")

_SWITCH_S = 0.0005
"""How long the thread waits for the interpreter after each kernel while others are busy with it; as Python has it, it
would be 5 ms, half a slice."""
_FIRST_SLICE_EVENTS = 8
_SMOOTHING = 0.3
STALENESS_WINDOW_S = 10.0
"""Over how long staleness is measured."""
_LONGER_WHEN_BEHIND = 4
"""Slices are so many times longer while not every event trains, or much waits: that is then longer than a slice
anyway, and each hand-over between the threads costs both of them."""
_MUCH_S = 1.0


class AppliedLike(Protocol):
    """What a step says of one slice."""

    @property
    def input(self) -> str:
        """Topic."""

    @property
    def partition(self) -> int:
        """Partition."""

    @property
    def start(self) -> int:
        """First offset applied; the end, where all of the slice had been applied before."""

    @property
    def end(self) -> int:
        """Next offset after the slice."""

    @property
    def events(self) -> int:
        """Events learned, none if the slice was stale."""

    @property
    def seq(self) -> int:
        """Number of its last event."""

    def encoded(self, generated_ts_ms: int) -> list[EncodedSlate]:
        """Return the refreshed lists."""


class StepLike(Protocol):
    """What the thread needs of a step; everything else goes through `StepThread.call`."""

    def apply(self, chunk: Chunk, *, lists: bool | NDArray[np.bool_], train_every: int) -> AppliedLike:
        """Learn a chunk and make the lists of the users of the events marked in `lists`; False: none."""


S = TypeVar("S", bound=StepLike)


class StepStopped(RuntimeError):
    """The thread has ended, or ended with an error of the step: nothing more can be learned or asked."""


@dataclass(frozen=True, slots=True)
class _Replacement(Generic[S]):
    make: Callable[[S], S]
    after: OrderPosition
    made: Callable[[S, S], None]


@dataclass(slots=True)
class _Call(Generic[S]):
    ask: Callable[[S], Any]
    answer: asyncio.Future[Any]


class StepThread(Generic[S]):
    """Sole owner of a step between `start` and `stop`.

    Batches are applied in the order submitted, their chunks one after another; what was done is handed to `done` on the
    event loop in that order, and the answer of a `call` after what came before it. An exception of the step ends the
    thread and goes to `failed`: the state may be half changed, so nothing is asked of it any more.

    `clock_s` only chooses how many events make a slice.
    """

    def __init__(
        self,
        *,
        slice_ms: float,
        done: Callable[[SliceDone], None],
        failed: Callable[[BaseException], None],
        took: Callable[[], None] = lambda: None,
        clock_s: Callable[[], float] = time.perf_counter,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._slice_s = slice_ms / 1000
        self._done = done
        self._failed = failed
        self._took = took
        self.order_position = OrderPosition()
        """Where in the order the state stands; ask from within a `call`."""
        self.listed: frozenset[int] | None = None
        """Partitions whose users' lists are made, None: all; set it from within a `call`."""
        self.staleness_ms = Recent(STALENESS_WINDOW_S)
        """From a part's record in the log to its last event applied, of the last seconds' parts."""
        self.train_every = FULL
        """The effort of the last part."""
        self._clock_s = clock_s
        self._now_ms = now_ms
        self._batches: deque[Sequence[Part] | _Replacement[S]] = deque()
        self._calls: deque[_Call[S]] = deque()
        self._wake = threading.Condition()
        self._ending = False
        self._abandoned = False
        self._ended = False
        self._applying = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._event_s: float | None = None
        self._left = 0

    @property
    def is_idle(self) -> bool:
        """Whether everything submitted is applied."""
        with self._wake:
            return not self._batches and not self._applying

    @property
    def queued(self) -> int:
        """Batches that wait for the thread."""
        return len(self._batches)

    def start(self, step: S, order_position: OrderPosition = OrderPosition()) -> None:  # noqa: B008 - immutable
        """Hand the step over to the thread. Call on the event loop that is to hear of what it does.

        From now on all threads of this process let go of the interpreter sooner than Python has them do.
        """
        sys.setswitchinterval(_SWITCH_S)
        self.order_position = order_position
        self._loop = asyncio.get_running_loop()
        # a daemon: a slice that never ends must not keep a worker alive that was told to stop
        self._thread = threading.Thread(target=self._run, args=(step,), name="millstream-step", daemon=True)
        self._thread.start()

    def submit(self, batch: Sequence[Part]) -> None:
        """Queue a batch. Raises `StepStopped`, also before `start`. After `abandon` the batch is dropped."""
        with self._wake:
            if not self._abandoned:
                self._refuse_if_ended()
                self._batches.append(batch)
                self._wake.notify()

    def replace(self, make: Callable[[S], S], after: OrderPosition, made: Callable[[S, S], None]) -> None:
        """Go on with `make(step)` once what is queued is applied; the state then stands at `after` in the order.

        `made` hears of the step there was and the one there is, on the event loop, before of anything the latter does.
        What `make` raises ends the thread.
        """
        with self._wake:
            if not self._abandoned:
                self._refuse_if_ended()
                self._batches.append(_Replacement(make, after, made))
                self._wake.notify()

    def waiting_s(self, events: int) -> float:
        """Return how long what is queued, and so many events more, would take at the present pace."""
        with self._wake:
            batches = [batch for batch in self._batches if not isinstance(batch, _Replacement)]
            events += sum(len(part.chunk) for batch in batches for part in batch)
        return events * (self._event_s or 0.0)

    def behind_s(self, events: int) -> float:
        """Return the same with what is left of the batch under way."""
        return self.waiting_s(events + self._left)

    async def call(self, ask: Callable[[S], T]) -> T:
        """Return `ask(step)`, run on the thread between two slices; what it raises is raised here.

        `ask` must only read, or leave the step whole when it raises. Raises `StepStopped`.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._wake:
            self._refuse_if_ended()
            self._calls.append(_Call(ask, answer))
            self._wake.notify()
        return await answer

    def abandon(self) -> None:
        """Drop what is queued, after the slice under way: it stays in the log, behind the position of no snapshot."""
        with self._wake:
            self._abandoned = True
            self._batches.clear()

    async def stop(self, within_s: float | None = None) -> None:
        """Apply what is queued, answer what was asked, end the thread. After a failure it is ended already.

        After `within_s` it is left alone, as a daemon: a slice or a compilation under way cannot be broken off.
        """
        with self._wake:
            self._ending = True
            self._wake.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, within_s)

    def _refuse_if_ended(self) -> None:
        if self._thread is None or self._ending or self._ended:
            raise StepStopped("the step's thread has ended; restart the worker, it goes on from its snapshot")

    def _run(self, step: S) -> None:
        error: BaseException = StepStopped("the step's thread has ended")
        try:
            while (batch := self._next(step)) is not None:
                self._post(self._took)
                if isinstance(batch, _Replacement):
                    before, step = step, batch.make(step)
                    self.order_position = batch.after
                    self._post(batch.made, before, step)
                else:
                    self._apply(step, batch)
        # not swallowed: whatever ended the thread is the loop's to report and to act on
        except BaseException as raised:
            error = raised
            self._post(self._failed, raised)
        with self._wake:
            self._ended = True
            unanswered, self._calls = self._calls, deque()
        for call in unanswered:
            self._post(_refuse, call.answer, StepStopped(f"the step's thread has ended: {error}"))
        self._post(self._took)

    def _next(self, step: S) -> Sequence[Part] | _Replacement[S] | None:
        """Answer calls until a batch is there; None once told to end and nothing is left."""
        while True:
            self._answer_calls(step)
            with self._wake:
                if self._calls:
                    continue
                self._applying = bool(self._batches)
                if self._batches:
                    return self._batches.popleft()
                if self._ending:
                    return None
                self._wake.wait()

    def _apply(self, step: S, batch: Sequence[Part]) -> None:
        self._left = sum(len(part.chunk) for part in batch)
        slice_ = self._slice(batch[0].train_every)
        for part in batch:
            self.train_every = part.train_every
            rest: Rest | None = Rest(*part)
            while rest is not None and not self._abandoned:
                # a call between two slices may have changed it, and counts on it from the next event on
                run, rest = rest.listed(self._is_listed(rest.chunk)).split(slice_.room)
                self._learn(step, run, slice_, is_last=rest is None)
                if rest is None:
                    self.order_position = run.after
                    self.staleness_ms.add(self._now_ms() - run.ordered_ms)
                if slice_.room == 0:
                    self._hand_over(slice_)
                    self._answer_calls(step)
                    slice_ = self._slice(part.train_every)
        self._hand_over(slice_)
        self._left = 0

    def _is_listed(self, chunk: Chunk) -> bool:
        return self.listed is None or chunk.partition in self.listed

    def _learn(self, step: S, run: Rest, slice_: Slice, *, is_last: bool) -> None:
        lists = False if run.lists is None else run.lists
        applied = step.apply(run.chunk, lists=lists, train_every=run.train_every)
        slates = applied.encoded(self._now_ms())
        # a user's list is made after their last event of the part, which may be in a later slice
        listed_to = applied.seq if is_last and run.lists is not None else 0
        slice_.done.append(
            SliceDone(applied.input, applied.partition, applied.end, applied.events, run.records, slates, listed_to)
        )
        self._left -= len(run.chunk)
        slice_.room = max(0, slice_.room - max(1, len(run.chunk)))

    def _hand_over(self, slice_: Slice) -> None:
        if not slice_.done:
            return
        self._learn_pace(sum(done.events for done in slice_.done), self._clock_s() - slice_.began_s)
        self._post(self._tell, slice_.done)

    def _tell(self, slices: list[SliceDone]) -> None:
        for done in slices:
            self._done(done)

    def _slice(self, train_every: int) -> Slice:
        """Return an empty slice with room for as many events as fit into `slice_ms` at the present pace."""
        events = _FIRST_SLICE_EVENTS
        if self._event_s is not None:
            is_behind = train_every != FULL or self.behind_s(0) > _MUCH_S
            longer = _LONGER_WHEN_BEHIND if is_behind else 1
            events = max(1, int(longer * self._slice_s / self._event_s))
        return Slice(events, self._clock_s())

    def _learn_pace(self, events: int, took_s: float) -> None:
        if events == 0:
            return
        event_s = max(took_s / events, 1e-9)
        # the first slice loads kernels and says nothing about the next one, but a later outlier is damped
        known = self._event_s
        self._event_s = event_s if known is None else known + _SMOOTHING * (event_s - known)

    def _answer_calls(self, step: S) -> None:
        while True:
            with self._wake:
                if not self._calls:
                    return
                call = self._calls.popleft()
            try:
                answer = call.ask(step)
            except Exception as error:  # the asker's to handle: asking leaves the step whole
                self._post(_refuse, call.answer, error)
            else:
                self._post(_answer, call.answer, answer)

    def _post(self, tell: Callable[..., object], *what: object) -> None:
        loop = self._loop
        # a loop that has closed has nobody left to tell
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(tell, *what)


def _answer(future: asyncio.Future[Any], answer: object) -> None:
    if not future.done():
        future.set_result(answer)


def _refuse(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
