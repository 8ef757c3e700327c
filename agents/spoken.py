"""A user's words as the event that shifts their list: what was said, what it is after, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from millstream.schemas.canonical import canonical_event
from millstream.schemas.mapping import InputMapping
from millstream.schemas.questions import TextAnswer
from millstream.schemas.rules import Event
from millstream.schemas.utterances import INTENT

MOST_CHARACTERS = 512
"""Of a text that is understood."""


def spoken_event(
    event: Event, mapping: InputMapping, text: str, meaning: TextAnswer | None, extras: Mapping[str, Any] | None = None
) -> bytes:
    """Return a `say` or `query` as a message for an input of this mapping; without a `meaning` it has no vector.

    `extras` as `schemas.canonical` has them. Raises `WrongMapping` where the mapping has no name for its kind.
    """
    more: dict[str, Any] = {**(extras or {}), "query": text}
    if meaning is not None:
        more["context"] = {**more.get("context", {}), INTENT: meaning.intent}
        if meaning.coded:  # its length says nothing, so whole numbers will do
            more["vector"] = np.frombuffer(meaning.coded, np.int8).tolist()
    return canonical_event(event, mapping, more)
