"""What an endpoint has said of reasons, kept in Redis for every serving process, and what was spent on it.

`words:DIGEST` holds a phrasing, or nothing where one was refused, so that it is not asked for at each request;
`words-asked:MINUTE` and `words-tokens:DAY` count what all processes together have asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import redis.asyncio
from redis.exceptions import RedisError

from millstream.schemas.phrasing import Texts

from .catalogue_hash import catalogue_key
from .outage import Outage
from .redis_connection import READ_TIMEOUT_S, connect

_REST_S = 0.1
_WRITE_TIMEOUT_S = 2.0  # in the background, where nobody waits
_MINUTE_S, _DAY_S = 60, 86_400
_texts = msgspec.json.Decoder(Texts)


class Topic(NamedTuple):
    """What a phrasing is of: it is the same for whoever the reason holds for."""

    language: str
    phrase: str
    evidence_id: str
    item_id: str


class Read(NamedTuple):
    """What one round trip found."""

    texts: Mapping[str, Texts]
    """By item id; those that the catalogue has."""
    phrasings: Sequence[str | None]
    """In the order asked; "": one was refused; None: none was tried, or it is forgotten."""
    answered: bool = True


def texts_of(item_ids: Sequence[str], values: Sequence[bytes | None]) -> dict[str, Texts]:
    """Return the texts of the items by what HMGET gives for them; a record that cannot be read counts as none."""
    found = {}
    for item_id, value in zip(item_ids, values, strict=True):
        if value is not None:
            with contextlib.suppress(msgspec.MsgspecError):
                found[item_id] = _texts.decode(value)
    return found


class KeptWords:
    """Reads and writes them. One event loop owns it. A read never raises for what Redis does, within 50 ms."""

    def __init__(self, url: str, prefix: str = "", *, clock: Callable[[], float] = time.time) -> None:
        self._prefix = prefix
        self._clock = clock
        self._outage = Outage("redis (words)", rest_s=_REST_S)
        self._client: redis.asyncio.Redis = connect(url, timeout_s=READ_TIMEOUT_S, reconnects=1)
        self._writing: redis.asyncio.Redis = connect(url, timeout_s=_WRITE_TIMEOUT_S, reconnects=1)

    async def read(self, item_ids: Sequence[str], topics: Sequence[Topic] = ()) -> Read:
        """Return the items' texts and the phrasings by one round trip; without Redis, nothing."""
        if not item_ids and not topics:
            return Read({}, ())
        nothing = Read({}, [None] * len(topics), answered=False)
        if not self._outage.may_try():
            return nothing
        asked = self._client.pipeline(transaction=False)
        if item_ids:
            asked.hmget(catalogue_key(self._prefix), list(item_ids))
        if topics:
            asked.mget([self._key(topic) for topic in topics])
        try:
            values: Any = await asked.execute()
        except RedisError as error:
            self._outage.lost(error)
            return nothing
        self._outage.back()
        texts = texts_of(item_ids, values[0]) if item_ids else {}
        kept = values[-1] if topics else ()
        return Read(texts, [None if each is None else each.decode(errors="replace") for each in kept])

    async def keep(self, topic: Topic, phrasing: str, keep_s: int) -> None:
        """Keep a phrasing that passed, or "" for one that did not. Raises what redis-py raises."""
        await self._writing.set(self._key(topic), phrasing, ex=keep_s)

    async def spend(self, tokens: int, *, requests_per_minute: int, daily_tokens: int) -> float:
        """Take `tokens` from the day's and one request from the minute's; return 0, or the seconds to wait instead.

        Both are windows of the clock, shared by all processes: at most twice a minute's requests fall within any 60 s.
        Raises what redis-py raises.
        """
        now_s = self._clock()
        day, minute = self._day(now_s), f"{self._prefix}words-asked:{int(now_s) // _MINUTE_S}"
        taken = self._writing.pipeline(transaction=True)
        taken.incrby(day, tokens)
        taken.expire(day, 2 * _DAY_S)
        taken.incr(minute)
        taken.expire(minute, 2 * _MINUTE_S)
        spent, _, asked, _ = await taken.execute()
        if spent <= daily_tokens and asked <= requests_per_minute:
            return 0.0
        given_back = self._writing.pipeline(transaction=True)
        given_back.decrby(day, tokens)
        given_back.decr(minute)
        await given_back.execute()
        window_s = _DAY_S if spent > daily_tokens else _MINUTE_S
        return window_s - now_s % window_s

    async def settle(self, taken: int, used: int) -> None:
        """Count what was used instead of what was taken for it. Raises what redis-py raises."""
        if taken != used:
            await self._writing.incrby(self._day(self._clock()), used - taken)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
        await self._writing.aclose()

    def _day(self, now_s: float) -> str:
        return f"{self._prefix}words-tokens:{time.strftime('%Y-%m-%d', time.gmtime(now_s))}"

    def _key(self, topic: Topic) -> str:
        digest = hashlib.blake2b(msgspec.json.encode(topic), digest_size=16).hexdigest()
        return f"{self._prefix}words:{digest}"
