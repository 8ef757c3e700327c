"""The short way of the commonest request: one user's list, asked for plainly, without FastAPI's help.

FastAPI's routing and checking of parameters take longer than the read itself. So a request that is as most are (ids and
numbers without escapes, nothing unknown) is answered here; whatever this does not take goes the long way, to the route
in `reads`, which knows every case and every reason. Both give the same answer; a test holds them together.
"""

from __future__ import annotations

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from millstream.streams.answer import NOTHING
from millstream.streams.reader import AsyncReader
from millstream.streams.slate_json import answer_json

from .metrics import Metrics
from .models import MAX_K

_BEFORE, _AFTER = "/v1/users/", "/recommendations"
_SHORT_ID_CHARACTERS = 64
"""An id of so few characters has at most 256 bytes, whatever they are."""
_JSON = (b"content-type", b"application/json")


class Quick:
    """An ASGI application before another. One event loop owns it."""

    def __init__(self, app: ASGIApp, reader: AsyncReader, metrics: Metrics) -> None:
        self._app = app
        self._reader = reader
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is plain, hand on what is not."""
        asked = plainly_asked(scope) if scope["type"] == "http" and scope["method"] == "GET" else None
        if asked is None:
            await self._app(scope, receive, send)
            return
        user, k, list_name, exclude = asked
        answer = await self._reader.top(user, k, list_name, exclude)
        self._metrics.answer(answer)
        body = orjson.dumps(answer_json(answer))
        headers = [_JSON, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def plainly_asked(scope: Scope) -> tuple[str, int, str, frozenset[str]] | None:
    """Return user, k, list and what to exclude; None for what the long way has to look at.

    >>> plainly_asked({"path": "/v1/users/42/recommendations", "query_string": b"k=5&exclude=a&exclude=b"})[:3]
    ('42', 5, 'main')
    >>> plainly_asked({"path": "/v1/users/42/recommendations", "query_string": b"k=0"})
    """
    path: str = scope["path"]
    if not (path.startswith(_BEFORE) and path.endswith(_AFTER)):
        return None
    user = path[len(_BEFORE) : -len(_AFTER)]
    # printable: so without NUL and lone surrogates
    if not 0 < len(user) <= _SHORT_ID_CHARACTERS or not user.isprintable():
        return None
    query: bytes = scope["query_string"]
    if not query:
        return user, 10, "main", NOTHING
    if b"%" in query or b"+" in query or not query.isascii():
        return None
    k, list_name, exclude = "10", "main", []
    seen = set()
    for part in query.decode().split("&"):
        name, _, value = part.partition("=")
        if name == "exclude":
            exclude.append(value)
        elif name in seen:
            return None
        elif name == "k":
            k = value
        elif name == "list":
            list_name = value
        else:
            return None
        seen.add(name)
    plain = (
        k.isdigit()
        and 0 < len(k) <= len(str(MAX_K))
        and 1 <= int(k) <= MAX_K
        and 0 < len(list_name) <= _SHORT_ID_CHARACTERS
        and ":" not in list_name
        and list_name.isprintable()
        and len(exclude) <= _SHORT_ID_CHARACTERS
    )
    return (user, int(k), list_name, frozenset(exclude)) if plain else None
