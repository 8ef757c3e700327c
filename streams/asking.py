"""Asking the workers, from where lists are served: a question over a channel of Redis, an answer within a second."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
import redis.asyncio
from redis.exceptions import RedisError

from millstream.schemas.questions import WhyAnswer, WhyQuestion, read_answer

from .errors import NoAnswer
from .redis_connection import connect, host_of
from .redis_keys import question_channel, reply_key

_MARGIN_S = 1.0


class Asking:
    """Asks the workers of one pipeline. One event loop; any number of questions at once."""

    def __init__(self, url: str, prefix: str = "", *, within_s: float = 1.0) -> None:
        self._prefix = prefix
        self._within_s = within_s
        self._host = host_of(url)
        self._client: redis.asyncio.Redis = connect(url, timeout_s=within_s + _MARGIN_S, reconnects=1)

    async def why(self, user_id: str, item_id: str, list_name: str = "main") -> WhyAnswer:
        """Return where the item stands for the user as of now, and why. Raises `NoAnswer`."""
        reply_to = reply_key(self._prefix, secrets.token_hex(8))
        question = WhyQuestion(reply_to=reply_to, user_id=user_id, item_id=item_id, list=list_name)
        try:
            heard = await self._client.publish(question_channel(self._prefix), msgspec.json.encode(question))
            if not heard:
                raise NoAnswer("no worker is running that could say; start one with `millstream worker`")
            reply: Any = await self._client.blpop([reply_to], self._within_s)
        except RedisError as error:
            raise NoAnswer(f"Redis at {self._host} does not answer: {error}") from error
        if reply is None:
            raise NoAnswer(
                f"no worker has answered within {self._within_s:g} s; partitions may be changing hands, ask again"
            )
        return read_answer(reply[1])

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
