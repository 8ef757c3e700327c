"""On which surface an event happened: the page, app or channel that its `context` names.

Most events say none. What is no name counts as absent: whatever else the event says is as good without it.
"""

from __future__ import annotations

import zlib
from typing import Any

NO_SURFACE = 0
SURFACE = "surface"
"""The name it has among the circumstances of an event, its field `context`."""
_MOST_CHARACTERS = 256


def surface_hash(context: Any) -> int:
    """Return the CRC-32 of the surface that an event's context names, never 0; 0 where it names none."""
    name = context.get(SURFACE) if isinstance(context, dict) else None
    if not isinstance(name, str) or not 0 < len(name) <= _MOST_CHARACTERS:
        return NO_SURFACE
    return zlib.crc32(name.encode("utf-8", "surrogatepass")) or 1
