"""Answers what a text means, which items it may be about, and which items say what another says.

Questions come over a channel of Redis, and answers go to one that whoever asked listens to. Several processes may
answer: the first answer is the one that is heard. Without an encoder, words alone are compared.

A search for a user goes on from here to the worker that scores for them, and its answer straight to who asked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

import msgspec
import numpy as np
import redis.asyncio
from numpy.typing import NDArray

from millstream.agents.fusing import SPREAD
from millstream.schemas.item_vectors import quantise
from millstream.schemas.questions import (
    AlikeAnswer,
    AlikeQuestion,
    Candidate,
    ScoredFor,
    ScoresQuestion,
    SearchAnswer,
    SearchQuestion,
    TextAnswer,
    TextQuestion,
    WordQuestion,
    read_word_question,
    written_reply,
)
from millstream.streams.channel import listen
from millstream.streams.redis_keys import question_channel, words_channel

from .clauses import Clauses
from .index import CatalogueIndex
from .texts import Texts

_AT_ONCE = 256
"""Questions that wait for their texts' vectors at a time; beyond it the channel waits."""

_log = logging.getLogger(__name__)


class Understanding:
    """Answers questions about texts, many at once. One event loop owns it. An outage costs answers alone."""

    def __init__(self, url: str, prefix: str, index: CatalogueIndex, texts: Texts | None) -> None:
        self.answered = 0
        """Questions answered so far."""
        self._url = url
        self._channel = words_channel(prefix)
        self._workers = question_channel(prefix)
        self._index = index
        self._texts = texts
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._writing = asyncio.Lock()  # one connection will do
        self._at_work: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Answer until cancelled."""
        try:
            await listen(self._url, self._channel, self._hear)
        finally:
            for task in self._at_work:
                task.cancel()

    async def _hear(self, client: redis.asyncio.Redis, value: bytes) -> None:
        try:
            question = read_word_question(value)
        except msgspec.MsgspecError as error:
            _log.warning("a question that cannot be read: %s", error)
            return
        await self._room.acquire()
        task = asyncio.create_task(self._reply(client, question))
        self._at_work.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._at_work.discard(task)
        self._room.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("a question without an answer: %r", error)

    async def _reply(self, client: redis.asyncio.Redis, question: WordQuestion) -> None:
        answer = await self._answer(client, question)
        await self._publish(client, question.reply_to, written_reply(question.number, answer))
        self.answered += 1

    async def _answer(
        self, client: redis.asyncio.Redis, question: WordQuestion
    ) -> TextAnswer | SearchAnswer | AlikeAnswer:
        if isinstance(question, TextQuestion):
            return await self.meaning(question.text, encode=question.encode)
        if isinstance(question, SearchQuestion):
            return await self._found(client, question)
        assert isinstance(question, AlikeQuestion)
        return AlikeAnswer(items=self._index.alike(question.item_id, question.k))

    async def _publish(self, client: redis.asyncio.Redis, channel: str, message: bytes) -> int:
        """Return how many heard it."""
        async with self._writing:
            heard: int = await client.publish(channel, message)
            return heard

    async def meaning(self, text: str, *, encode: bool = True) -> TextAnswer:
        """Return what a text means; with `encode`, its vector too."""
        asked = self._index.meaning(text)
        vector = await self._vector(asked.clauses) if encode else None
        coded, scale = (b"", 0.0) if vector is None else _coded(vector)
        return TextAnswer(
            intent=asked.intent,
            category=asked.category,
            wanted=list(asked.clauses.wanted),
            unwanted=list(asked.clauses.unwanted),
            encoder=None if self._texts is None else self._texts.encoder,
            scale=scale,
            coded=coded,
        )

    async def _found(self, client: redis.asyncio.Redis, question: SearchQuestion) -> SearchAnswer:
        began_s = time.perf_counter()
        asked = self._index.meaning(question.text)
        understood_s = time.perf_counter()
        vector = await self._vector(asked.clauses)
        encoded_s = time.perf_counter()
        candidates = self._index.candidates(asked, vector, question.k, question.category)
        found_s = time.perf_counter()
        workers = None
        if question.scored is not None and (asked.intent != "category" or question.category is not None):
            workers = await self._have_scored(client, question.reply_to, question.scored, candidates)
        asked_s = time.perf_counter()
        alike = b""  # made while the worker scores
        if SPREAD[asked.intent] and vector is not None:
            alike = self._index.likeness([each.item_id for each in candidates])
        matched_s = understood_s - began_s + found_s - encoded_s + time.perf_counter() - asked_s
        return SearchAnswer(
            intent=asked.intent,
            category=asked.category,
            candidates=candidates,
            encoder=None if self._texts is None else self._texts.encoder,
            alike=alike,
            encode_ms=round(1_000 * (encoded_s - understood_s), 3),
            match_ms=round(1_000 * matched_s, 3),
            workers_asked=workers,
        )

    async def _have_scored(
        self, client: redis.asyncio.Redis, reply_to: str, scored: ScoredFor, candidates: Sequence[Candidate]
    ) -> int:
        """Ask the workers, on behalf of who asked; return how many heard it."""
        question = ScoresQuestion(
            reply_to=reply_to,
            number=scored.number,
            user_id=scored.user_id,
            item_ids=[each.item_id for each in candidates],
            list=scored.list,
        )
        return await self._publish(client, self._workers, msgspec.json.encode(question))

    async def _vector(self, clauses: Clauses) -> NDArray[np.float32] | None:
        return None if self._texts is None else await self._texts.vector(clauses)


def _coded(vector: NDArray[np.float32]) -> tuple[bytes, float]:
    coded, scale = quantise(vector)
    return coded.tobytes(), scale
