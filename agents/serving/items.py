"""The routes that change the catalogue: what is withdrawn is off all lists at once; the items topic hears of it."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
import orjson
from fastapi import APIRouter, Path, Request, Response
from redis.exceptions import RedisError

from millstream.schemas.decode_items import judge_item
from millstream.schemas.rejects import Flaw, RejectCode
from millstream.streams.acked_producer import Record
from millstream.streams.kept_off import KeptOff, TooManyWithdrawn

from .bodies import json_body, json_schema_body
from .event_writer import EventWriter
from .models import ItemChangeOut, refusals
from .reads import checked_id
from .refused import JSON, Refused

ItemId = Annotated[str, Path(min_length=1, max_length=256, description="The item's id.")]
_BODY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": ["string", "null"]},
        "text": {"type": ["string", "null"]},
        "categories": {"type": "array", "items": {"type": "string"}},
        "price": {"type": ["number", "null"], "minimum": 0},
        "available": {"type": "boolean", "description": "false withdraws it."},
        "attributes": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "examples": [{"title": "The Princess Bride", "categories": ["Comedy"], "available": True}],
}


def items(writer: EventWriter, kept_off: KeptOff) -> APIRouter:
    """Return the routes; `writer` writes to the items topic."""
    router = APIRouter(tags=["items"])

    @router.put(
        "/v1/items/{item:id}",
        response_model=ItemChangeOut,
        responses=refusals(400, 409, 413, 415, 422, 503),
        openapi_extra={"requestBody": json_schema_body(_BODY)},
    )
    async def put(item: ItemId, request: Request) -> Response:
        """Set what the catalogue says of an item; one that is available is on lists again, another is withdrawn."""
        checked_id(item, "path.item", RejectCode.missing_item)
        body = await json_body(request)
        if not isinstance(body, dict):
            raise Refused(422, "wrong_type", "the body is no object", "send an object, see /docs", field="body")
        if body.get("item_id", item) != item:
            raise Refused(
                422, "wrong_item", "the body names another item", "leave item_id out of the body", field="body.item_id"
            )
        judged = judge_item({**body, "item_id": item}, time.time_ns() // 1_000_000)
        if isinstance(judged, Flaw):
            raise Refused(422, judged.code.value, judged.text, "see /docs for what it may be", field="body")
        if not judged.available:  # off the lists first: whatever fails then, it is not shown
            version = await _change(kept_off, item, withdraw=True)
        await writer.write([Record(item.encode(), msgspec.json.encode(judged))])
        if judged.available:
            version = await _change(kept_off, item, withdraw=False)
        return _answer(item, not judged.available, version)

    @router.delete("/v1/items/{item:id}", response_model=ItemChangeOut, responses=refusals(409, 422, 503))
    async def withdraw(item: ItemId) -> Response:
        """Withdraw an item: reads that begin after the answer do not show it, whatever the lists hold."""
        checked_id(item, "path.item", RejectCode.missing_item)
        version = await _change(kept_off, item, withdraw=True)
        await writer.write([Record(item.encode(), None)])
        return _answer(item, True, version)

    return router


async def _change(kept_off: KeptOff, item: str, *, withdraw: bool) -> int:
    try:
        return await (kept_off.withdraw([item]) if withdraw else kept_off.restore([item]))
    except TooManyWithdrawn as error:
        raise Refused(409, "too_many_withdrawn", str(error), "PUT items that may be shown again") from error
    except RedisError as error:
        raise Refused(
            503,
            "redis_unavailable",
            f"Redis does not answer: {error}",
            "send it again after a second; nothing has been promised",
            headers={"Retry-After": "1"},
        ) from error


def _answer(item: str, withdrawn: bool, version: int) -> Response:
    return Response(orjson.dumps({"item_id": item, "withdrawn": withdrawn, "version": version}), media_type=JSON)
