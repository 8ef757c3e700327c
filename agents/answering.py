"""Answers what the serving side asks of the model: where an item stands for a user and why, and how items score.

Questions come over a channel of Redis that every worker hears; the one that makes the user's lists answers, for a user
nobody knows the one that leads. The answer goes to a channel that whoever asked listens to.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

import msgspec
import redis.asyncio

from millstream.online_learning.scored import scores
from millstream.online_learning.step import Step
from millstream.online_learning.why import why
from millstream.schemas.questions import (
    ScoresAnswer,
    WhyAnswer,
    WhyQuestion,
    WorkerQuestion,
    read_question,
    written_reply,
)
from millstream.streams.channel import listen
from millstream.streams.redis_keys import question_channel

from .step_thread import StepStopped, StepThread

_log = logging.getLogger(__name__)


class Answering:
    """Answers one question at a time, between two slices. One event loop owns it. An outage costs answers alone."""

    def __init__(self, url: str, prefix: str, thread: StepThread[Step], *, leads: Callable[[], bool]) -> None:
        self._url = url
        self._channel = question_channel(prefix)
        self._thread = thread
        self._leads = leads

    async def run(self) -> None:
        """Answer until cancelled, or until the step has ended."""
        with contextlib.suppress(StepStopped):
            await listen(self._url, self._channel, self._answer)

    async def _answer(self, client: redis.asyncio.Redis, value: bytes) -> None:
        try:
            question = read_question(value)
        except msgspec.MsgspecError as error:
            _log.warning("a question that cannot be read: %s", error)
            return
        try:
            answer = await self._thread.call(lambda step: self._said(step, question))
        except ValueError as error:
            _log.warning("a question without an answer: %s", error)
            return
        if answer is None:
            return
        await client.publish(question.reply_to, written_reply(question.number, answer))

    def _said(self, step: Step, question: WorkerQuestion) -> WhyAnswer | ScoresAnswer | None:
        """Return the answer; None where it is another worker's to give."""
        row = step.users.row(question.user_id)
        if row is None:
            ours = self._leads()
        else:
            listed = self._thread.listed
            ours = listed is None or int(step.model.histories.partition[row]) in listed
        if not ours:
            return None
        if isinstance(question, WhyQuestion):
            return why(step, question.user_id, question.item_id, question.list)
        return scores(step, question.user_id, question.item_ids, question.list)
