"""Asking, from where lists are served: a question over a channel of Redis, an answer within a second.

Workers are asked about users, and `millstream understand` about texts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple, TypeVar

import msgspec
import redis.asyncio
from redis.exceptions import RedisError

from millstream.schemas.questions import (
    AlikeAnswer,
    AlikeQuestion,
    Question,
    ScoredFor,
    ScoresAnswer,
    ScoresQuestion,
    SearchAnswer,
    SearchQuestion,
    TextAnswer,
    TextQuestion,
    WhyAnswer,
    WhyQuestion,
)

from .answers import Answers
from .errors import NoAnswer
from .redis_connection import connect, host_of
from .redis_keys import question_channel, words_channel

_MARGIN_S = 1.0
_AT_ONCE = 64
"""Questions put at a time: each takes a connection of its own for the while, and a pool has 100."""
_SCORED_WITHIN_S = 0.15
"""What scores may take once it is known what was found: an order without them will do, too."""
Answered = TypeVar("Answered", bound=msgspec.Struct)


class _Asked(NamedTuple):
    """Somebody to ask, and what to say where nobody is there, or nobody answers in time."""

    channel: str
    nobody: str
    silence: str


class Asking:
    """Asks the processes of one pipeline. One event loop; any number of questions at once.

    Each question raises `NoAnswer`, with the remedy, where nobody listens or none came within `within_s`.
    """

    def __init__(self, url: str, prefix: str = "", *, within_s: float = 1.0) -> None:
        self._within_s = within_s
        self._host = host_of(url)
        self._client: redis.asyncio.Redis = connect(url, timeout_s=within_s + _MARGIN_S, reconnects=1)
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._answers = Answers(url, prefix)
        self._workers = _Asked(
            question_channel(prefix),
            "no worker is running that could say; start one with `millstream worker`",
            "no worker has answered within {:g} s; partitions may be changing hands, ask again",
        )
        self._understands = _Asked(
            words_channel(prefix),
            "nobody is running that understands texts; start `millstream understand`",
            "`millstream understand` has not answered within {:g} s; it may be overloaded, ask again",
        )

    async def why(self, user_id: str, item_id: str, list_name: str = "main") -> WhyAnswer:
        """Return where the item stands for the user as of now, and why."""
        question = partial(WhyQuestion, user_id=user_id, item_id=item_id, list=list_name)
        return await self._ask(self._workers, question, WhyAnswer)

    async def scores(self, user_id: str, item_ids: Sequence[str], list_name: str = "main") -> ScoresAnswer:
        """Return how the items, `MOST_SCORED` at most, score for the user as of now; soon, or not at all."""
        question = partial(ScoresQuestion, user_id=user_id, item_ids=list(item_ids), list=list_name)
        return await self._ask(self._workers, question, ScoresAnswer, _SCORED_WITHIN_S)

    async def text(self, text: str, *, encode: bool = True) -> TextAnswer:
        """Return what a text means, with its vector where there is an encoder and `encode` asks for it."""
        return await self._ask(self._understands, partial(TextQuestion, text=text, encode=encode), TextAnswer)

    async def search(
        self, text: str, k: int, category: str | None = None, *, user_id: str | None = None, list_name: str = "main"
    ) -> tuple[SearchAnswer, ScoresAnswer | None]:
        """Return which items a text may be about, `k` at most, and how these score for a user, in their order.

        None: there is no user, no worker said so in time, or none was asked, as the answer then says.
        """
        with ExitStack() as waiting:
            scored = scores = None
            if user_id is not None:
                number, scores = waiting.enter_context(self._answers.awaited())
                scored = ScoredFor(number=number, user_id=user_id, list=list_name)
            question = partial(SearchQuestion, text=text, k=k, category=category, scored=scored)
            found = await self._ask(self._understands, question, SearchAnswer)
            if scores is None or not found.workers_asked:
                return found, None
            await asyncio.wait([scores], timeout=_SCORED_WITHIN_S)
            return found, msgspec.json.decode(scores.result(), type=ScoresAnswer) if scores.done() else None

    async def alike(self, item_id: str, k: int) -> AlikeAnswer:
        """Return the items that say the most like what this one says, `k` at most."""
        return await self._ask(self._understands, partial(AlikeQuestion, item_id=item_id, k=k), AlikeAnswer)

    async def close(self) -> None:
        """Close the connections."""
        await self._answers.close()
        await self._client.aclose()

    async def _ask(
        self,
        asked: _Asked,
        question: Callable[..., Question],
        answered: type[Answered],
        within_s: float | None = None,
    ) -> Answered:
        within_s = self._within_s if within_s is None else within_s
        try:
            async with asyncio.timeout(within_s):
                if not self._answers.hears:
                    await self._client.ping()  # so that it is told from silence that Redis is gone
                    await self._answers.hearing()
                with self._answers.awaited() as (number, answer):
                    asks = question(reply_to=self._answers.channel, number=number)
                    async with self._room:
                        heard = await self._client.publish(asked.channel, msgspec.json.encode(asks))
                    if not heard:
                        raise NoAnswer(asked.nobody)
                    return msgspec.json.decode(await answer, type=answered)
        except RedisError as error:
            raise NoAnswer(f"Redis at {self._host} does not answer: {error}") from error
        except TimeoutError:
            raise NoAnswer(asked.silence.format(within_s)) from None
