"""Why a record gives no event: the codes dashboards count by, and how a bad value is shown."""

from __future__ import annotations

import enum
from typing import NamedTuple


class RejectCode(enum.StrEnum):
    """One word per reason. They are written into dead letters, so none is ever renamed."""

    broken_json = "broken_json"
    """The bytes are neither JSON nor one of the Avro framings."""
    bad_avro = "bad_avro"
    """Framed as Avro, but the bytes do not fit the schema they name."""
    unknown_schema = "unknown_schema"
    """Avro under a schema id or fingerprint that nobody registered."""
    null_message = "null_message"
    """The record has no value."""
    missing_user = "missing_user"
    missing_item = "missing_item"
    empty_id = "empty_id"
    id_too_long = "id_too_long"
    """More than 256 bytes of UTF-8."""
    bad_id = "bad_id"
    """A character no id may have: NUL, or half of a surrogate pair."""
    wrong_type = "wrong_type"
    """A field is of a type it cannot have: an id that is a float, a time that is text, a record that is a list."""
    unknown_kind = "unknown_kind"
    """Neither one of our kinds, nor a common name of one, nor in the input's `kinds`."""
    unsupported_kind = "unsupported_kind"
    """A kind that is about no item and that nothing learns from (merge): valid all the same."""
    missing_timestamp = "missing_timestamp"
    """Neither the event nor its record says when it happened."""
    negative_timestamp = "negative_timestamp"
    timestamp_in_seconds = "timestamp_in_seconds"
    """Below 1e11, which in milliseconds would be before March 1973."""
    timestamp_ahead = "timestamp_ahead"
    """More than a day past the record's own timestamp."""
    non_finite_value = "non_finite_value"
    """NaN or infinite."""
    negative_value = "negative_value"


class Flaw(NamedTuple):
    """What is wrong with one record, before anybody says where it stands."""

    code: RejectCode
    text: str


_SHOWN_CHARACTERS = 48


def shown(value: object) -> str:
    """Return `value` as an error message shows it: exact where short, cut where long, never a container's inside."""
    if isinstance(value, str | bytes):
        if len(value) <= _SHOWN_CHARACTERS:
            return repr(value)
        unit = "characters" if isinstance(value, str) else "bytes"
        return f"{value[:_SHOWN_CHARACTERS]!r}… ({len(value):,} {unit})"
    if isinstance(value, list | dict):
        return f"a {'list' if isinstance(value, list) else 'nested object'} of {len(value)}"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
