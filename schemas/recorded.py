"""Recorded logs, read by the rules that live events obey.

What is read from a file equals what the same events give when replayed through Kafka: `as_of_ms` is the event's time
and the offsets count from 0, as on a fresh topic of one partition.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, repeat
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .avro_schemas import AvroSchema, our_schema
from .canonical import extras_of
from .columns import InteractionColumns, Reject
from .decode import InteractionDecoder, Rows
from .decode_items import judge_item
from .log_files import LogForm, Numbered, avro_records, csv_records, log_form, message_blocks, open_log
from .mapping import InputMapping
from .records import Item
from .rejects import Flaw
from .rules import NO_TIMESTAMP_MS
from .wire import MessageOpener

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecordedLog:
    """A log in memory, in time order."""

    columns: InteractionColumns
    rejects: list[Reject]
    """Lines that gave no event, in file order; `index` and `offset` are the record's place in the file, from 0."""
    extras: list[dict[str, Any] | None] | None = None
    """What each event says beyond the columns (session, slate, …), where that was asked for."""


def read_events(
    path: Path,
    mapping: InputMapping | None = None,
    *,
    min_rating: float | None = None,
    first_only: bool = False,
    limit: int | None = None,
    keep_extras: bool = False,
) -> RecordedLog:
    """Read a log whole: JSON lines, CSV or Avro, plain or gzipped, stably sorted by time (file order breaks ties).

    In this order: ratings below `min_rating` are dropped (an event is a rating by its kind, or because its value is in
    a field called `rating`); events are sorted; with `first_only` only the first of each (user, item) stays; then the
    first `limit` stay. Raises `UnreadableLog`; a bad line is a reject, not an error. `keep_extras` costs some time.
    """
    mapping = mapping or InputMapping()
    minimum = -math.inf if min_rating is None else min_rating
    decoder = InteractionDecoder(mapping)
    rows = Rows()
    extras: list[dict[str, Any] | None] | None = [] if keep_extras else None
    with open_log(path) as file:
        form = log_form(path, file)
        if form is LogForm.jsonl and extras is None:
            _gather_lines(rows, decoder, file, minimum)
        else:
            for numbered in _records(path, file, form, mapping, our_schema("interaction"), "user_id", "kind"):
                record = numbered.record
                if isinstance(record, Flaw):
                    rows.flaws.append((numbered.place - 1, record))
                    continue
                event = decoder.take(rows, numbered.place - 1, record, NO_TIMESTAMP_MS, minimum, ours=numbered.ours)
                if event is not None and extras is not None:
                    extras.append(extras_of(record, InputMapping() if numbered.ours else mapping))
    rejects = [
        Reject(index, index, flaw.code.value, f"{path.name}:{index + 1}: {flaw.text}; left out")
        for index, flaw in rows.flaws
    ]
    rows.dropped.clear()  # offsets count rows here, not lines
    n = len(rows.user_ids)
    columns = rows.columns(range(n), [NO_TIMESTAMP_MS] * n)
    keep = _kept(columns, first_only, limit)
    if keep is not None:
        columns = replace(columns.taken(keep), offsets=np.arange(len(keep), dtype=np.int64))
        extras = None if extras is None else [extras[row] for row in keep.tolist()]
    return RecordedLog(columns, rejects, extras)


def read_items(path: Path) -> dict[str, Item]:
    """Read a catalogue log: the last entry of each item, by item id.

    Entries that are none are left out with one warning in the log, their number and the first reason. Raises
    `UnreadableLog`.
    """
    items: dict[str, Item] = {}
    flaws: list[str] = []
    with open_log(path) as file:
        form = log_form(path, file)
        for numbered in _records(path, file, form, InputMapping(), our_schema("item"), "item_id", None):
            record = numbered.record
            if form is LogForm.csv and not isinstance(record, Flaw):
                record = _typed_item_cells(record)
            item = record if isinstance(record, Flaw) else judge_item(record, NO_TIMESTAMP_MS)
            if isinstance(item, Flaw):
                flaws.append(f"{path.name}:{numbered.place}: {item.text}")
            else:
                items[item.item_id] = item
    if flaws:
        _log.warning("%d entries of the catalogue left out; the first: %s", len(flaws), flaws[0])
    return items


def _gather_lines(rows: Rows, decoder: InteractionDecoder, file: IO[bytes], minimum: float) -> None:
    before = 0
    for lines in message_blocks(file):
        part = decoder.gather(lines, list(repeat(NO_TIMESTAMP_MS, len(lines))), min_rating=minimum)
        rows.append(part)
        rows.flaws += [(before + index, flaw) for index, flaw in part.flaws if lines[index].strip()]
        before += len(lines)


def _records(
    path: Path,
    file: IO[bytes],
    form: LogForm,
    mapping: InputMapping,
    ours: AvroSchema,
    required: str,
    optional: str | None,
) -> Iterator[Numbered]:
    if form is LogForm.csv:
        yield from csv_records(path, file, mapping, required)
    elif form is LogForm.avro:
        yield from avro_records(path, file, ours, optional)
    else:
        opener = MessageOpener(ours, optional=optional)
        lines = chain.from_iterable(message_blocks(file))
        for place, line in enumerate(lines, start=1):
            if line.strip():
                opened = opener.open(line)
                yield Numbered(place, opened) if isinstance(opened, Flaw) else Numbered(place, *opened)


def _kept(columns: InteractionColumns, first_only: bool, limit: int | None) -> NDArray[np.int64] | None:
    """Return the rows that stay, in time order; None if all stay where they are."""
    n = len(columns)
    ts_ms = columns.ts_ms
    in_order = bool(np.all(ts_ms[1:] >= ts_ms[:-1]))
    if in_order and not first_only and (limit is None or limit >= n):
        return None
    order: NDArray[np.int64] = np.arange(n) if in_order else np.argsort(ts_ms, kind="stable")
    if first_only:
        seen: set[tuple[str, str]] = set()
        first = np.zeros(n, dtype=np.bool_)
        for place, row in enumerate(order.tolist()):
            pair = (columns.user_ids[row], columns.item_ids[row])
            if pair not in seen:
                seen.add(pair)
                first[place] = True
        order = order[first]
    return order if limit is None else order[: max(limit, 0)]


def _typed_item_cells(record: dict[str, Any]) -> dict[str, Any]:
    """Give a CSV row of a catalogue its types; cells that do not fit stay text, so that the rules name them."""
    typed = {name: cell for name, cell in record.items() if name not in ("attributes", "vectors")}
    if "categories" in typed:
        typed["categories"] = [part.strip() for part in typed["categories"].split("|") if part.strip()]
    for name in {"price", "updated_ms"} & typed.keys():
        try:
            typed[name] = float(typed[name]) if name == "price" else int(typed[name])
        except ValueError:
            continue
    if "available" in typed:
        typed["available"] = {"true": True, "1": True, "false": False, "0": False}.get(
            typed["available"].lower(), typed["available"]
        )
    return typed
