"""The learner's formulas over a raw log in plain Python: slow, plain to see, and without a line of what they check.

Rows are those of the step that learned the log; `seq` counts its events from 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from logs import SMALL, chunk_of, random_log

from millstream.online_learning.blend import gap_context, history_context
from millstream.online_learning.ranking import bench, rank
from millstream.online_learning.shortlist import FULL
from millstream.online_learning.signals import NAMES
from millstream.online_learning.step import Step
from millstream.schemas.columns import InteractionColumns, catalogue_chunk
from millstream.schemas.records import Item

LATER_MS = (0, 10_000, 7_200_000, 3 * 86_400_000)
SESSION_GAP_MS = 30 * 60_000


@dataclass(frozen=True)
class Event:
    seq: int
    user: int
    item: int
    ts_ms: int


@dataclass
class Own:
    """An item of a user's history, while it is there: when it was last chosen, how long after the time before each."""

    item: int
    at_ms: int = 0
    gaps_s: list[float] = field(default_factory=list)
    times: int = 0
    this_session: int = 0

    def choose(self, ts_ms: int) -> None:
        if self.times:
            self.gaps_s.append((ts_ms - self.at_ms) / 1_000)
        self.at_ms = ts_ms
        self.times += 1
        self.this_session += 1


@dataclass
class Past:
    """What the log says of one user before some event."""

    own: list[Own] = field(default_factory=list)
    """Newest first."""
    events: int = 0

    def choose(self, item: int, ts_ms: int, length: int) -> None:
        if self.own and ts_ms - self.own[0].at_ms > SESSION_GAP_MS:
            for each in self.own:
                each.this_session = 0
        mine = next((each for each in self.own if each.item == item), Own(item))
        mine.choose(ts_ms)
        for each in self.own[:1]:
            if each is not mine:
                each.at_ms -= each.at_ms % 1_000  # beyond the newest, a history knows whole seconds
        self.own = [mine, *(each for each in self.own if each is not mine)][:length]
        self.events += 1


def events_of(columns: InteractionColumns, step: Step) -> list[Event]:
    users, items = step.users.rows(columns.user_ids).tolist(), step.items.rows(columns.item_ids).tolist()
    rows = enumerate(zip(users, items, columns.ts_ms.tolist(), strict=True), start=1)
    return [Event(seq, user, item, ts_ms) for seq, (user, item, ts_ms) in rows]


def past_of(log: list[Event], user: int, length: int = SMALL.history_length) -> Past:
    past = Past()
    for event in log:
        if event.user == user:
            past.choose(event.item, event.ts_ms, length)
    return past


@dataclass
class World:
    """A step that has learned `log`, with a catalogue; nothing changes it afterwards."""

    step: Step
    log: list[Event]

    def pasts(self) -> list[Past]:
        return [past_of(self.log, user) for user in range(len(self.step.users))]

    def signals(self, user: int, now_ms: int) -> dict[int, dict[str, float]]:
        return signals_of(self.step, user, now_ms)

    def check(self, names: list[str], expected: Callable[[int, int, int], list[float]], tolerance: float) -> None:
        """Hold the signals `names` of every user and item, as of several moments, to `expected(user, item, now_ms)`."""
        for user in range(len(self.step.users)):
            now_ms = self.step.last_ms + LATER_MS[user % len(LATER_MS)]
            described = self.signals(user, now_ms)
            assert len(described) > 40
            for item, signals in described.items():
                values = [signals[name] for name in names]
                wanted = expected(user, item, now_ms)
                assert np.allclose(values, wanted, rtol=1e-3, atol=tolerance), (user, item, names, values, wanted)


def world(events: int = 1_500, *, users: int = 25, items: int = 60, seed: int = 7) -> World:
    """Few items, so that all are on every shortlist; a third of them without a category."""
    step = Step(SMALL)
    columns = random_log(events, users=users, items=items, seed=seed)
    step.apply(catalogue_chunk(Item(item_id=f"i{n}", categories=categories_of(n)) for n in range(items)))
    step.apply(chunk_of(columns), lists=False)
    return World(step, events_of(columns, step))


def categories_of(n: int) -> list[str]:
    """The categories of item `i…n` in the catalogue, none to three."""
    return [f"c{n % 7}", f"d{n % 5}", f"e{n % 2}"][: (0, 1, 2, 3, 1, 0)[n % 6]]


def signals_of(step: Step, user: int, now_ms: int, *, seq: int | None = None) -> dict[int, dict[str, float]]:
    """By item row, each signal by name, for a user as of `now_ms`; all of them and the scores finite."""
    b = bench(step.config)
    events = int(step.model.histories.events[user])
    gap = gap_context(events, now_ms - int(step.model.histories.last_ms[user]))
    exclude = step.config.exclude_consumed
    at = step.seq if seq is None else seq
    n = rank(step.model, b, np.int32(user), now_ms, at, history_context(events), gap, exclude, FULL)
    out = b.signals[:, :n].T
    assert np.isfinite(out).all()
    assert np.isfinite(b.scores[:n]).all()
    return {
        item: dict(zip(NAMES, row, strict=True))
        for item, row in zip(b.scratch.items[:n].tolist(), out.tolist(), strict=True)
    }


def share_signal(share: float, by: float = 1e4) -> float:
    return float(np.log1p(by * share))
