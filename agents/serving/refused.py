"""Saying no: every answer from 400 on is `{"error": {code, message, field, remedy}}`, wherever it was decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

JSON = "application/json"
_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed"}
_REMEDIES = {404: "the API describes itself under /docs", 405: "see the Allow header, or /docs"}


class Refused(HTTPException):
    """A request that is not carried out, and what to do about it."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        remedy: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers) if headers else None)
        self.code = code
        self.field = field
        self.remedy = remedy

    @property
    def body(self) -> bytes:
        """The answer's body."""
        return error_body(self.code, self.detail, self.remedy, self.field)


def error_body(code: str, message: str, remedy: str, field: str | None = None) -> bytes:
    """Return the JSON of an answer that says no. `field` is where the mistake stands, as `query.k` or `body.users`."""
    return orjson.dumps({"error": {"code": code, "message": message, "field": field, "remedy": remedy}})


def say_no_alike(app: FastAPI) -> None:
    """Give all errors of the application this one form."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if isinstance(error, Refused):
            return Response(error.body, error.status_code, error.headers, JSON)
        code = _CODES.get(error.status_code, "refused")
        remedy = _REMEDIES.get(error.status_code, "see /docs")
        where = f"{request.method} {request.url.path}: {error.detail}"
        return Response(error_body(code, where, remedy), error.status_code, error.headers, JSON)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first: Any = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        if first["type"] == "json_invalid":
            message = f"the body is no JSON: {first.get('ctx', {}).get('error', first['msg'])}"
            return Response(error_body("broken_json", message, "send JSON", "body"), 422, media_type=JSON)
        value = repr(first.get("input"))
        shown = value if len(value) <= 60 else f"{value[:60]}…"
        message = f"{'.'.join(place)}={shown}: {first['msg']}"
        return Response(
            error_body(str(first["type"]), message, _bounds(first.get("ctx")), ".".join(place)), 422, media_type=JSON
        )


def _bounds(context: Mapping[str, Any] | None) -> str:
    """Return the limit that was broken, in words."""
    words = {"ge": "at least", "le": "at most", "min_length": "at least", "max_length": "at most", "pattern": "of form"}
    said = [f"{words[name]} {value}" for name, value in (context or {}).items() if name in words]
    return f"must be {' and '.join(said)}" if said else "see /docs for what it may be"
