"""The routes of the catalogue: what is withdrawn is off all lists at once; the items topic hears of every change."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import Annotated, Any, TypeVar

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
from .item_records import ItemRecords
from .models import ItemChangeOut, ItemRecordOut, refusals
from .reads import checked_id
from .refused import JSON, Refused

T = TypeVar("T")
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
_PATCH: dict[str, Any] = {**_BODY, "examples": [{"price": 9.5}, {"available": False}]}


def items(writer: EventWriter, kept_off: KeptOff, records: ItemRecords) -> APIRouter:
    """Return the routes; `writer` writes to the items topic."""
    router = APIRouter(tags=["items"])

    @router.get("/v1/items/{item:id}", response_model=ItemRecordOut, responses=refusals(404, 422, 503))
    async def read(item: ItemId) -> Response:
        """Return what the catalogue says of an item."""
        checked_id(item, "path.item", RejectCode.missing_item)
        record = await _asked(records.read(item))
        if record is None:
            raise _unknown(item)
        return Response(msgspec.json.encode(record), media_type=JSON)

    @router.put(
        "/v1/items/{item:id}",
        response_model=ItemChangeOut,
        responses=refusals(400, 409, 413, 415, 422, 503),
        openapi_extra={"requestBody": json_schema_body(_BODY)},
    )
    async def put(item: ItemId, request: Request) -> Response:
        """Set what the catalogue says of an item; one that is available is on lists again, another is withdrawn."""
        checked_id(item, "path.item", RejectCode.missing_item)
        body = await _object(request, item)
        async with records.changing(item):
            return await _set(item, body, 0)

    @router.patch(
        "/v1/items/{item:id}",
        response_model=ItemChangeOut,
        responses=refusals(400, 404, 409, 413, 415, 422, 503),
        openapi_extra={"requestBody": json_schema_body(_PATCH)},
    )
    async def patch(item: ItemId, request: Request) -> Response:
        """Change a part of what the catalogue says of an item: fields that are left out stay, null takes one away.

        As JSON Merge Patch (RFC 7396) has it.
        """
        checked_id(item, "path.item", RejectCode.missing_item)
        body = await _object(request, item)
        async with records.changing(item):
            record = await _asked(records.read(item))
            if record is None:
                raise _unknown(item)
            merged = _merged(msgspec.to_builtins(record), {"updated_ms": None, **body})
            return await _set(item, merged, record.updated_ms + 1)

    @router.delete("/v1/items/{item:id}", response_model=ItemChangeOut, responses=refusals(409, 422, 503))
    async def withdraw(item: ItemId) -> Response:
        """Withdraw an item: reads that begin after the answer do not show it, whatever the lists hold."""
        checked_id(item, "path.item", RejectCode.missing_item)
        async with records.changing(item):
            version = await _change(kept_off, item, withdraw=True)
            await writer.write([Record(item.encode(), None)])
            records.note(item, time.time_ns() // 1_000_000, None)
        return _answer(item, True, version)

    async def _set(item: str, record: dict[str, Any], least_ms: int) -> Response:
        """Make a record what the catalogue says of an item, as of now, or of `least_ms` where that is later."""
        judged = judge_item({**record, "item_id": item}, max(time.time_ns() // 1_000_000, least_ms))
        if isinstance(judged, Flaw):
            raise Refused(422, judged.code.value, judged.text, "see /docs for what it may be", field="body")
        if not judged.available:  # off the lists first: whatever fails then, it is not shown
            version = await _change(kept_off, item, withdraw=True)
        await writer.write([Record(item.encode(), msgspec.json.encode(judged))])
        records.note(item, judged.updated_ms, judged)
        if judged.available:
            version = await _change(kept_off, item, withdraw=False)
        return _answer(item, not judged.available, version)

    return router


async def _object(request: Request, item: str) -> dict[str, Any]:
    """Return the body, which may name its item. Raises `Refused`."""
    body = await json_body(request)
    if not isinstance(body, dict):
        raise Refused(422, "wrong_type", "the body is no object", "send an object, see /docs", field="body")
    if body.get("item_id", item) != item:
        raise Refused(
            422, "wrong_item", "the body names another item", "leave item_id out of the body", field="body.item_id"
        )
    return body


def _merged(whole: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Return `whole` with what `part` says: null takes a field away, an object is merged into one.

    >>> _merged({"a": 1, "b": {"c": 2, "d": 3}}, {"a": None, "b": {"c": 4}})
    {'b': {'c': 4, 'd': 3}}
    """
    merged = dict(whole)
    for name, value in part.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            there = merged.get(name)
            merged[name] = _merged(there if isinstance(there, dict) else {}, value)
        else:
            merged[name] = value
    return merged


async def _change(kept_off: KeptOff, item: str, *, withdraw: bool) -> int:
    try:
        return await _asked(kept_off.withdraw([item]) if withdraw else kept_off.restore([item]))
    except TooManyWithdrawn as error:
        raise Refused(409, "too_many_withdrawn", str(error), "PUT items that may be shown again") from error


async def _asked(redis: Awaitable[T]) -> T:
    """Return what Redis answers. Raises `Refused` where it does not."""
    try:
        return await redis
    except RedisError as error:
        raise Refused(
            503,
            "redis_unavailable",
            f"Redis does not answer: {error}",
            "send it again after a second; nothing has been promised",
            headers={"Retry-After": "1"},
        ) from error


def _unknown(item: str) -> Refused:
    return Refused(
        404,
        "unknown_item",
        f"the catalogue has no item {item!r}",
        "PUT it first; what was put a moment ago through another process may not be there yet",
        field="path.item",
    )


def _answer(item: str, withdrawn: bool, version: int) -> Response:
    return Response(orjson.dumps({"item_id": item, "withdrawn": withdrawn, "version": version}), media_type=JSON)
