"""Following the feed: from stream entries to the lists they point at. Pure; the readers do the fetching.

A pointer says which list changed, not what it became, so a follower that lags reads each list once, as it is now.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence

from millstream.schemas.records import Slate, Version
from millstream.schemas.slates import UnreadableSlate, decode_slate

from .redis_keys import list_key, split_pointer

ENTRIES_PER_READ = 500
FROM_NOW = "$"
Entry = tuple[bytes, dict[bytes, bytes]]
"""A stream entry as redis-py gives it: id, fields."""
_log = logging.getLogger(__name__)


class FeedCursor:
    """Where one follower stands: the entries it has passed, the lists it still has to read. One owner.

    Every list published after the start is yielded at least as new as its pointer, unless it expired or a newer one
    was yielded already. Asking again after a failed fetch is always right: nothing is passed before it was taken.
    """

    def __init__(self, prefix: str, last_id: str, *, list_name: str | None = None) -> None:
        self._prefix = prefix
        self._list_name = list_name
        self.last_id = last_id
        self._wanted: dict[str, Version] = {}
        # Lists read newer than their pointer: the pointers still to come for them bring nothing new.
        self._ahead: dict[str, Version] = {}

    def take(self, entries: Iterable[Entry]) -> None:
        """Pass `entries`; several pointers to one list become one, at the place of the last."""
        for entry_id, fields in entries:
            self.last_id = entry_id.decode()
            pointer, version = fields[b"k"].decode(), Version.unpack(fields[b"v"])
            if self._list_name is not None and split_pointer(pointer)[0] != self._list_name:
                continue
            ahead = self._ahead.get(pointer)
            if ahead is not None and version >= ahead:
                del self._ahead[pointer]
            if ahead is not None and version <= ahead:
                continue
            self._wanted.pop(pointer, None)
            self._wanted[pointer] = version

    def keys(self) -> list[str]:
        """Return the list keys to fetch before going on; empty when the next entries may be taken."""
        return [list_key(self._prefix, *split_pointer(pointer)) for pointer in self._wanted]

    def slates(self, values: Sequence[bytes | None]) -> Iterator[Slate]:
        """Yield the lists that `keys` asked for; None (expired) and values of another format are passed over."""
        wanted, self._wanted = self._wanted, {}
        for (pointer, version), value in zip(wanted.items(), values, strict=True):
            if value is None:
                continue
            list_name, user_id = split_pointer(pointer)
            try:
                slate = decode_slate(value, list_name=list_name, user_id=user_id)
            except UnreadableSlate as error:
                _log.warning("%s; left out of the feed", error)
                continue
            if slate.version > version:
                self._ahead[pointer] = slate.version
            yield slate


def start_after(newest: Sequence[Entry]) -> str:
    """Return the id that "from now on" means, given the feed's newest entry (or none)."""
    return newest[0][0].decode() if newest else "0-0"
