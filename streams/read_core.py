"""What the blocking and the asyncio reader share, so that they cannot differ: everything but the round trip itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence

from .answer import Answer, Found, ListReading, answer_of, checked_k
from .invalidations import Invalidations
from .list_cache import Fetch, ListCache
from .outage import Outage
from .redis_keys import checked_list_name

REST_S = 0.1
"""How long after a failed read no other is tried but one, so that a hung Redis is not queued on."""

SIMILAR = "similar"
"""What answers call the list of what is similar to an item."""
STANDS_IN = "main"
"""Whose popular list stands in where there is none."""


class ReadCore:
    """Everything but the round trip. A read is `cached`; else `begin`, an MGET, and `answers` or `unavailable`.

    What `begin` returned goes to one of these two, or to `abandon`. Threads may share it.
    """

    def __init__(
        self, url: str, prefix: str, *, static: Sequence[str], cached: bool, clock_ms: Callable[[], int]
    ) -> None:
        self.outage = Outage("redis (lists)", rest_s=REST_S)
        self.cache = ListCache(prefix) if cached else None
        self._reading = ListReading(prefix, static)
        self._clock_ms = clock_ms
        self._url = url
        self._invalidations: Invalidations | None = None
        self._starting = threading.Lock()

    def cached(self, user: str, k: int, list_name: str, exclude: Collection[str]) -> Answer | None:
        """Return the answer if it needs no round trip. Raises ValueError for a question that cannot be answered."""
        if k < 1 or not list_name or ":" in list_name:
            checked_k(k)
            checked_list_name(list_name)
        if self.cache is None:
            return None
        found = self.cache.get(list_name, user)
        if found is None:
            return None
        answer = answer_of(found, list_name, user, k, self._clock_ms(), exclude)
        # excluded whole: another list has to stand in, and that one is not in the cache under this user
        return answer if answer.items or not exclude else None

    def begin(self, list_name: str, users: Sequence[str]) -> tuple[list[bytes], Fetch | None]:
        """Return the keys to fetch, and what `end` wants back."""
        if self.cache is None:
            return self._reading.keys(list_name, users), None
        if self._invalidations is None:
            self._listen()
        return self._reading.keys(list_name, users), self.cache.begin(list_name, users)

    def answers(
        self,
        values: Sequence[bytes | None],
        fetch: Fetch | None,
        users: Sequence[str],
        k: int,
        list_name: str,
        exclude: Collection[str],
    ) -> list[Answer]:
        """Return the answers that the fetched values give, and keep in the cache what may be kept."""
        reading, now_ms = self._reading, self._clock_ms()
        withdrawn, popular = values[0], values[1]
        answers: list[Answer] = []
        keep: list[tuple[str, Found]] = []
        for place, user in enumerate(users):
            own, rule = values[2 + 2 * place], values[3 + 2 * place]
            found = reading.found(list_name, user, withdrawn, popular, own, rule)
            answer = answer_of(found, list_name, user, k, now_ms, exclude)
            if exclude and not answer.items:
                instead = reading.found(list_name, user, withdrawn, popular, own, rule, exclude)
                answer = answer_of(instead, list_name, user, k, now_ms)
            answers.append(answer)
            keep.append((user, found))
        if fetch is not None and self.cache is not None:
            self.cache.end(fetch, keep)
        return answers

    def similar_keys(self, item: str) -> list[bytes]:
        """Return the keys to fetch for what is similar to `item`. The cache has none of that."""
        return self._reading.similar_keys(STANDS_IN, item)

    def similar_answer(self, values: Sequence[bytes | None], item: str, k: int, exclude: Collection[str]) -> Answer:
        """Return the answer that the fetched values give."""
        withdrawn, popular, own = values
        found = self._reading.found(STANDS_IN, item, withdrawn, popular, own, None, {item, *exclude})
        return answer_of(found, SIMILAR, item, k, self._clock_ms())

    def kept_off_keys(self, user: str) -> list[bytes]:
        """Return the keys to fetch for what may not be shown to a user."""
        return self._reading.kept_off_keys(user)

    def kept_off(self, user: str, values: Sequence[bytes | None]) -> frozenset[str]:
        """Return what the fetched values keep off; without any what was withdrawn when last seen."""
        return self._reading.kept_off(user, values)

    def category_keys(self, list_name: str, user: str, category: str) -> list[bytes]:
        """Return the keys to fetch for a user's list in one category. The cache has none of that."""
        checked_list_name(list_name)
        return self._reading.category_keys(list_name, user, category)

    def own_items(self, list_name: str, user: str, values: Sequence[bytes | None]) -> list[str]:
        """Return the items of the list fetched whose categories are to be asked for."""
        return self._reading.own_items(list_name, user, values[1])

    def category_answer(
        self,
        values: Sequence[bytes | None],
        inside: Collection[str],
        user: str,
        k: int,
        list_name: str,
        category: str,
        exclude: Collection[str],
    ) -> Answer:
        """Return the answer that the fetched values give; `inside` are the list's items of the category."""
        found = self._reading.found_in_category(list_name, user, category, values, inside, exclude)
        return answer_of(found, list_name, user, k, self._clock_ms())

    def unavailable_in_category(self, user: str, list_name: str) -> Answer:
        """Return the answer given while Redis does not answer: of static items the category is not known."""
        checked_list_name(list_name)
        return Answer(user_id=user, list=list_name, fallback="unavailable", because="unavailable")

    def abandon(self, fetch: Fetch | None) -> None:
        """Forget a fetch that came to nothing."""
        if fetch is not None and self.cache is not None:
            self.cache.end(fetch)

    def unavailable(
        self, fetch: Fetch | None, users: Sequence[str], k: int, list_name: str, exclude: Collection[str]
    ) -> list[Answer]:
        """Return the answers given while Redis does not answer."""
        self.abandon(fetch)
        found = self._reading.found_nothing(exclude)
        return [answer_of(found, list_name, user, k, 0) for user in users]

    def close(self) -> None:
        """Stop hearing of changes."""
        with self._starting:
            invalidations, self._invalidations = self._invalidations, None
        if invalidations is not None:
            invalidations.stop()

    def _listen(self) -> None:
        assert self.cache is not None
        with self._starting:
            if self._invalidations is None:
                self._invalidations = Invalidations(self._url, self.cache)
                self._invalidations.start()


def split(
    core: ReadCore, users: Sequence[str], k: int, list_name: str, exclude: Collection[str]
) -> tuple[dict[str, Answer], Sequence[str]]:
    """Return the answers that need no round trip, by user, and the users that do, each once."""
    checked_k(k)
    checked_list_name(list_name)
    known: dict[str, Answer] = {}
    for user in users if core.cache is not None else ():
        answer = core.cached(user, k, list_name, exclude)
        if answer is not None:
            known[user] = answer
    return known, [user for user in dict.fromkeys(users) if user not in known]


def joined(
    users: Sequence[str], known: dict[str, Answer], missing: Sequence[str], read: Sequence[Answer]
) -> Sequence[Answer]:
    """Return one answer a user, in their order."""
    found = known | dict(zip(missing, read, strict=True))
    return [found[user] for user in users]
