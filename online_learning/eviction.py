"""Eviction: when rows run short, what was used longest ago is forgotten, and its rows go to new ids.

Everything happens between two events, at events whose number is a multiple of `period`, and follows from the state
alone: never from a clock, nor from where chunks are cut. Users and items take turns. A vocabulary in which a sixteenth
of the rows is free is left alone. Below that a round begins, which forgets as many ids as that is:

1. It says how old is old, from a sample of the rows: of users, the time of their last choice; of items, the event at
   which their count of half-life 5,000 events is down to 1 (under smaller caps: of the longest half-life that is no
   more events than the cap has items), so that use counts as well as age. Who never chose, or was never chosen, goes
   first; equals go by row.
2. A part each time, it goes through the rows and forgets what is as old: the id, and all that the tables hold in that
   row. The row is in limbo then (`limbo`).
3. Part by part it goes through all that may still refer to such a row, and takes it out: histories, edges, rings of
   users, consumed and dismissed items. Short lists and the open block of the interest vectors were mended in 2.
4. The rows are free. So a new id inherits nothing.

In between no new reference is made: a user's history loses its items in limbo before the user's next event. An id that
comes back before the end of a round is a new one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .config import LearningConfig
from .digest import hash_128
from .popularity import NEVER
from .vocabulary import Vocabulary

RESERVE = 16
"""A round begins when fewer than one row in so many is free."""
SAMPLED = 4_096
"""Rows at least by which a round says how old is old; all, where there are fewer."""
_MOST_PERIOD = 128


def cap_for(ids: int) -> int:
    """Return the least cap at which so many ids stay for good."""
    return math.ceil(ids * RESERVE / (RESERVE - 1))


def period(config: LearningConfig) -> int:
    """Return the events from one turn to the next: a 128th of the smaller cap, 1 to 128."""
    return min(_MOST_PERIOD, max(1, min(config.max_users, config.max_items) // 128))


@dataclass(slots=True)
class Round:
    """How far a round is."""

    part: int
    """Parts done, of those that collect and then of those that sweep."""
    old: float
    """What was last used then, or before, is forgotten."""
    wanted: int
    """How many more are to be."""


class Turnover(ABC):
    """The rounds of one vocabulary. Part of the state."""

    COLLECTING: ClassVar[int]
    """Parts in which the rows are gone through for what to forget."""
    SWEEPING: ClassVar[int]
    """Parts in which all that may refer to it is."""

    def __init__(self, vocabulary: Vocabulary, arena: Arena) -> None:
        self.vocabulary = vocabulary
        self.round: Round | None = None
        self._arena = arena
        self._reserve = max(1, vocabulary.capacity // RESERVE)

    def is_idle_for(self, events: int) -> bool:
        """Tell whether no turn can fall due while so many events come, each of which may bring a new id."""
        return self.round is None and self.vocabulary.free - events >= self._reserve

    def turn(self, seq: int) -> None:
        """Do the next part of the round, if there is one or one has to begin; `seq` events have come."""
        if self.round is None:
            if self.vocabulary.free >= self._reserve:
                return
            self.round = Round(0, self._old(), self._reserve)
        if self.round.part < self.COLLECTING:
            first, last = share(self.vocabulary, self.round.part, self.COLLECTING)
            old = self.vocabulary.is_held[first:last] & (self.last_use(slice(first, last)) <= self.round.old)
            rows = first + np.flatnonzero(old)[: self.round.wanted]
            if len(rows):
                self.round.wanted -= len(rows)
                self.forget(rows, seq)
        else:
            self.sweep(self.round.part - self.COLLECTING, seq)
        self.round.part += 1
        in_vain = self.round.part == self.COLLECTING and not len(self.vocabulary.limbo)
        if in_vain or self.round.part == self.COLLECTING + self.SWEEPING:
            self.release()
            self.round = None

    def restore(self, ids: Iterable[str], saved: dict[str, Any]) -> None:
        """Go on with the ids by row and the round of another; `saved` is empty where none was under way."""
        limbo = saved.get("limbo", ())
        self.vocabulary.restore(list(ids), limbo)
        self.round = Round(**saved["round"]) if saved else None
        self.mark(self.vocabulary.limbo, True)

    def saved(self) -> dict[str, Any]:
        """Return what `restore` takes beside the ids, JSON-able."""
        return {} if self.round is None else {"round": asdict(self.round), "limbo": self.vocabulary.limbo.tolist()}

    def forget(self, rows: NDArray[np.int64], seq: int) -> None:
        """Forget the ids of `rows` and clear them in every table of this vocabulary."""
        self._arena.clear(self.vocabulary.name, rows)
        self.vocabulary.forget(rows)
        self.mark(rows, True)

    def release(self) -> None:
        """Make the rows in limbo free."""
        self.mark(self.vocabulary.limbo, False)
        self.vocabulary.release()

    @abstractmethod
    def last_use(self, rows: slice) -> NDArray[np.float64]:
        """Return when each of `rows` was last used, on a scale of its own; `NEVER` for one that was not."""

    @abstractmethod
    def sweep(self, part: int, seq: int) -> None:
        """Take rows in limbo out of one part of SWEEPING of all that may refer to them."""

    @abstractmethod
    def mark(self, rows: NDArray[np.int64], in_limbo: bool) -> None:
        """Say of `rows` whether they are in limbo, where compiled code reads it."""

    def _old(self) -> float:
        """Return what is so old that about as many rows as are wanted were last used then, or before."""
        rows = slice(0, len(self.vocabulary), max(1, len(self.vocabulary) // SAMPLED))
        used = np.sort(self.last_use(rows)[self.vocabulary.is_held[rows]])
        held = self.vocabulary.capacity - self.vocabulary.free
        return float(used[math.ceil(len(used) * min(self._reserve, held) / held) - 1]) if len(used) else NEVER


def share(vocabulary: Vocabulary, part: int, parts: int) -> tuple[int, int]:
    """Return the first row of one of `parts` parts of a vocabulary, and the one after the last.

    Parts are of the capacity, so that none shifts as ids come; rows never given hold nothing and are left out.
    """
    first, last = share_of(vocabulary.capacity, part, parts)
    return min(first, len(vocabulary)), min(last, len(vocabulary))


def share_of(rows: int, part: int, parts: int) -> tuple[int, int]:
    """Return the first of `rows` rows that are one of `parts` parts, and the one after the last."""
    return rows * part // parts, rows * (part + 1) // parts


class Eviction:
    """The vocabularies' rounds, which take turns. The step asks it how far it may go, and calls it there."""

    def __init__(self, turnovers: Iterable[Turnover], period: int) -> None:
        self._turnovers = tuple(turnovers)
        self._period = period

    def room(self, seq: int, events: int) -> int:
        """Return how many of the next `events`, at least 1, may be learned before a turn can fall due."""
        if all(turnover.is_idle_for(events) for turnover in self._turnovers):
            return events
        return min(events, self._period - seq % self._period)

    def turn(self, seq: int) -> None:
        """Do what is due once `seq` events have come."""
        number, rest = divmod(seq, self._period)
        if rest == 0:
            self._turnovers[number % len(self._turnovers)].turn(seq)

    def saved(self) -> dict[str, Any]:
        """Return what `restore` takes, JSON-able; empty where no round is under way."""
        return {turnover.vocabulary.name: saved for turnover in self._turnovers if (saved := turnover.saved())}

    def restore(self, ids: dict[str, list[str]], saved: dict[str, Any]) -> None:
        """Go on where another was: with the ids of each vocabulary, and what it `saved`."""
        for turnover in self._turnovers:
            name = turnover.vocabulary.name
            turnover.restore(ids[name], saved.get(name, {}))

    def digest(self) -> int:
        """Return the sum of a 128-bit hash per round under way."""
        total = 0
        for turnover in self._turnovers:
            if turnover.round is not None:
                limbo = turnover.vocabulary.limbo.tobytes()
                total += hash_128(f"{turnover.vocabulary.name}/{turnover.round}", limbo)
        return total
