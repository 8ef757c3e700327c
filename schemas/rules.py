"""What makes a record a usable event. Every path judges by these rules: Kafka or file, JSON, Avro or CSV."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from .mapping import COLUMN_KINDS, SPOKEN_KINDS, InputMapping
from .records import Kind
from .rejects import Flaw, RejectCode, shown
from .slate_places import NO_SLATE, NO_SLOT, SLATE_FIELDS, slate_hash, slate_slot
from .surfaces import NO_SURFACE, surface_hash
from .utterances import Utterance, judge_utterance

MAX_ID_BYTES = 256
EARLIEST_MS = 100_000_000_000
"""1e11: a lesser number is a time in seconds (it would be before March 1973 in milliseconds)."""
DAY_MS = 86_400_000
LATEST_MS = 253_402_300_800_000
"""The year 10000: the bound where no record timestamp gives a nearer one."""
NO_TIMESTAMP_MS = -1
"""What Kafka gives for a record without a timestamp; also the lines of a file."""


class Event(NamedTuple):
    """One usable event: a row of the columns."""

    user_id: str
    item_id: str
    """Of an alias: the user's previous id; empty for words."""
    kind: Kind
    ts_ms: int
    value: float
    """NaN where absent."""
    event_id: str | None = None
    """The producer's own; None where absent or empty."""
    slate: int = NO_SLATE
    slot: int = NO_SLOT
    """As `slate_places` has them."""
    words: Utterance | None = None
    """What was said, where the event brings it."""
    surface: int = NO_SURFACE
    """As `surfaces` has it."""


def latest_ms(record_ms: int) -> int:
    """Return the greatest event time a record of this timestamp may claim."""
    return record_ms + DAY_MS if record_ms >= 0 else LATEST_MS


def pick(record: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, Any]:
    """Return the first of `names` that is present and not null, with its value; else the first name and None."""
    for name in names:
        value = record.get(name)
        if value is not None:
            return name, value
    return names[0], None


def judge(record: Mapping[str, Any], mapping: InputMapping, record_ms: int) -> Event | Flaw:
    """Return the event a record stands for, or the first thing that is wrong with it. Never raises."""
    user_id = judge_id(*pick(record, mapping.names("user_id")), RejectCode.missing_user)
    if isinstance(user_id, Flaw):
        return user_id
    kind = _judge_kind(*pick(record, mapping.names("kind")), mapping)
    if isinstance(kind, Flaw):
        return kind
    item_id = _judge_about(record, mapping, kind)
    if isinstance(item_id, Flaw):
        return item_id
    words = _judge_words(record, mapping) if kind in SPOKEN_KINDS else None
    if isinstance(words, Flaw):
        return words
    ts_ms = judge_time(*pick(record, mapping.names("ts_ms")), record_ms)
    if isinstance(ts_ms, Flaw):
        return ts_ms
    value = judge_value(*pick(record, mapping.names("value")))
    if isinstance(value, Flaw):
        return value
    name, event_id = pick(record, mapping.names("event_id"))
    event_id = None if event_id is None or event_id == "" else judge_id(name, event_id, RejectCode.wrong_type)
    if isinstance(event_id, Flaw):
        return event_id
    slate, slot = (pick(record, mapping.names(ours))[1] for ours in SLATE_FIELDS)
    surface = surface_hash(pick(record, mapping.names("context"))[1])
    where = slate_hash(slate), slate_slot(slot)
    return Event(user_id, item_id, kind, ts_ms, value, event_id, *where, words, surface)


def _judge_about(record: Mapping[str, Any], mapping: InputMapping, kind: Kind) -> str | Flaw:
    """Return what stands in the place of the event's item."""
    if kind in SPOKEN_KINDS:
        return ""
    ours, missing = "item_id", RejectCode.missing_item
    if kind is Kind.alias:
        ours, missing = "previous_id", RejectCode.missing_user
    return judge_id(*pick(record, mapping.names(ours)), missing)


def _judge_words(record: Mapping[str, Any], mapping: InputMapping) -> Utterance | Flaw | None:
    _, context = pick(record, mapping.names("context"))
    return judge_utterance(*pick(record, mapping.names("vector")), context)


def judge_id(name: str, value: Any, missing: RejectCode) -> str | Flaw:
    """Return an id of 1 to 256 bytes. Integers become decimal strings; floats, booleans and objects are no ids."""
    if value is None:
        return Flaw(missing, f"no {name}")
    if isinstance(value, bool) or not isinstance(value, str | int | UUID):
        return Flaw(RejectCode.wrong_type, f"{name}={shown(value)} is no id: it must be a string or an integer")
    text = value if isinstance(value, str) else str(value)
    if not text:
        return Flaw(RejectCode.empty_id, f"{name} is empty")
    # characters first: a megabyte is refused without encoding it
    if len(text) > MAX_ID_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
        return Flaw(RejectCode.id_too_long, f"{name}={shown(text)} is longer than {MAX_ID_BYTES} bytes")
    # both travel badly: NUL ends a C string, a lone surrogate has no UTF-8, so keys could not name such an id
    if not text.isprintable() and any(each == "\0" or "\ud800" <= each <= "\udfff" for each in text):
        return Flaw(RejectCode.bad_id, f"{name}={shown(text)} has a NUL or half a surrogate pair in it")
    return text


def judge_time(name: str, value: Any, record_ms: int) -> int | Flaw:
    """Return milliseconds since the epoch, the record's own if the event names none."""
    if value is None:
        if record_ms < 0:
            return Flaw(RejectCode.missing_timestamp, f"no {name}, and the record has no timestamp either")
        name, value = "the record's timestamp", record_ms
    if isinstance(value, datetime):  # Avro's timestamp logical types
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        value = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return Flaw(
            RejectCode.wrong_type, f"{name}={shown(value)} is no time: it must be whole milliseconds since the epoch"
        )
    if value < 0:
        return Flaw(RejectCode.negative_timestamp, f"{name}={shown(value)} is below 0")
    if value < EARLIEST_MS:
        return Flaw(
            RejectCode.timestamp_in_seconds, f"{name}={shown(value)} looks like seconds; it must be milliseconds"
        )
    if value > latest_ms(record_ms):
        bound = f"more than a day past the record's timestamp {record_ms}" if record_ms >= 0 else "past the year 9999"
        return Flaw(RejectCode.timestamp_ahead, f"{name}={shown(value)} is {bound}")
    return value


def judge_value(name: str, value: Any) -> float | Flaw:
    """Return a finite number that is not negative, or NaN if there is none."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return Flaw(RejectCode.wrong_type, f"{name}={shown(value)} is no number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        return Flaw(RejectCode.non_finite_value, f"{name}={shown(value)} is not finite")
    if number < 0:
        return Flaw(RejectCode.negative_value, f"{name}={shown(value)} is below 0")
    return number + 0.0  # -0.0 becomes 0.0, so that equal values are equal bytes


def _judge_kind(name: str, value: Any, mapping: InputMapping) -> Kind | Flaw:
    if value is not None and not isinstance(value, str):
        return Flaw(RejectCode.wrong_type, f"{name}={shown(value)} is no kind: it must be a string")
    kind = mapping.kind(value)
    if kind is None:
        return Flaw(RejectCode.unknown_kind, f"{name}={shown(value)} is no kind we know; map it in the input's `kinds`")
    if kind not in COLUMN_KINDS:
        return Flaw(RejectCode.unsupported_kind, f"{name}={shown(kind.name)}: nothing learns from this kind yet")
    return kind
