"""What flows: the records of the pipeline, typed and frozen.

These are the shapes people meet at the edges. The hot path does not make one object an event: it decodes a chunk
straight into columns (`millstream.schemas.columns`).
"""

from __future__ import annotations

import enum
import struct

import msgspec


class Kind(enum.IntEnum):
    """What a user did. The numbers are stored in snapshots: new kinds are appended, none is ever renumbered."""

    impression = 0
    click = 1
    add_to_cart = 2
    purchase = 3
    like = 4
    rating = 5
    dismiss = 6
    hide = 7
    query = 8
    say = 9
    alias = 10
    merge = 11


class Interaction(msgspec.Struct, frozen=True, kw_only=True):
    """One event of one user.

    `ts_ms` is milliseconds since the epoch. `value` is a rating, a dwell time in seconds or an amount, by `kind`.
    An absent `event_id` means the event's place in the log (topic-partition-offset). An `alias` is about no item: it
    says that what `previous_id` did, an anonymous visitor, was this user.
    """

    user_id: str
    item_id: str
    kind: Kind = Kind.click
    ts_ms: int
    event_id: str | None = None
    session_id: str | None = None
    value: float | None = None
    slate_id: str | None = None
    position: int | None = None
    propensity: float | None = None
    query: str | None = None
    context: dict[str, str] | None = None
    vector: list[float] | None = None
    previous_id: str | None = None


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the catalogue. A tombstone (a null value under the item's key) removes it."""

    item_id: str
    title: str | None = None
    text: str | None = None
    categories: list[str] = []
    price: float | None = None
    available: bool = True
    attributes: dict[str, str] = {}
    vectors: dict[str, list[float]] = {}
    updated_ms: int = 0


_VERSION = struct.Struct(">QQQ")


class Version(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """How new a list is: three numbers below 2^53, compared in order; the greater replaces the lesser.

    `generation` is raised by a rebuild's switch-over, a re-created topic or a changed partition count; `position` is
    the sum over all inputs of the next offset of the user's partition; `revision` is how many events and records
    of the catalogue the step had taken in when the list was ranked.
    """

    generation: int
    position: int
    revision: int

    def pack(self) -> bytes:
        """Return 24 bytes, big-endian, so that byte order is version order."""
        return _VERSION.pack(self.generation, self.position, self.revision)

    @classmethod
    def unpack(cls, packed: bytes) -> Version:
        """Read back what `pack` wrote."""
        return cls(*_VERSION.unpack(packed))


class Reason(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One part of a score: which signal, how much of the score it makes, and the item it came from."""

    signal: str
    contribution: float
    evidence: str = ""


class ScoredItem(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One place on a list. Higher scores come first; the reasons' contributions sum to the score."""

    item_id: str
    score: float
    reasons: tuple[Reason, ...] = ()
    propensity: float | None = None


class Slate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One refreshed top-k list of one user, best first.

    `as_of_ms` is the Kafka timestamp of the last event it contains; `generated_ts_ms` is the wall clock when it was
    made and is the only field that differs when the same list is made again.
    """

    slate_id: str
    list: str
    user_id: str
    items: tuple[ScoredItem, ...]
    version: Version
    as_of_ms: int
    generated_ts_ms: int


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record that could not be used: its bytes, its place, and why.

    `original` holds the record's value, cut to what fits; `original_bytes` and `sha256` describe the whole value.
    """

    topic: str
    partition: int
    offset: int
    code: str
    message: str
    original: bytes | None
    original_bytes: int
    sha256: str
    ts_ms: int
    event_id: str | None = None
    """What the record's header named it: it had been sent again, and this was its first place."""

    @property
    def key(self) -> str:
        """The place in the log."""
        return f"{self.topic}-{self.partition}-{self.offset}"

    @property
    def first_place(self) -> str:
        """The place where the record stood at first: what names it however often it is sent again."""
        return self.event_id or self.key
