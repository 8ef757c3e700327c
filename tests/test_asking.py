"""Questions over a channel of Redis and their answers: each to who asked, the first one alone, and never for long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import redis.asyncio

from millstream.schemas.questions import (
    AlikeAnswer,
    AlikeQuestion,
    WordQuestion,
    read_word_question,
    written_reply,
)
from millstream.schemas.records import ScoredItem
from millstream.streams.asking import Asking
from millstream.streams.channel import listen
from millstream.streams.errors import NoAnswer
from millstream.streams.local_redis import LocalRedis
from millstream.streams.redis_connection import connect
from millstream.streams.redis_keys import words_channel

Answer = Callable[[redis.asyncio.Redis, AlikeQuestion], Awaitable[None]]


def about(item_id: str) -> AlikeAnswer:
    return AlikeAnswer(items=[ScoredItem(item_id, 1.0)])


@asynccontextmanager
async def answering(url: str, prefix: str, answer: Answer) -> AsyncIterator[None]:
    """Somebody who understands texts, in this process."""
    there = asyncio.Event()

    async def take(client: redis.asyncio.Redis, value: bytes) -> None:
        question: WordQuestion = read_word_question(value)
        assert isinstance(question, AlikeQuestion)
        await answer(client, question)

    def hears(begins: bool) -> None:
        if begins:
            there.set()

    task = asyncio.create_task(listen(url, words_channel(prefix), take, hears=hears))
    async with asyncio.timeout(10):
        await there.wait()
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def asking(url: str, prefix: str, *, within_s: float = 1.0) -> AsyncIterator[Asking]:
    asks = Asking(url, prefix, within_s=within_s)
    yield asks
    await asks.close()


async def test_answers_find_their_questions_in_whatever_order(redis_url: str, prefix: str) -> None:
    """Two hundred at once, answered from the last to the first; two who ask do not hear each other's."""
    held: list[AlikeQuestion] = []

    async def answer(client: redis.asyncio.Redis, question: AlikeQuestion) -> None:
        held.append(question)
        if len(held) == 200:
            for each in reversed(held):
                await client.publish(each.reply_to, written_reply(each.number, about(each.item_id)))

    async with (
        answering(redis_url, prefix, answer),
        asking(redis_url, prefix, within_s=10) as one,
        asking(redis_url, prefix, within_s=10) as other,
    ):
        names = [f"{n}" for n in range(200)]
        found = await asyncio.gather(*((one, other)[n % 2].alike(name, 1) for n, name in enumerate(names)))
        assert [each.items[0].item_id for each in found] == names
        assert len({each.reply_to for each in held}) == 2


async def test_the_first_answer_counts_and_late_ones_are_nothing(
    redis_url: str, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is what cannot be read; the next question is answered all the same."""

    async def answer(client: redis.asyncio.Redis, question: AlikeQuestion) -> None:
        if question.item_id == "late":
            await asyncio.sleep(0.3)
        await client.publish(question.reply_to, b"[}")
        for name in (question.item_id, "second"):
            await client.publish(question.reply_to, written_reply(question.number, about(name)))

    async with answering(redis_url, prefix, answer), asking(redis_url, prefix, within_s=0.2) as asks:
        with pytest.raises(NoAnswer, match=r"not answered within 0\.2 s"):
            await asks.alike("late", 1)
        await asyncio.sleep(0.3)
        with caplog.at_level(logging.WARNING):
            for name in ("a", "b"):
                assert (await asks.alike(name, 1)).items[0].item_id == name
        assert "cannot be read" in caplog.text


async def test_where_nobody_listens_it_is_said_at_once(redis_url: str, prefix: str) -> None:
    """Long before an answer is given up."""
    async with asking(redis_url, prefix, within_s=60) as asks, asyncio.timeout(10):
        with pytest.raises(NoAnswer, match="start `millstream understand`"):
            await asks.alike("a", 1)


async def test_an_outage_of_redis_is_told_and_passes(prefix: str) -> None:
    """Asked while it is away: at once, with its address. Once it is back, answers come again."""

    async def answer(client: redis.asyncio.Redis, question: AlikeQuestion) -> None:
        await client.publish(question.reply_to, written_reply(question.number, about(question.item_id)))

    with LocalRedis() as server:
        async with answering(server.url, prefix, answer), asking(server.url, prefix) as asks:
            assert (await asks.alike("a", 1)).items[0].item_id == "a"
            server.kill()
            with pytest.raises(NoAnswer, match=r"Redis at 127\.0\.0\.1:\d+ does not answer"):
                await asks.alike("b", 1)
            server.start()
            async with asyncio.timeout(20):
                while True:
                    try:
                        assert (await asks.alike("c", 1)).items[0].item_id == "c"
                        break
                    except NoAnswer:
                        await asyncio.sleep(0.1)


async def test_nothing_is_left_in_redis(redis_url: str, prefix: str) -> None:
    """Neither keys nor listeners, whether answers came or not."""

    async def answer(client: redis.asyncio.Redis, question: AlikeQuestion) -> None:
        if question.item_id == "a":
            await client.publish(question.reply_to, written_reply(question.number, about("a")))

    async with connect(redis_url) as client:
        async with answering(redis_url, prefix, answer), asking(redis_url, prefix, within_s=0.2) as asks:
            await asks.alike("a", 1)
            with pytest.raises(NoAnswer):
                await asks.alike("never", 1)
        assert [key async for key in client.scan_iter(f"{prefix}*")] == []
        async with asyncio.timeout(10):
            while await client.pubsub_channels(f"{prefix}*"):
                await asyncio.sleep(0.05)
