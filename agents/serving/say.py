"""The route that takes what a user says, and the way of words to Kafka: what they mean goes with them."""

from __future__ import annotations

import logging
import math
import time
import uuid
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from millstream.agents.spoken import spoken_event
from millstream.schemas.mapping import InputMapping
from millstream.schemas.questions import TextAnswer
from millstream.schemas.records import Kind
from millstream.schemas.rules import Event
from millstream.streams.acked_producer import Record
from millstream.streams.asking import Asking
from millstream.streams.errors import NoAnswer
from millstream.streams.settings import Input

from .applied import AppliedPositions
from .bodies import body_of, json_body
from .event_writer import EventWriter
from .metrics import Metrics
from .models import refusals
from .reads import User, checked_id
from .refused import JSON, Refused
from .text_models import Because, SaidOut, SayIn

_log = logging.getLogger(__name__)


class Spoken(NamedTuple):
    """Words that are in Kafka, acknowledged."""

    event_id: str
    meaning: TextAnswer | None
    """None: nobody understood them yet."""
    because: Because | None
    """Why they shift nothing yet."""
    ends: dict[int, int]
    """By partition, an offset that they are below."""


class Speaking:
    """Writes what users say to `target`, an input of the worker, under the names that it uses. One event loop owns it.

    Words that nobody understands now are written all the same: `millstream understand` hears them when it starts.
    """

    def __init__(self, asking: Asking, writer: EventWriter, metrics: Metrics, target: Input) -> None:
        self._asking = asking
        self._writer = writer
        self._metrics = metrics
        self._mapping = InputMapping(target.default_kind, target.fields, target.kinds)

    async def speak(self, user: str, text: str, kind: Kind, *, event_id: str | None = None) -> Spoken:
        """Return when the words are in Kafka. Raises `Refused` where Kafka takes too long.

        Sent again under the same `event_id` they count once.
        """
        event_id = event_id or uuid.uuid4().hex
        meaning: TextAnswer | None = None
        with suppress(NoAnswer):
            meaning = await self._asking.text(text)
        event = Event(user, "", kind, time.time_ns() // 1_000_000, math.nan, event_id)
        ends = await self._writer.write([Record(user.encode(), spoken_event(event, self._mapping, text, meaning))])
        self._metrics.events("accepted", 1)
        return Spoken(event_id, meaning, _because(meaning), ends)

    async def remember(self, user: str, text: str) -> None:
        """Let a search be a `query` of the user's. One that Kafka does not take is lost, and the log says so."""
        try:
            await self.speak(user, text, Kind.query)
        except Refused as error:
            _log.warning("a search was not remembered: %s", error)


def say(speaking: Speaking, applied: AppliedPositions, *, target: Input, within_s: float) -> APIRouter:
    """Return the route. Who asks to wait for the refreshed list waits `within_s` at most."""
    router = APIRouter(tags=["write"])

    @router.post(
        "/v1/users/{user:id}/say",
        status_code=202,
        response_model=SaidOut,
        responses={
            **refusals(400, 413, 415, 422, 503),
            200: {"model": SaidOut, "description": "With `wait=applied`: the user's list in Redis knows of it."},
        },
        openapi_extra={"requestBody": body_of(SayIn)},
    )
    async def take(user: User, request: Request, wait: Literal["applied"] | None = None) -> Response:
        """Take what a user says, such as "less action, more slow science fiction": their lists turn to it for a while.

        202: it is in Kafka, acknowledged. `understood` says whether it shifts anything yet, and `because` why not.
        With `wait=applied` the answer comes when the refreshed list can be read, as 200; after a while without, as 202.
        """
        checked_id(user, "path.user")
        said = _read(await json_body(request))
        spoken = await speaking.speak(user, said.text, Kind[said.kind], event_id=said.event_id)
        known = wait == "applied" and await applied.reached(target.topic, spoken.ends, within_s)
        return Response(orjson.dumps(_answer(user, said, spoken)), 200 if known else 202, media_type=JSON)

    return router


def _because(meaning: TextAnswer | None) -> Because | None:
    if meaning is None:
        return "no_answer"
    if meaning.coded:
        return None
    return "no_encoder" if meaning.encoder is None else "nothing_wanted"


def _read(sent: Any) -> SayIn:
    try:
        said = SayIn.model_validate(sent)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(["body", *map(str, first["loc"])])
        raise Refused(422, str(first["type"]), f"{field}: {first['msg']}", "see /docs", field=field) from None
    if not said.text.strip():
        raise Refused(422, "blank", "body.text holds blanks alone", "send what the user said", field="body.text")
    if any("\ud800" <= each <= "\udfff" for each in said.text):
        raise Refused(422, "bad_text", "body.text has half a surrogate pair in it", "send UTF-8", field="body.text")
    if said.event_id is not None:
        checked_id(said.event_id, "body.event_id")
    return said


def _answer(user: str, said: SayIn, spoken: Spoken) -> dict[str, Any]:
    meaning = spoken.meaning
    return {
        "user_id": user,
        "event_id": spoken.event_id,
        "text": said.text,
        "understood": spoken.because is None,
        "because": spoken.because,
        "intent": None if meaning is None else meaning.intent,
        "category": None if meaning is None else meaning.category,
        "wanted": [] if meaning is None else meaning.wanted,
        "unwanted": [] if meaning is None else meaning.unwanted,
    }
