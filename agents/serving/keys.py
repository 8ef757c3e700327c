"""API keys: who may read lists, who may also send events, who may also change the catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class Level(IntEnum):
    """What a caller may do; each level includes those below."""

    nothing = 0
    read = 1
    """Lists, the stream, metrics."""
    write = 2
    """Events, too."""
    admin = 3
    """Items, too."""


class ApiKeys:
    """The keys of the settings. Without any, everybody may do everything: only for a server on loopback."""

    def __init__(self, read: Iterable[str], write: Iterable[str], admin: Iterable[str]) -> None:
        levels = ((Level.read, read), (Level.write, write), (Level.admin, admin))
        # a dict compares keys by their hash, which is seeded by chance, so its time does not tell how much was right
        self._levels = {key: level for level, keys in levels for key in keys}

    @property
    def off(self) -> bool:
        """Whether nobody is asked."""
        return not self._levels

    def level(self, key: str | None) -> Level:
        """Return what the holder of `key` may do."""
        if not self._levels:
            return Level.admin
        return Level.nothing if key is None else self._levels.get(key, Level.nothing)
