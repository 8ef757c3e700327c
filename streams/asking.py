"""Asking, from where lists are served: a question over a channel of Redis, an answer within a second.

Workers are asked about users, and `millstream understand` about texts.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
import redis.asyncio
from redis.exceptions import RedisError

from millstream.schemas.questions import (
    AlikeAnswer,
    AlikeQuestion,
    ScoresAnswer,
    ScoresQuestion,
    SearchAnswer,
    SearchQuestion,
    TextAnswer,
    TextQuestion,
    WhyAnswer,
    WhyQuestion,
    WordQuestion,
    WorkerQuestion,
)

from .errors import NoAnswer
from .redis_connection import connect, host_of
from .redis_keys import question_channel, reply_key, words_channel

_MARGIN_S = 1.0
_AT_ONCE = 64
"""Questions out at a time: each waits on a connection of its own, and a pool has 100."""
_INSTEAD_WITHIN_S = 0.1
"""How long to wait for what only stands in for something else."""
Answered = TypeVar("Answered", bound=msgspec.Struct)


class Asking:
    """Asks the processes of one pipeline. One event loop; any number of questions at once.

    Each question raises `NoAnswer`, with the remedy, where nobody listens or none came within `within_s`.
    """

    def __init__(self, url: str, prefix: str = "", *, within_s: float = 1.0) -> None:
        self._prefix = prefix
        self._within_s = within_s
        self._host = host_of(url)
        self._client: redis.asyncio.Redis = connect(url, timeout_s=within_s + _MARGIN_S, reconnects=1)
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def why(self, user_id: str, item_id: str, list_name: str = "main") -> WhyAnswer:
        """Return where the item stands for the user as of now, and why."""
        return await self._of_worker(
            lambda reply_to: WhyQuestion(reply_to=reply_to, user_id=user_id, item_id=item_id, list=list_name),
            WhyAnswer,
            self._within_s,
        )

    async def scores(
        self, user_id: str, item_ids: Sequence[str], list_name: str = "main", *, within_s: float | None = None
    ) -> ScoresAnswer:
        """Return how the items, `MOST_SCORED` at most, score for the user as of now."""
        return await self._of_worker(
            lambda reply_to: ScoresQuestion(
                reply_to=reply_to, user_id=user_id, item_ids=list(item_ids), list=list_name
            ),
            ScoresAnswer,
            self._within_s if within_s is None else within_s,
        )

    async def text(self, text: str, *, encode: bool = True) -> TextAnswer:
        """Return what a text means, with its vector where there is an encoder and `encode` asks for it."""
        return await self._of_words(
            lambda reply_to: TextQuestion(reply_to=reply_to, text=text, encode=encode), TextAnswer
        )

    async def search(self, text: str, k: int, category: str | None = None) -> SearchAnswer:
        """Return which items a text may be about, `k` at most."""
        return await self._of_words(
            lambda reply_to: SearchQuestion(reply_to=reply_to, text=text, k=k, category=category), SearchAnswer
        )

    async def alike(self, item_id: str, k: int) -> AlikeAnswer:
        """Return the items that say the most like what this one says, `k` at most."""
        return await self._of_words(
            lambda reply_to: AlikeQuestion(reply_to=reply_to, item_id=item_id, k=k), AlikeAnswer
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _of_worker(
        self, question: Callable[[str], WorkerQuestion], answer: type[Answered], within_s: float
    ) -> Answered:
        reply = await self._reply(
            question_channel(self._prefix),
            question,
            within_s,
            nobody="no worker is running that could say; start one with `millstream worker`",
            silence="no worker has answered within {:g} s; partitions may be changing hands, ask again",
        )
        return msgspec.json.decode(reply, type=answer)

    async def _of_words(
        self, question: Callable[[str], WordQuestion], answer: type[Answered], within_s: float | None = None
    ) -> Answered:
        reply = await self._reply(
            words_channel(self._prefix),
            question,
            self._within_s if within_s is None else within_s,
            nobody="nobody is running that understands texts; start `millstream understand`",
            silence="`millstream understand` has not answered within {:g} s; it may be overloaded, ask again",
        )
        return msgspec.json.decode(reply, type=answer)

    async def _reply(
        self, channel: str, question: Callable[[str], msgspec.Struct], within_s: float, *, nobody: str, silence: str
    ) -> bytes:
        """Return what comes to the list made for this question."""
        reply_to = reply_key(self._prefix, secrets.token_hex(8))
        try:
            async with self._room:
                heard = await self._client.publish(channel, msgspec.json.encode(question(reply_to)))
                if not heard:
                    raise NoAnswer(nobody)
                reply: Any = await self._client.blpop([reply_to], within_s)
        except RedisError as error:
            raise NoAnswer(f"Redis at {self._host} does not answer: {error}") from error
        if reply is None:
            raise NoAnswer(silence.format(within_s))
        answered: bytes = reply[1]
        return answered
