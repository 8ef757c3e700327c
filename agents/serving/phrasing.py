"""Better words in the background: what was said by a template is asked of an endpoint, judged, and kept for next time.

Never on a request's way: `offer` puts a reason in line and returns. One task asks, one reason after the other, within
the limits of the settings; what does not pass the check is counted by its flaw and the template stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import NamedTuple

from redis.exceptions import RedisError

from millstream.schemas.phrasing import Ask, Texts, flaw, speakable, tidied
from millstream.streams.ending import end_tasks
from millstream.streams.kept_words import KeptWords, Topic
from millstream.streams.outage import Outage
from millstream.streams.settings_serving import Words
from millstream.streams.words_endpoint import EndpointFailed, WordsEndpoint

from .metrics import Metrics

MOST_WAITING = 256
"""Reasons in line; more are dropped, and come again with the next request that has them."""
REST_S = 30.0
"""How long a failed endpoint is left alone."""
_REDIS_REST_S = 1.0
_LONGEST_WAIT_S = 60.0
_log = logging.getLogger(__name__)


class _Waiting(NamedTuple):
    topic: Topic
    ask: Ask


class Phrasing:
    """Asks for phrasings. One event loop owns it; nothing is connected before the first offer."""

    def __init__(
        self, words: Words, endpoint: WordsEndpoint, kept: KeptWords, metrics: Metrics, *, rest_s: float = REST_S
    ) -> None:
        self._words = words
        self._endpoint = endpoint
        self._kept = kept
        self._metrics = metrics
        self._outage = Outage("the words endpoint", rest_s=rest_s)
        self._line: asyncio.Queue[_Waiting] = asyncio.Queue(MOST_WAITING)
        self._in_line: set[Topic] = set()
        self._asking: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many reasons are in line."""
        return self._line.qsize()

    @property
    def is_lost(self) -> bool:
        """Whether the last question was not answered."""
        return self._outage.is_lost

    def offer(self, topic: Topic, texts: Mapping[str, Texts]) -> None:
        """Put a reason in line, unless it is there, the line is full, a title is missing or the endpoint rests."""
        item, evidence = texts.get(topic.item_id), texts.get(topic.evidence_id) if topic.evidence_id else None
        if item is None or (topic.evidence_id and evidence is None) or topic in self._in_line or self._outage.resting:
            return
        ask = Ask(topic.language, topic.phrase, item, evidence)
        if not speakable(ask):
            return
        if self._line.full():
            self._metrics.asked("dropped")
            return
        self._in_line.add(topic)
        self._line.put_nowait(_Waiting(topic, ask))
        if self._asking is None:
            self._asking = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop asking; what is in line is forgotten."""
        if self._asking is not None:
            await end_tasks([self._asking])
        await self._endpoint.close()

    async def _run(self) -> None:
        while True:
            topic, ask = await self._line.get()
            try:
                await self._ask(topic, ask)
            except RedisError as error:  # without it nothing can be counted or kept
                _log.warning("words: Redis does not answer: %s", error)
                await asyncio.sleep(_REDIS_REST_S)
            except Exception:  # the line goes on, whatever an endpoint comes up with
                _log.exception("words: a reason could not be asked for")
                self._metrics.asked("failed")
            finally:
                self._in_line.discard(topic)

    async def _ask(self, topic: Topic, ask: Ask) -> None:
        """Ask for one phrasing and keep what comes of it. Raises what redis-py raises."""
        if not self._outage.may_try():
            self._metrics.asked("dropped")
            return
        words, most = self._words, self._endpoint.most_tokens(ask)
        while wait_s := await self._kept.spend(
            most, requests_per_minute=words.requests_per_minute, daily_tokens=words.daily_tokens
        ):
            self._metrics.asked("limited")
            await asyncio.sleep(min(wait_s, _LONGEST_WAIT_S))
        try:
            reply = await self._endpoint.ask(ask)
        except EndpointFailed as error:
            self._outage.lost(error)
            self._metrics.asked("failed")
            return  # what it took is not known, so what was taken for it stays counted
        self._outage.back()
        if reply.tokens is not None:
            await self._kept.settle(most, reply.tokens)
        self._metrics.tokens(most if reply.tokens is None else reply.tokens)
        phrasing = tidied(reply.phrasing)
        found = flaw(phrasing, ask)
        await self._kept.keep(topic, "" if found else phrasing, words.keep_s)
        self._metrics.asked(found or "kept")
