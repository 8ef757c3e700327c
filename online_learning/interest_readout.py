"""Interest vectors read out of a snapshot: an item's own, a user's pooled from the history, and what lies nearest.

All of it is the work of the kernels that score: a user's vector is the one that a list made at the same moment is
ranked by, and near is what has a high `(u' A) v_j`. An item stands for a user who chose it and nothing else: pooling a
history of one gives its own vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .histories import Histories, drop_items, histories
from .interest import BLOCK, PLACES, WIDTH, describe_interest, interest, pool, pooled
from .kernel import SERVING_GAP_MS
from .prompts import Prompts, prompts
from .snapshot import Dump
from .vocabulary import Vocabulary

TABLES = (
    "histories",
    "interest",
    "interest_pooling",
    "interest_blocks",
    "interest_prompts",
    "interest_contexts",
    "surfaces",
    "surface",
)
"""What `Interests` needs of a snapshot."""
ItemScores = tuple[tuple[str, float], ...]


class NoVector(LookupError):
    """An id that has no interest vector; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class InterestVector:
    """One vector, and what is near it."""

    kind: Literal["user", "item"]
    id: str
    seq: int
    """Events the model contained."""
    as_of_ms: int
    """Timestamp of the last of them."""
    vector: NDArray[np.float32]
    """Shape (WIDTH,)."""
    pooled: ItemScores
    """The items it is pooled from, newest first, with their shares, which sum to 1. Of an item: itself."""
    nearest: ItemScores
    """Items by falling score, ties by the one seen first. A user's own count among them, an item itself does not."""

    @property
    def norm(self) -> float:
        """Euclidean length of the vector, ≥ 0."""
        return float(np.linalg.norm(self.vector.astype(np.float64)))


class Interests:
    """The vectors of one dump, which holds `TABLES`. Raises `ValueError` where another version made it."""

    def __init__(self, dump: Dump) -> None:
        self.users = Vocabulary("users", max(1, len(dump.users)), dump.users)
        self.items = Vocabulary("items", max(1, len(dump.items)), dump.items)
        self._seq = dump.seq
        self._as_of_ms = int(dump.header["last_ms"])
        arena = Arena()
        self._histories = histories(arena, self.users, int(dump.header["config"]["history_length"]))
        self._interest = interest(arena, self.items, self.users)
        dump.fill(arena)
        # an item that was never chosen has a vector of zeros, which would be nearer than what scores below 0
        self._chosen = np.flatnonzero(self._interest.vector.any(axis=1)).astype(np.int32)

    def user(self, id_: str, top: int) -> InterestVector:
        """Return a user's vector as a list made now would be ranked by it. Raises `NoVector`."""
        row = self.users.row(id_)
        if row is None:
            elsewhere = "" if self.items.row(id_) is None else ", but an item"
            raise NoVector(_unknown("user", id_, self.users, elsewhere=elsewhere))
        drop_items(self._histories, ~self.items.is_held, np.array([row], np.int32)[0])  # as before their next event
        if self._histories.held[row] == 0:
            raise NoVector(f"user {id_!r} has not chosen anything yet, so there is nothing to pool: wait for a click")
        return self._vector("user", id_, self._histories, row, top, self._chosen)

    def item(self, id_: str, top: int) -> InterestVector:
        """Return an item's vector. Raises `NoVector`."""
        row = self.items.row(id_)
        if row is None:
            elsewhere = "" if self.users.row(id_) is None else ", but a user"
            raise NoVector(_unknown("item", id_, self.items, elsewhere=elsewhere))
        if row not in self._chosen:
            raise NoVector(f"item {id_!r} has not been chosen yet, so it has no vector: wait for its first click")
        others = self._chosen[self._chosen != row]
        return self._vector("item", id_, _history_of_one(row), 0, top, others)

    def _vector(
        self, kind: Literal["user", "item"], id_: str, h: Histories, row: int, top: int, among: NDArray[np.int32]
    ) -> InterestVector:
        now_ms = self._as_of_ms + SERVING_GAP_MS
        v = self._interest if kind == "user" else self._interest._replace(prompts=_no_prompts())
        user = np.array([row], np.int32)[0]  # the type that ranking calls these with: another would compile them anew
        w = pooled()
        pool(v, h, user, now_ms, w)
        held = min(PLACES, int(h.held[row]))
        shares = w.weight[:held] / w.weight[:held].sum()
        scores = np.zeros((1, len(among)), np.float32)
        describe_interest(v, among, len(among), w, scores, 0)
        best = np.argsort(-scores[0], kind="stable")[:top]
        return InterestVector(
            kind=kind,
            id=id_,
            seq=self._seq,
            as_of_ms=self._as_of_ms,
            vector=w.user[0],
            pooled=self._named(h.item[row, :held], shares),
            nearest=self._named(among[best], scores[0, best]),
        )

    def _named(self, rows: NDArray[np.int32], scores: NDArray[np.float32]) -> ItemScores:
        return tuple((self.items.ids[row], score) for row, score in zip(rows.tolist(), scores.tolist(), strict=True))


def _history_of_one(item: int) -> Histories:
    """Return the histories of a single user, row 0, who chose `item` and nothing else."""
    h = histories(Arena(), Vocabulary("users", 1), 1)
    h.item[0, 0] = item
    h.held[0] = 1
    return h


def _no_prompts() -> Prompts:
    """Return the prompts of where no context says anything: an item is looked at by itself."""
    return prompts(Arena(), Vocabulary("users", 1), WIDTH, BLOCK)


def _unknown(kind: str, id_: str, known: Vocabulary, *, elsewhere: str) -> str:
    return (
        f"no {kind} {id_!r} among the {np.count_nonzero(known.is_held):,} of the snapshot{elsewhere}; check the id, "
        "letter by letter, or wait for a snapshot made after its first event"
    )
