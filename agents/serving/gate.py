"""What every request passes first: is there a key, may it do this, is it too often, is it too large. Then it is timed.

Plain ASGI and one pass: FastAPI's own middleware would cost more than the read it guards.
"""

from __future__ import annotations

import math
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .keys import ApiKeys, Level
from .metrics import Metrics
from .rate import RateLimit
from .refused import JSON, Refused

_KEY_REMEDY = "send it as `Authorization: Bearer KEY`; keys are set in the section [serve] of the settings"
LEVEL = "millstream.level"
"""Where a request's scope says what its key may do."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def route_of(method: str, path: str) -> tuple[str, Level]:
    """Return what metrics call a path, and what it takes to use it."""
    if path.startswith("/v1/"):
        if path.startswith("/v1/users/"):
            if method == "POST":
                return "say", Level.write
            return "recommendations" if path.endswith("/recommendations") else "why", Level.read
        if path == "/v1/interactions":
            return "interactions", Level.write
        if path.startswith("/v1/items/"):
            return "items", Level.read if method in ("GET", "HEAD") else Level.admin
        if path in ("/v1/recommendations", "/v1/popular", "/v1/search", "/v1/stream"):
            return path[4:] if path != "/v1/recommendations" else "batch", Level.read
        return "other", Level.read
    if path == "/metrics":
        return "metrics", Level.read
    return "other", Level.nothing


class Gate:
    """An ASGI application around another. One event loop owns it."""

    def __init__(
        self, app: ASGIApp, *, keys: ApiKeys, rate: RateLimit | None, metrics: Metrics, max_body_bytes: int
    ) -> None:
        self._app = app
        self._keys = keys
        self._rate = rate
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.perf_counter()
        route, needed = route_of(scope["method"], scope["path"])
        status = 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._check(scope, needed)
            if scope["method"] in ("POST", "PUT", "PATCH"):
                receive = self._bounded(receive)
            await self._app(scope, receive, counted)
        except Refused as refused:
            await _answer(refused, counted)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.request(route, method, status, time.perf_counter() - began_s)

    def _check(self, scope: Scope, needed: Level) -> None:
        """Raise `Refused` for a request that may not pass."""
        if needed is Level.nothing:
            return
        key: str | None = None
        length: bytes | None = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                scheme, _, given = value.decode("latin-1").partition(" ")
                key = given.strip() if scheme.lower() == "bearer" else None
            elif name == b"content-length":
                length = value
        if key is None and not self._keys.off and scope["path"] == "/v1/stream":
            key = _key_in_query(scope["query_string"])  # a browser's EventSource cannot send headers
        scope[LEVEL] = level = self._keys.level(key)
        if level < needed:
            if level is Level.nothing:
                said = "no API key" if key is None else "this API key is not known"
                raise Refused(401, "no_key", said, _KEY_REMEDY, headers={"WWW-Authenticate": "Bearer"})
            raise Refused(
                403, "not_allowed", f"a {level.name} key may not do this", f"use a key of level {needed.name}"
            )
        if self._rate is not None:
            caller = key if key is not None and not self._keys.off else str((scope.get("client") or ("",))[0])
            wait_s = self._rate.wait_s(caller)
            if wait_s:
                raise Refused(
                    429,
                    "too_often",
                    "too many requests from this caller",
                    f"wait {wait_s:.3f} s, ask for several users at once, or raise serve.rate_per_s",
                    headers={"Retry-After": str(math.ceil(wait_s))},
                )
        if length is not None and (not length.isdigit() or int(length) > self._max_body_bytes):
            raise self._too_large()

    def _bounded(self, receive: Receive) -> Receive:
        """Return `receive` that stops at the bound: a body in chunks does not say how long it is."""
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._max_body_bytes:
                raise self._too_large()
            return message

        return bounded

    def _too_large(self) -> Refused:
        return Refused(
            413,
            "too_large",
            f"the body is larger than {self._max_body_bytes:,} bytes",
            "send less at a time, or raise serve.max_body_bytes",
            field="body",
        )


def _key_in_query(query: bytes) -> str | None:
    from urllib.parse import parse_qs

    found = parse_qs(query.decode("latin-1")).get("key")
    return found[0] if found else None


async def _answer(refused: Refused, send: Any) -> None:
    body = refused.body
    headers = [(b"content-type", JSON.encode()), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in (refused.headers or {}).items()]
    await send({"type": "http.response.start", "status": refused.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
