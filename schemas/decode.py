"""From a chunk of messages to columns: the hot path of everything that comes in.

Two ways lead to a row and give the same one. The short way takes a JSON object whose fields are all where this input's
events mostly have them and of the plainest types. Whatever it does not take, it leaves to `rules.judge`, which knows
every case and every reason.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from .avro_schemas import SchemaLookup, our_schema
from .canonical import COLUMN_FIELDS
from .columns import InteractionColumns, Reject
from .mapping import ITEM_KINDS, InputMapping
from .records import Kind
from .rejects import Flaw
from .rules import DAY_MS, EARLIEST_MS, LATEST_MS, Event, judge, pick
from .slate_places import NO_SLATE, NO_SLOT, SLATE_FIELDS, slate_hash, slate_slot
from .surfaces import NO_SURFACE, surface_hash
from .utterances import Utterance, utterances
from .wire import MessageOpener

_OPENING_BRACE = ord("{")
_SHORT_ID_CHARACTERS = 64
"""An id of so few characters has at most 256 bytes, whatever they are."""
_MAX_SHAPES = 256
_MAX_SHAPE_FIELDS = 64
_MAX_SHAPE_CHARACTERS = 4_096

_DECODED = (*COLUMN_FIELDS, *SLATE_FIELDS, "context")
_Names = tuple[str | None, ...]
"""What each of `_DECODED` is called in records of one shape, None for one that is not there."""


@dataclass(slots=True)
class Rows:
    """Rows as they are gathered, and what gave none; `dropped` holds the places that gave no row, rising."""

    user_ids: list[str] = field(default_factory=list)
    item_ids: list[str] = field(default_factory=list)
    kinds: bytearray = field(default_factory=bytearray)
    ts_ms: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    event_ids: list[str | None] = field(default_factory=list)
    """Up to the last row that has one; the rows after it have none."""
    on_slates: list[tuple[int, int, int]] = field(default_factory=list)
    """Row, slate and place on it, of the rows that have any; rows rising."""
    spoken: list[tuple[int, Utterance]] = field(default_factory=list)
    """Row and words, of the rows that have any; rows rising."""
    on_surfaces: list[tuple[int, int]] = field(default_factory=list)
    """Row and surface, of the rows that have one; rows rising."""
    flaws: list[tuple[int, Flaw]] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)

    def add(self, event: Event) -> None:
        """Append one row."""
        self.user_ids.append(event.user_id)
        self.item_ids.append(event.item_id)
        self.kinds.append(event.kind)
        self.ts_ms.append(event.ts_ms)
        self.values.append(event.value)
        if event.event_id is not None:
            self.name(len(self.user_ids) - 1, event.event_id)
        self.put_on(len(self.user_ids) - 1, event.slate, event.slot)
        if event.words is not None:
            self.spoken.append((len(self.user_ids) - 1, event.words))
        self.set_surface(len(self.user_ids) - 1, event.surface)

    def name(self, row: int, event_id: str) -> None:
        """Give an id to a row that has none."""
        self._reach(row + 1)
        self.event_ids[row] = event_id

    def put_on(self, row: int, slate: int, slot: int) -> None:
        """Say of the last row where it happened."""
        if slate != NO_SLATE or slot != NO_SLOT:
            self.on_slates.append((row, slate, slot))

    def set_surface(self, row: int, surface: int) -> None:
        """Say of the last row on which surface it happened."""
        if surface != NO_SURFACE:
            self.on_surfaces.append((row, surface))

    def append(self, others: Rows) -> None:
        """Append the rows of another; what it has beside rows stays there."""
        before = len(self.user_ids)
        self.on_slates += [(before + row, slate, slot) for row, slate, slot in others.on_slates]
        self.spoken += [(before + row, words) for row, words in others.spoken]
        self.on_surfaces += [(before + row, surface) for row, surface in others.on_surfaces]
        if others.event_ids:
            self._reach(len(self.user_ids))
            self.event_ids += others.event_ids
        self.user_ids += others.user_ids
        self.item_ids += others.item_ids
        self.kinds += others.kinds
        self.ts_ms += others.ts_ms
        self.values += others.values

    def columns(self, offsets: Sequence[int], record_ms: Sequence[int]) -> InteractionColumns:
        """Return the rows as columns; `offsets` and `record_ms` are those of every message, dropped ones included."""
        ts_ms = np.array(self.ts_ms, dtype=np.int64)
        as_of_ms = self._kept(record_ms)
        if self.event_ids:
            self._reach(len(self.user_ids))
        slates, slots = self._slates()
        return InteractionColumns(
            user_ids=self.user_ids,
            item_ids=self.item_ids,
            kinds=np.frombuffer(self.kinds, dtype=np.int8).copy(),
            ts_ms=ts_ms,
            values=np.array(self.values, dtype=np.float64),
            as_of_ms=np.where(as_of_ms < 0, ts_ms, as_of_ms),
            offsets=self._kept(offsets),
            event_ids=self.event_ids or None,
            slates=slates,
            slots=slots,
            words=utterances(self.spoken),
            surfaces=self._surfaces(),
        )

    def _slates(self) -> tuple[NDArray[np.uint32] | None, NDArray[np.int16] | None]:
        if not self.on_slates:
            return None, None
        slates, slots = np.full(len(self.user_ids), NO_SLATE, np.uint32), np.full(len(self.user_ids), NO_SLOT, np.int16)
        rows = [row for row, _, _ in self.on_slates]
        slates[rows] = [slate for _, slate, _ in self.on_slates]
        slots[rows] = [slot for _, _, slot in self.on_slates]
        return slates, slots

    def _surfaces(self) -> NDArray[np.uint32] | None:
        if not self.on_surfaces:
            return None
        surfaces = np.full(len(self.user_ids), NO_SURFACE, np.uint32)
        surfaces[[row for row, _ in self.on_surfaces]] = [surface for _, surface in self.on_surfaces]
        return surfaces

    def _reach(self, rows: int) -> None:
        """Let `event_ids` go as far as the first `rows` rows."""
        self.event_ids.extend([None] * (rows - len(self.event_ids)))

    def _kept(self, of_all: Sequence[int]) -> NDArray[np.int64]:
        whole = np.asarray(of_all, dtype=np.int64)
        return np.delete(whole, self.dropped) if self.dropped else whole


class InteractionDecoder:
    """Decodes the messages of one input. One thread at a time: it caches field names and schemas as it meets them.

    What it returns depends on the messages alone, never on what it decoded before.
    """

    def __init__(self, mapping: InputMapping, schemas: SchemaLookup | None = None) -> None:
        self._mapping = mapping
        self._opener = MessageOpener(our_schema("interaction"), schemas, optional="kind")
        self._own_names = InputMapping(default_kind=mapping.default_kind)
        self._shapes: dict[tuple[str, ...], _Names] = {}
        self._kinds = {name: int(kind) for name, kind in mapping.kind_table.items() if kind in ITEM_KINDS}

    def decode(
        self,
        values: Sequence[bytes | None],
        offsets: Sequence[int],
        timestamps_ms: Sequence[int],
        *,
        input: str,
        partition: int,
        event_ids: Mapping[int, str] | None = None,
    ) -> tuple[InteractionColumns, list[Reject]]:
        """Return the usable events of a run of records, and for each other record why it is not one.

        Every record is in exactly one of the two. A record without a timestamp (-1) counts as of its event's time.
        `event_ids` name events that have no id of their own, by place among the values. Arbitrary bytes never raise;
        only a schema lookup that cannot answer does.
        """
        rows = self.gather(values, timestamps_ms)
        if event_ids:
            _name_rows(rows, event_ids)
        rejects = [
            Reject(
                index=index,
                offset=int(offsets[index]),
                code=flaw.code.value,
                message=f"{input}[{partition}]@{offsets[index]}: {flaw.text}; kept as a dead letter",
            )
            for index, flaw in rows.flaws
        ]
        return rows.columns(offsets, timestamps_ms), rejects

    def gather(
        self, values: Sequence[bytes | None], record_ms: Sequence[int], *, min_rating: float = -math.inf
    ) -> Rows:
        """Return the rows of `values`, less those whose rating is below `min_rating` (they are no flaws either)."""
        rows = Rows()
        add_user, add_item, add_kind = rows.user_ids.append, rows.item_ids.append, rows.kinds.append
        add_ts, add_value = rows.ts_ms.append, rows.values.append
        loads, shapes, kinds, nan, infinite = orjson.loads, self._shapes, self._kinds, math.nan, math.inf
        rating = int(Kind.rating)
        for index, (message, at_ms) in enumerate(zip(values, record_ms, strict=True)):
            if message and message[0] == _OPENING_BRACE:
                try:
                    record = loads(message)
                except orjson.JSONDecodeError:
                    self._slowly(rows, index, message, at_ms, min_rating)
                    continue
                names = shapes.get(tuple(record))
                if names is None:
                    names = self._names_of(record)
                get = record.get
                user, item, ts = get(names[0]), get(names[1]), get(names[3])
                if ts is None:
                    ts = at_ms
                kind_name, value, event_id = get(names[2]), get(names[4]), get(names[5])
                if (
                    # exact types: a bool is an int too, and no fit one
                    type(user) is str
                    and type(item) is str
                    and 0 < len(user) <= _SHORT_ID_CHARACTERS
                    and 0 < len(item) <= _SHORT_ID_CHARACTERS
                    and user.isprintable()  # so without NUL and lone surrogates
                    and item.isprintable()
                    and (kind_name is None or type(kind_name) is str)
                    and type(ts) is int
                    and EARLIEST_MS <= ts <= (at_ms + DAY_MS if at_ms >= 0 else LATEST_MS)
                    and (value is None or ((type(value) is float or type(value) is int) and 0.0 <= value < infinite))
                    and (
                        event_id is None
                        or (
                            (type(event_id) is str and 0 < len(event_id) <= _SHORT_ID_CHARACTERS)
                            and event_id.isprintable()
                        )
                    )
                ):
                    kind = kinds.get(kind_name)
                    if kind is not None:
                        if value is not None and value < min_rating and (kind == rating or names[4] == "rating"):
                            rows.dropped.append(index)
                            continue
                        add_user(user)
                        add_item(item)
                        add_kind(kind)
                        add_ts(ts)
                        add_value(nan if value is None else value + 0.0)
                        if event_id is not None:
                            rows.name(len(rows.user_ids) - 1, event_id)
                        if names[6] is not None or names[7] is not None:
                            rows.put_on(len(rows.user_ids) - 1, slate_hash(get(names[6])), slate_slot(get(names[7])))
                        if names[8] is not None:
                            rows.set_surface(len(rows.user_ids) - 1, surface_hash(get(names[8])))
                        continue
            self._slowly(rows, index, message, at_ms, min_rating)
        return rows

    def _slowly(self, rows: Rows, index: int, message: bytes | None, at_ms: int, min_rating: float) -> None:
        opened = self._opener.open(message)
        if isinstance(opened, Flaw):
            rows.flaws.append((index, opened))
            rows.dropped.append(index)
            return
        self.take(rows, index, opened.record, at_ms, min_rating, ours=opened.ours)

    def take(
        self, rows: Rows, index: int, record: Mapping[str, Any], at_ms: int, min_rating: float, *, ours: bool = False
    ) -> Event | None:
        """Judge one record and note it in `rows`; return the event if it became a row. `ours`: no mapping applies."""
        mapping = self._own_names if ours else self._mapping
        event = judge(record, mapping, at_ms)
        if isinstance(event, Flaw):
            rows.flaws.append((index, event))
        elif not _rated_below(event, record, mapping, min_rating):
            rows.add(event)
            return event
        rows.dropped.append(index)
        return None

    def _names_of(self, record: dict[str, Any]) -> _Names:
        """Return the names our fields have in records of these field names, and remember them.

        Where a field is there under two names, which one counts depends on the values: no names, so that the short
        way refuses it and the rules decide.
        """
        found: list[str | None] = []
        for ours in _DECODED:
            present = [name for name in self._mapping.names(ours) if name in record]
            if len(present) > 1:
                found = [None] * len(_DECODED)
                break
            found.append(present[0] if present else None)
        names = tuple(found)
        # bounded: field names are the producers' to choose
        if len(record) <= _MAX_SHAPE_FIELDS and sum(map(len, record)) <= _MAX_SHAPE_CHARACTERS:
            if len(self._shapes) >= _MAX_SHAPES:
                self._shapes.clear()
            self._shapes[tuple(record)] = names
        return names


def _name_rows(rows: Rows, event_ids: Mapping[int, str]) -> None:
    """Give ids, by place among the values, to the rows that have none of their own."""
    for index, event_id in event_ids.items():
        dropped = bisect_left(rows.dropped, index)
        if dropped < len(rows.dropped) and rows.dropped[dropped] == index:
            continue
        row = index - dropped
        if row >= len(rows.event_ids) or rows.event_ids[row] is None:
            rows.name(row, event_id)


def _rated_below(event: Event, record: Mapping[str, Any], mapping: InputMapping, min_rating: float) -> bool:
    """Whether the event is a rating, by its kind or by its field's name, and one below the minimum."""
    if not event.value < min_rating:
        return False
    return event.kind is Kind.rating or pick(record, mapping.names("value"))[0] == "rating"
