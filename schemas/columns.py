"""A chunk of events, or of the catalogue, as columns: what decoding returns and the step takes.

One object an event costs more than learning from it, so from here on events travel as parallel arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .records import Item
from .utterances import Utterances


@dataclass(frozen=True, slots=True)
class InteractionColumns:
    """n usable events in log order; row j of every column is the same event."""

    user_ids: list[str]
    item_ids: list[str]
    """Of an alias: the user's previous id; empty for words."""
    kinds: NDArray[np.int8]
    """`Kind` values, shape (n,)."""
    ts_ms: NDArray[np.int64]
    """Event time, milliseconds since the epoch, shape (n,)."""
    values: NDArray[np.float64]
    """Rating, dwell in seconds or amount; finite and not negative, NaN where absent; shape (n,)."""
    as_of_ms: NDArray[np.int64]
    """The Kafka record's timestamp (in a file: the event's own), shape (n,)."""
    offsets: NDArray[np.int64]
    """Place in the partition, increasing, with holes where records were rejected or compacted away; shape (n,)."""
    event_ids: list[str | None] | None = None
    """The producer's own id of each event that has one; None where none of them has, which is the common case."""
    slates: NDArray[np.uint32] | None = None
    """The slate each happened on, as `schemas.slate_places.slate_hash` has it, 0 for none, shape (n,); None: none."""
    slots: NDArray[np.int16] | None = None
    """The place on that slate, from 0, -1 where absent, shape (n,); None where `slates` is."""
    words: Utterances | None = None
    """What was said, of the events that bring it; None where none of them does, which is the common case."""
    surfaces: NDArray[np.uint32] | None = None
    """The surface each happened on, as `schemas.surfaces.surface_hash` has it, 0 for none, shape (n,); None: none."""

    def __len__(self) -> int:
        return len(self.user_ids)

    def cut(self, first: int, last: int) -> InteractionColumns:
        """Return rows first … last - 1. The arrays are views of these."""
        return InteractionColumns(
            user_ids=self.user_ids[first:last],
            item_ids=self.item_ids[first:last],
            kinds=self.kinds[first:last],
            ts_ms=self.ts_ms[first:last],
            values=self.values[first:last],
            as_of_ms=self.as_of_ms[first:last],
            offsets=self.offsets[first:last],
            event_ids=None if self.event_ids is None else self.event_ids[first:last],
            slates=None if self.slates is None else self.slates[first:last],
            slots=None if self.slots is None else self.slots[first:last],
            words=None if self.words is None else self.words.cut(first, last),
            surfaces=None if self.surfaces is None else self.surfaces[first:last],
        )

    def taken(self, rows: NDArray[np.int64]) -> InteractionColumns:
        """Return the rows at these places, in this order, as copies."""
        places = rows.tolist()
        return InteractionColumns(
            user_ids=[self.user_ids[row] for row in places],
            item_ids=[self.item_ids[row] for row in places],
            kinds=self.kinds[rows],
            ts_ms=self.ts_ms[rows],
            values=self.values[rows],
            as_of_ms=self.as_of_ms[rows],
            offsets=self.offsets[rows],
            event_ids=None if self.event_ids is None else [self.event_ids[row] for row in places],
            slates=None if self.slates is None else self.slates[rows],
            slots=None if self.slots is None else self.slots[rows],
            words=None if self.words is None else self.words.taken(rows),
            surfaces=None if self.surfaces is None else self.surfaces[rows],
        )


@dataclass(frozen=True, slots=True)
class ItemColumns:
    """n entries of the catalogue in log order. Few and rare beside events, so an object each."""

    items: list[Item]
    """An item that was removed is one of which nothing is known, and which is not available."""
    offsets: NDArray[np.int64]
    """Place in the partition, increasing, shape (n,)."""

    def __len__(self) -> int:
        return len(self.items)

    def cut(self, first: int, last: int) -> ItemColumns:
        """Return rows first … last - 1."""
        return ItemColumns(self.items[first:last], self.offsets[first:last])


@dataclass(frozen=True, slots=True)
class VectorColumns:
    """n items' content vectors in log order."""

    item_ids: list[str]
    coded: NDArray[np.int8]
    """Shape (n, CONTENT)."""
    scale: NDArray[np.float32]
    """What they are to be multiplied by, 0 where there is none any more; shape (n,)."""
    offsets: NDArray[np.int64]
    """Place in the partition, increasing, shape (n,)."""

    def __len__(self) -> int:
        return len(self.item_ids)

    def cut(self, first: int, last: int) -> VectorColumns:
        """Return rows first … last - 1. The arrays are views of these."""
        rows = slice(first, last)
        return VectorColumns(self.item_ids[rows], self.coded[rows], self.scale[rows], self.offsets[rows])


Columns = InteractionColumns | ItemColumns | VectorColumns


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of one partition: the offsets [start, end) it covers, and the usable events among them.

    Covering means: applying it moves the position from `start` to `end`, also past holes, rejected records and
    records that left no event. So a chunk without events still has to be applied.
    """

    input: str
    """Topic name."""
    partition: int
    start: int
    """Offset of the first record; must equal the state's position."""
    end: int
    """Next offset after the chunk."""
    columns: Columns

    def __len__(self) -> int:
        return len(self.columns)

    def cut(self, first: int, last: int) -> Chunk:
        """Return events first … last - 1 as a chunk of its own.

        Cutting at strictly rising places 0 … n gives chunks whose [start, end) join without gap or overlap into this
        one's: what lies between two events belongs to the earlier chunk, what lies before the first to the first.
        """
        offsets, n = self.columns.offsets, len(self)
        return Chunk(
            input=self.input,
            partition=self.partition,
            start=self.start if first == 0 else int(offsets[first]) if first < n else self.end,
            end=self.end if last == n else int(offsets[last]),
            columns=self.columns.cut(first, last),
        )


def catalogue_chunk(items: Iterable[Item], topic: str = "items", start: int = 0) -> Chunk:
    """Return items as the chunk of a topic of one partition that holds one a record, from offset `start` on."""
    held = list(items)
    offsets = np.arange(start, start + len(held), dtype=np.int64)
    return Chunk(topic, 0, start, start + len(held), ItemColumns(held, offsets))


def vectors_chunk(
    item_ids: Sequence[str],
    coded: NDArray[np.int8],
    scale: NDArray[np.float32],
    topic: str = "item-vectors",
    start: int = 0,
) -> Chunk:
    """Return content vectors as the chunk of a topic of one partition that holds one a record, from `start` on."""
    offsets = np.arange(start, start + len(item_ids), dtype=np.int64)
    return Chunk(topic, 0, start, start + len(item_ids), VectorColumns(list(item_ids), coded, scale, offsets))


@dataclass(frozen=True, slots=True)
class Reject:
    """One record that gives no event: its place in the chunk and the log, and why."""

    index: int
    """Place among the values handed to the decoder."""
    offset: int
    code: str
    """One of `millstream.schemas.rejects`' codes: what alerts and dashboards count by."""
    message: str
    """Value, place and consequence, for people; never longer than a few hundred characters."""
