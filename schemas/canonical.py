"""Events as Millstream itself writes them: JSON under our names, or under an input's where it maps them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from .columns import InteractionColumns
from .mapping import OUR_FIELDS, SPOKEN_KINDS, InputMapping
from .records import Kind
from .rules import Event, pick

COLUMN_FIELDS = ("user_id", "item_id", "kind", "ts_ms", "value", "event_id")
"""The fields of ours that columns hold."""
EXTRA_FIELDS = tuple(name for name in OUR_FIELDS if name not in COLUMN_FIELDS)
"""The others, which only ride along."""


def extras_of(record: Mapping[str, Any], mapping: InputMapping) -> dict[str, Any] | None:
    """Return what a record says beyond the columns, under our names; None if nothing."""
    extras = {}
    for ours in EXTRA_FIELDS:
        _, value = pick(record, mapping.names(ours))
        if value is not None:
            extras[ours] = value
    return extras or None


def canonical_event(event: Event, mapping: InputMapping, extras: Mapping[str, Any] | None = None) -> bytes:
    """Return one event as a JSON message that an input of this mapping decodes to the same event.

    `extras` as `extras_of` gives them. Raises `WrongMapping` if the mapping has no name for the event's kind.
    """
    user_name, kind_name, ts_name, value_name, id_name = _names(mapping)
    record: dict[str, Any] = {user_name: event.user_id, kind_name: mapping.kind_name(event.kind), ts_name: event.ts_ms}
    if (about := _about(event.kind, mapping)) is not None:
        record[about] = event.item_id
    if not math.isnan(event.value):
        record[value_name] = event.value
    if event.event_id is not None:
        record[id_name] = event.event_id
    if extras:
        record.update((mapping.names(name)[0], extra) for name, extra in extras.items())
    return orjson.dumps(record)


def canonical_events(
    columns: InteractionColumns,
    *,
    extras: Sequence[Mapping[str, Any] | None] | None = None,
    mapping: InputMapping | None = None,
) -> Iterator[bytes]:
    """Yield each row as a JSON message that an input of this mapping decodes to the same row, bit for bit.

    Exact because numbers are written as the shortest text that reads back to the same float. `extras` has one entry a
    row, as `extras_of` gives them. Raises `WrongMapping` if the mapping has no name for a kind that occurs.
    """
    mapping = mapping or InputMapping()
    user_name, kind_name, ts_name, value_name, id_name = _names(mapping)
    kinds = {int(kind): mapping.kind_name(Kind(kind)) for kind in set(columns.kinds.tolist())}
    about = {kind: _about(Kind(kind), mapping) for kind in kinds}
    rows = zip(
        columns.user_ids,
        columns.item_ids,
        columns.kinds.tolist(),
        columns.ts_ms.tolist(),
        columns.values.tolist(),
        strict=True,
    )
    for row, (user_id, item_id, kind, ts_ms, value) in enumerate(rows):
        event: dict[str, Any] = {user_name: user_id, kind_name: kinds[kind], ts_name: ts_ms}
        if (name := about[kind]) is not None:
            event[name] = item_id
        if value == value:  # not NaN
            event[value_name] = value
        if columns.event_ids is not None and (event_id := columns.event_ids[row]) is not None:
            event[id_name] = event_id
        more = extras[row] if extras is not None else None
        if more:
            event.update((mapping.names(name)[0], extra) for name, extra in more.items())
        yield orjson.dumps(event)


def _names(mapping: InputMapping) -> list[str]:
    """Return the name of each of `COLUMN_FIELDS` in the input, less that of what the event is about."""
    return [mapping.names(name)[0] for name in COLUMN_FIELDS if name != "item_id"]


def _about(kind: Kind, mapping: InputMapping) -> str | None:
    """Return the name of what an event of this kind is about; None for words, which are about nothing."""
    if kind in SPOKEN_KINDS:
        return None
    return mapping.names("previous_id" if kind is Kind.alias else "item_id")[0]
