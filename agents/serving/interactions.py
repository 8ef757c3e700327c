"""The route that takes events: judged one by one by the rules of every other path, then to Kafka, acknowledged."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal

import orjson
from fastapi import APIRouter, Request, Response
from redis.exceptions import RedisError

from millstream.schemas.canonical import canonical_event, extras_of
from millstream.schemas.item_vectors import CONTENT
from millstream.schemas.mapping import COLUMN_KINDS, InputMapping, WrongMapping
from millstream.schemas.records import Kind
from millstream.schemas.rejects import Flaw, RejectCode, shown
from millstream.schemas.rules import Event, judge
from millstream.streams.acked_producer import Record
from millstream.streams.kept_off import KeptOff
from millstream.streams.settings import Input

from .applied import AppliedPositions
from .bodies import json_body, json_schema_body
from .event_writer import EventWriter
from .gate import LEVEL
from .keys import Level
from .metrics import Metrics
from .models import ErrorOut, VerdictsOut, refusals
from .refused import JSON, Refused

MAX_EVENT_BYTES = 65_536
"""Bytes of one event as JSON; the broker's limit is far above."""
_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "The commonest other names (user, item, type, ts, rating, session) are understood, too.",
    "properties": {
        "user_id": {"type": ["string", "integer"], "description": "1 to 256 bytes."},
        "item_id": {"type": ["string", "integer"], "description": "1 to 256 bytes."},
        "kind": {"type": "string", "enum": sorted(kind.name for kind in COLUMN_KINDS)},
        "ts_ms": {"type": "integer", "description": "Milliseconds since the epoch; absent: now."},
        "value": {"type": "number", "minimum": 0, "description": "A rating, dwell time in seconds, or amount."},
        "event_id": {"type": ["string", "integer"], "description": "Sent again under the same one, it counts once."},
        "session_id": {"type": "string"},
        "slate_id": {"type": "string", "description": "Of the list it was shown on."},
        "position": {"type": "integer", "description": "Its place there, from 0."},
        "previous_id": {
            "type": ["string", "integer"],
            "description": "Of an `alias`, in the place of an item: the id of the visitor that this user was before. "
            "Needs an admin key.",
        },
        "query": {
            "type": "string",
            "description": "What was typed or said, of a `query` or `say`, instead of an item.",
        },
        "vector": {
            "type": "array",
            "items": {"type": "number"},
            "description": f"What it means: {CONTENT} numbers by the items' encoder; absent: `understand` finds it.",
        },
        "context": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "Circumstances by name; `surface`, where it was shown, teaches a prompt of its own.",
        },
    },
    "required": ["user_id"],
}
_BODY = {
    "oneOf": [_EVENT, {"type": "array", "items": _EVENT, "minItems": 1}],
    "examples": [{"user_id": "42", "item_id": "1196", "kind": "click"}],
}
_REMEDIES = {
    RejectCode.missing_user: "name who did it in user_id",
    RejectCode.missing_item: "name the item in item_id",
    RejectCode.empty_id: "give visitors who are not signed in a session's id",
    RejectCode.id_too_long: "send an id, not a URL or a token",
    RejectCode.unknown_kind: f"one of {', '.join(sorted(kind.name for kind in COLUMN_KINDS))}",
    RejectCode.unsupported_kind: "leave it out; nothing learns from it yet",
    RejectCode.timestamp_in_seconds: "multiply by 1,000",
    RejectCode.timestamp_ahead: "send milliseconds; see whether the sender's clock is right",
}
_CHOICES = frozenset({Kind.click, Kind.add_to_cart, Kind.purchase, Kind.like, Kind.rating})
_Rules = defaultdict[str, dict[str, int | None]]
"""User to item to the place of the event that hides it last, None where it was chosen after that."""
_log = logging.getLogger(__name__)


def interactions(
    writer: EventWriter,
    kept_off: KeptOff,
    applied: AppliedPositions,
    metrics: Metrics,
    *,
    target: Input,
    hide_kinds: Sequence[str],
    most: int,
    within_s: float,
) -> APIRouter:
    """Return the route that writes to `target`, an input of the worker, under the names that input uses.

    An event of `hide_kinds` keeps its item off the user's lists as soon as it is accepted, until they choose it again.
    Who asks to wait for the refreshed lists waits `within_s` at most.
    """
    router = APIRouter(tags=["write"])
    ours = InputMapping(default_kind=target.default_kind)
    theirs = InputMapping(target.default_kind, target.fields, target.kinds)
    hiding = frozenset(Kind[name] for name in hide_kinds)

    @router.post(
        "/v1/interactions",
        status_code=202,
        response_model=VerdictsOut,
        responses={
            **refusals(400, 413, 415, 422, 503),
            200: {"model": VerdictsOut, "description": "With `wait=applied`: the lists in Redis know of them."},
            422: {
                "model": VerdictsOut | ErrorOut,
                "description": "No event can be used, each verdict says why; or a parameter is wrong.",
            },
        },
        openapi_extra={"requestBody": json_schema_body(_BODY)},
    )
    async def take(request: Request, wait: Literal["applied"] | None = None) -> Response:
        """Take one event, or a list of them. 202: those accepted are in Kafka, acknowledged; each verdict says more.

        With `wait=applied` the answer comes when the lists that contain them can be read, as 200; after a while
        without that, as 202: then they are in Kafka and will be applied.
        """
        body = await json_body(request)
        sent = body if isinstance(body, list) else [body]
        if not sent or len(sent) > most:
            raise Refused(
                413 if sent else 400,
                "too_many" if sent else "no_event",
                f"{len(sent):,} events in one request",
                f"send 1 to {most:,} at a time",
                field="body",
            )
        verdicts, records, rules = _judge(sent, time.time_ns() // 1_000_000, request.scope[LEVEL])
        ends = await writer.write(records)
        await _keep_rules(rules, verdicts)
        known = bool(ends) and wait == "applied" and await applied.reached(target.topic, ends, within_s)
        accepted = len(records)
        metrics.events("accepted", accepted)
        metrics.events("rejected", len(sent) - accepted)
        answer = {"accepted": accepted, "rejected": len(sent) - accepted, "verdicts": verdicts}
        return Response(orjson.dumps(answer), (200 if known else 202) if accepted else 422, media_type=JSON)

    def _judge(sent: Sequence[Any], now_ms: int, level: Level) -> tuple[list[dict[str, Any]], list[Record], _Rules]:
        """Return a verdict an event, the records to write, and what the events say of whose rules."""
        verdicts: list[dict[str, Any]] = []
        records: list[Record] = []
        rules: _Rules = defaultdict(dict)
        for index, each in enumerate(sent):
            event = _event(each, now_ms)
            value = event if isinstance(event, Flaw) else _encode(event, each)
            if isinstance(event, Event) and isinstance(value, bytes):
                if event.kind is Kind.alias and level < Level.admin:
                    raise Refused(
                        403,
                        "not_allowed",
                        f"event {index}: a {level.name} key may not say that one user is another",
                        "send an alias from your server, when somebody signs in, with a key of level admin",
                        field="kind",
                    )
                records.append(Record(event.user_id.encode(), value))
                verdicts.append(_verdict(index, None))
                if event.kind in hiding:
                    rules[event.user_id][event.item_id] = index
                elif event.kind in _CHOICES:
                    rules[event.user_id][event.item_id] = None
            elif isinstance(value, Flaw):
                verdicts.append(_verdict(index, value))
        return verdicts, records, rules

    def _event(sent: Any, now_ms: int) -> Event | Flaw:
        if not isinstance(sent, dict):
            return Flaw(RejectCode.wrong_type, f"{shown(sent)} is no event: it must be an object")
        return judge(sent, ours, now_ms)

    def _encode(event: Event, sent: dict[str, Any]) -> bytes | Flaw:
        try:
            value = canonical_event(event, theirs, extras_of(sent, ours))
        except WrongMapping as error:
            return Flaw(RejectCode.unknown_kind, str(error))
        if len(value) > MAX_EVENT_BYTES:
            return Flaw(RejectCode.wrong_type, f"the event is {len(value):,} bytes; at most {MAX_EVENT_BYTES:,}")
        return value

    async def _keep_rules(rules: _Rules, verdicts: list[dict[str, Any]]) -> None:
        for user_id, items in rules.items():
            hide = {item: index for item, index in items.items() if index is not None}
            try:
                if hide:
                    await kept_off.hide(user_id, hide)
                if len(hide) < len(items):
                    await kept_off.unhide(user_id, [item for item in items if item not in hide])
            except RedisError as error:
                _log.warning("rules of a user could not be stored: %s", error)
                done = False
            else:
                done = True
            for index in hide.values():
                verdicts[index]["hidden"] = done

    return router


def _verdict(index: int, flaw: Flaw | None) -> dict[str, Any]:
    return {
        "index": index,
        "status": "accepted" if flaw is None else "rejected",
        "code": None if flaw is None else flaw.code.value,
        "message": None if flaw is None else flaw.text,
        "remedy": None if flaw is None else _REMEDIES.get(flaw.code, "see schemas/README.md for the rules"),
        "hidden": None,
    }
