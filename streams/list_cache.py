"""Lists kept in the serving process, for as long as Redis is known to hold nothing newer.

Redis says of every key it changes that it did (`invalidations`), so an entry stands until its list, its user's rules or
the withdrawn items change. Two guards make that safe:

- Nothing is served later than `SILENCE_S` after the last moment for which all changes are known to have arrived.
- What was fetched is kept only if no change to it arrived since the fetch began: Redis may have answered before it.

Pure but for the clock: it is told of changes and fetches by others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from .answer import Found
from .redis_keys import POPULAR, list_prefix, rule_prefix, split_pointer, withdrawn_key

SILENCE_S = 0.05
"""How long after the last proof that nothing is missing the cache still answers."""


class Fetch:
    """One read of Redis that is under way, and what was changed meanwhile."""

    __slots__ = ("all_spoiled", "list_name", "popular_spoiled", "spoiled", "users")

    def __init__(self, list_name: str, users: Iterable[str]) -> None:
        self.list_name = list_name
        self.users = frozenset(users)
        self.spoiled: set[str] = set()
        self.popular_spoiled = False
        self.all_spoiled = False


class ListCache:
    """What users may be shown, by user and list. Threads may share it; a hit takes no lock.

    `most` bounds the entries; beyond it the oldest gives way. `hits` and `misses` are for people: threads may lose one.
    """

    def __init__(self, prefix: str, *, most: int = 100_000, clock: Callable[[], float] = time.monotonic) -> None:
        self.hits = 0
        self.misses = 0
        self._most = most
        self._clock = clock
        self._list_prefix = list_prefix(prefix).encode()
        self._rule_prefix = rule_prefix(prefix).encode()
        self._withdrawn_key = withdrawn_key(prefix).encode()
        self._own: dict[str, dict[str, Found]] = {}
        """User to list to what they are shown, where no other list stands in."""
        self._standing_in: dict[str, dict[str, Found]] = {}
        """List to user to what is shown instead; it goes with the popular list."""
        self._fetches: set[Fetch] = set()
        self._lock = threading.Lock()
        self._complete_until_s = float("-inf")

    @property
    def prefixes(self) -> tuple[bytes, bytes, bytes]:
        """Which keys it must hear of."""
        return self._list_prefix, self._rule_prefix, self._withdrawn_key

    @property
    def fresh(self) -> bool:
        """Whether it may answer now."""
        return self._clock() - self._complete_until_s <= SILENCE_S

    def __len__(self) -> int:
        return len(self._own) + sum(map(len, self._standing_in.values()))

    def get(self, list_name: str, user_id: str) -> Found | None:
        """Return what the user may be shown, or None when that has to be fetched."""
        if self._clock() - self._complete_until_s <= SILENCE_S:
            lists = self._own.get(user_id)
            found = None if lists is None else lists.get(list_name)
            if found is None:
                users = self._standing_in.get(list_name)
                found = None if users is None else users.get(user_id)
            if found is not None:
                self.hits += 1
                return found
        self.misses += 1
        return None

    def begin(self, list_name: str, users: Sequence[str]) -> Fetch:
        """Note that a fetch begins; `end` it whatever comes of it."""
        fetch = Fetch(list_name, users)
        with self._lock:
            self._fetches.add(fetch)
            fetch.all_spoiled = not self.fresh  # nobody would tell us of a change
        return fetch

    def end(self, fetch: Fetch, found: Sequence[tuple[str, Found]] = ()) -> None:
        """Keep what a fetch found of each user, except where it was changed since the fetch began."""
        with self._lock:
            self._fetches.discard(fetch)
            if fetch.all_spoiled:
                return
            for user_id, each in found:
                if user_id in fetch.spoiled:
                    continue
                self._drop(fetch.list_name, user_id)
                if each.fallback is None:
                    self._own.setdefault(user_id, {})[fetch.list_name] = each
                elif not fetch.popular_spoiled:
                    self._standing_in.setdefault(fetch.list_name, {})[user_id] = each
            while len(self) > self._most:
                self._drop_oldest()

    def changed(self, keys: Iterable[bytes]) -> None:
        """Forget what these keys stood for."""
        with self._lock:
            for key in keys:
                if key.startswith(self._list_prefix):
                    self._list_changed(*split_pointer(key[len(self._list_prefix) :].decode()))
                elif key.startswith(self._rule_prefix):
                    self._rule_changed(key[len(self._rule_prefix) :].decode())
                elif key == self._withdrawn_key:
                    self._forget_all()

    def complete_until(self, at_s: float) -> None:
        """Note that every change up to this moment of the clock has arrived."""
        self._complete_until_s = at_s

    def lost(self) -> None:
        """Note that changes may be missed from now on: forget everything, keep nothing that is under way."""
        with self._lock:
            self._complete_until_s = float("-inf")
            self._forget_all()

    def forget_all(self) -> None:
        """Forget everything: Redis was flushed."""
        with self._lock:
            self._forget_all()

    def _list_changed(self, list_name: str, user_id: str) -> None:
        self._drop(list_name, user_id)
        of_all = user_id == POPULAR
        if of_all:
            self._standing_in.pop(list_name, None)
        for fetch in self._fetches:
            if fetch.list_name == list_name:
                fetch.popular_spoiled |= of_all
                if user_id in fetch.users:
                    fetch.spoiled.add(user_id)

    def _rule_changed(self, user_id: str) -> None:
        self._own.pop(user_id, None)
        for users in self._standing_in.values():
            users.pop(user_id, None)
        for fetch in self._fetches:
            if user_id in fetch.users:
                fetch.spoiled.add(user_id)

    def _forget_all(self) -> None:
        # new ones, not cleared ones: a thread in `get` may hold an old one, and finds it empty or as it was
        self._own, self._standing_in = {}, {}
        for fetch in self._fetches:
            fetch.all_spoiled = True

    def _drop(self, list_name: str, user_id: str) -> None:
        lists = self._own.get(user_id)
        if lists is not None:
            lists.pop(list_name, None)
            if not lists:
                del self._own[user_id]
        users = self._standing_in.get(list_name)
        if users is not None:
            users.pop(user_id, None)

    def _drop_oldest(self) -> None:
        if self._own:
            del self._own[next(iter(self._own))]
            return
        for users in self._standing_in.values():
            if users:
                del users[next(iter(users))]
                return
