"""Where an event happened: on which slate, and at which place of it.

Most events say neither. What is no name of a slate, or no place, counts as absent: whatever else the event says is as
good without it.
"""

from __future__ import annotations

import zlib
from typing import Any

SLATE_FIELDS = ("slate_id", "position")
"""The fields of ours that say it."""
NO_SLATE, NO_SLOT = 0, -1
_LAST_SLOT = 32_767
_MOST_CHARACTERS = 1_024


def slate_hash(slate_id: Any) -> int:
    """Return the CRC-32 of a slate's name, text or an integer, never 0; 0 for what is none.

    Slates are told apart among those that one user was shown lately: a hash of 32 bits is enough for that.
    """
    if isinstance(slate_id, bool) or not isinstance(slate_id, str | int):
        return NO_SLATE
    text = str(slate_id)
    if not 0 < len(text) <= _MOST_CHARACTERS:
        return NO_SLATE
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) or 1


def slate_slot(position: Any) -> int:
    """Return a place counted from 0, at most 32,767; -1 for what is none."""
    if isinstance(position, bool) or not isinstance(position, int) or position < 0:
        return NO_SLOT
    return min(position, _LAST_SLOT)
