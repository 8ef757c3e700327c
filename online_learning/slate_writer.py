"""From ranked rows to JSON text, compiled: no object an item, and no work under the interpreter's lock.

What is written is the `items` array of a slate (`millstream.schemas.slates`). Parts of a score have five decimals, and
the score is their sum to the last digit. Each reason names a group of signals, and the item that its
part comes from where there is one (`kernel.write_place`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiled import entry, kernel
from .signal import GROUPS

UNITS = 100_000
"""Five decimals."""
_DIGITS = 5
_REASON_BYTES = 48
_PROPENSITY_BYTES = 16
"""More than a reason takes without the item it names: brackets, commas, the group, a number of 20 digits."""

_GROUP_TEXT = np.zeros((len(GROUPS), 16), np.uint8)
_GROUP_LENGTH = np.array([len(group) for group in GROUPS], np.int64)
for _row, _group in enumerate(GROUPS):
    _GROUP_TEXT[_row, : len(_group)] = np.frombuffer(_group.encode(), np.uint8)

_QUOTE, _COMMA, _OPEN, _CLOSE, _MINUS, _POINT, _ZERO = (np.uint8(ord(character)) for character in '",[]-.0')
_NULL = np.frombuffer(b"null", np.uint8)


def room(length: int, longest: int) -> int:
    """Return more bytes than a list of `length` items takes, no id longer than `longest` bytes of JSON."""
    return 2 + length * ((len(GROUPS) + 1) * (_REASON_BYTES + longest) + _PROPENSITY_BYTES)


@entry
def write_lists(
    item: NDArray[np.int32],
    contribution: NDArray[np.float32],
    evidence: NDArray[np.int32],
    propensity: NDArray[np.float32],
    text: NDArray[np.uint8],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    out: NDArray[np.uint8],
    written: NDArray[np.int64],
) -> None:
    """Write each list's items into its row of `out`, shape (lists, `room`), and how many bytes into `written`.

    The first four are those of `kernel.Lists`; `text` holds the JSON strings of the ids, row r's between `begins[r]`
    and `ends[r]`.
    """
    for row in range(len(item)):
        line = out[row]
        line[0] = _OPEN
        at = 1
        for place in range(item.shape[1]):
            if item[row, place] < 0:
                break
            if place > 0:
                line[at] = _COMMA
                at += 1
            likely = propensity[row, place]
            parts, from_ = contribution[row, place], evidence[row, place]
            at = _write_item(line, at, item[row, place], parts, from_, likely, text, begins, ends)
        line[at] = _CLOSE
        written[row] = at + 1


@kernel
def _write_item(
    line: NDArray[np.uint8],
    at: int,
    item: int,
    parts: NDArray[np.float32],
    evidence: NDArray[np.int32],
    propensity: np.float32,
    text: NDArray[np.uint8],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> int:
    score = 0
    for group in range(len(parts)):
        score += _units(parts[group])
    line[at] = _OPEN
    at = _copy(line, at + 1, text, begins[item], ends[item])
    line[at] = _COMMA
    at = _write_number(line, at + 1, score)
    line[at] = _COMMA
    line[at + 1] = _OPEN
    at += 2
    reasons = 0
    for group in range(len(parts)):
        part = _units(parts[group])
        if part != 0:
            if reasons > 0:
                line[at] = _COMMA
                at += 1
            reasons += 1
            at = _write_reason(line, at, group, part, evidence[group], text, begins, ends)
    line[at] = _CLOSE
    line[at + 1] = _COMMA
    if np.isnan(propensity):
        at = _copy(line, at + 2, _NULL, 0, len(_NULL))
    else:
        at = _write_number(line, at + 2, _units(propensity))
    line[at] = _CLOSE
    return at + 1


@kernel
def _write_reason(
    line: NDArray[np.uint8],
    at: int,
    group: int,
    part: int,
    evidence: int,
    text: NDArray[np.uint8],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> int:
    line[at] = _OPEN
    line[at + 1] = _QUOTE
    at = _copy(line, at + 2, _GROUP_TEXT[group], 0, _GROUP_LENGTH[group])
    line[at] = _QUOTE
    line[at + 1] = _COMMA
    at = _write_number(line, at + 2, part)
    line[at] = _COMMA
    if evidence >= 0:
        at = _copy(line, at + 1, text, begins[evidence], ends[evidence])
    else:
        line[at + 1] = _QUOTE
        line[at + 2] = _QUOTE
        at += 3
    line[at] = _CLOSE
    return at + 1


@kernel
def _units(part: float | np.float32) -> int:
    return int(np.rint(np.float64(part) * UNITS))


@kernel
def _write_number(line: NDArray[np.uint8], at: int, units: int) -> int:
    """Write `units` / `UNITS` as a decimal without trailing zeros, but with one decimal at least."""
    if units < 0:
        line[at] = _MINUS
        at += 1
        units = -units
    whole = units // UNITS
    digits = 1
    ten = 10
    while ten <= whole:
        digits += 1
        ten *= 10
    for place in range(at + digits - 1, at - 1, -1):
        line[place] = _ZERO + whole % 10
        whole //= 10
    at += digits
    line[at] = _POINT
    rest = units % UNITS
    last = at + 1
    for place in range(at + _DIGITS, at, -1):
        digit = rest % 10
        line[place] = _ZERO + digit
        if digit != 0 and place > last:
            last = place
        rest //= 10
    return last + 1


@kernel
def _copy(line: NDArray[np.uint8], at: int, text: NDArray[np.uint8], first: int, last: int) -> int:
    for place in range(first, last):
        line[at] = text[place]
        at += 1
    return at
