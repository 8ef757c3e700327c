"""Which lists were published last, and under which mark: who has to be published again when Redis is back at one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class Recent:
    """Ids in the order their lists were published, as far back as `most` of them reach. One task owns it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._noted: deque[tuple[int, tuple[str, ...]]] = deque()
        self._forgotten = -1

    def note(self, mark: int, ids: Iterable[str]) -> None:
        """Note that lists of `ids` are in Redis where `mark` is; marks only rise."""
        some = tuple(ids)
        if not some:
            return
        self._noted.append((mark, some))
        self._held += len(some)
        while self._held > self._most:
            self._forgotten, oldest = self._noted.popleft()
            self._held -= len(oldest)

    def since(self, mark: int) -> list[str] | None:
        """Return each id that was noted with a greater mark, once; None when that is not known any more."""
        if mark < self._forgotten:
            return None
        found: dict[str, None] = {}
        for at, ids in reversed(self._noted):
            if at <= mark:
                break
            found.update(dict.fromkeys(ids))
        return list(found)
