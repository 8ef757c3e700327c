"""Reading JSON bodies: the media type, the bytes, the syntax; what is wrong with each is said."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import Request
from pydantic import BaseModel

from .refused import Refused


async def json_body(request: Request) -> Any:
    """Return what the body holds. Raises `Refused`.

    The media type is insisted on: a page of another origin could send text without asking first, JSON it could not.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(
            415,
            "not_json",
            f"content-type is {kind or 'missing'!r}",
            "send JSON with `Content-Type: application/json`",
            field="header.content-type",
        )
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise Refused(
            400, "broken_json", f"the body is no JSON: {error}", "send one JSON value", field="body"
        ) from None


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return how OpenAPI describes a body of this model."""
    return json_schema_body(model.model_json_schema())


def json_schema_body(schema: dict[str, Any]) -> dict[str, Any]:
    """Return how OpenAPI describes a body of this schema."""
    return {"required": True, "content": {"application/json": {"schema": schema}}}
