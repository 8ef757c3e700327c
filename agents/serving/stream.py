"""The route that streams: an event (SSE) for each list that was refreshed, with what its user may be shown of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from redis.exceptions import RedisError

from millstream.streams.answer import Answer
from millstream.streams.pointers import Pointer, read_id, written_id
from millstream.streams.reader import AsyncReader
from millstream.streams.slate_json import answer_json

from .hub import FeedHub
from .metrics import Metrics
from .models import refusals
from .reads import K, ListName, checked_id, checked_list
from .refused import Refused

_HEARTBEAT_S = 10.0
_RETRY_MS = 1_000
_DESCRIBED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events `list`, whose data is what a read of the list answers. A comment comes every 10 s.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'id: 1767225600000-0\nevent: list\ndata: {"user_id": "42", "items": []}\n\n',
            }
        },
    }
}


def stream(hub: FeedHub, reader: AsyncReader, metrics: Metrics, ending: asyncio.Event) -> APIRouter:
    """Return the route. Streams end when `ending` is set, so that the server can stop."""
    router = APIRouter(tags=["read"])

    @router.get(
        "/v1/stream",
        response_class=Response,
        responses=_DESCRIBED | refusals(400, 422, 503),
        openapi_extra={"security": [{"bearer": []}, {"in query": []}]},
    )
    async def follow(
        request: Request,
        user: Annotated[str | None, Query(max_length=256, description="Only this user's list; empty: popular.")] = None,
        list: ListName = "main",
        k: K = 10,
        last_event_id: Annotated[str | None, Header(description="Go on after this event.")] = None,
        last: Annotated[str | None, Query(description="The same, for clients that cannot send the header.")] = None,
    ) -> Response:
        """Stream lists as they are refreshed, of one user or of everybody; several refreshes at once come as one.

        After a lost connection a browser goes on where it was by itself: it sends back the last event's id.
        """
        if user:
            checked_id(user, "query.user")
        checked_list(list)
        try:
            at = await hub.newest()
            if begin := last_event_id or last:
                at = read_id(begin)
        except ValueError as error:
            field = "header.last-event-id" if last_event_id else "query.last"
            raise Refused(400, "bad_event_id", str(error), "leave it out to begin now", field=field) from None
        except RedisError as error:
            raise Refused(
                503, "redis_unavailable", f"Redis does not answer: {error}", "try again", headers={"Retry-After": "1"}
            ) from error
        events = _events(at, user, list, k)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    async def _events(at: tuple[int, int], user: str | None, list_name: str, k: int) -> AsyncIterator[bytes]:
        metrics.stream(1)
        try:
            # an id at once: who is cut off before the first list goes on from here
            yield f"retry: {_RETRY_MS}\nid: {written_id(at)}\n\n".encode()
            while not ending.is_set():
                pointers = await _unless(ending, hub.after(at, _HEARTBEAT_S))
                if not pointers:
                    yield b": still here\n\n"
                    continue
                at = pointers[-1].at
                newest = {
                    pointer.user_id: pointer
                    for pointer in pointers
                    if pointer.list_name == list_name and user in (None, pointer.user_id)
                }
                if newest:
                    answers = await reader.top_many([*newest], k, list_name)
                    for answer, pointer in sorted(zip(answers, newest.values(), strict=True), key=lambda each: each[1]):
                        yield _event(answer, pointer)
        finally:
            metrics.stream(-1)

    return router


async def _unless(ending: asyncio.Event, waiting: Any) -> list[Pointer]:
    """Return what is waited for, or [] as soon as the end has come."""
    task, end = asyncio.ensure_future(waiting), asyncio.ensure_future(ending.wait())
    try:
        await asyncio.wait({task, end}, return_when=asyncio.FIRST_COMPLETED)
        found: list[Pointer] = task.result() if task.done() else []
        return found
    finally:
        task.cancel()
        end.cancel()


def _event(answer: Answer, pointer: Pointer) -> bytes:
    data = orjson.dumps(answer_json(answer))
    return b"id: %s\nevent: list\ndata: %s\n\n" % (pointer.entry_id.encode(), data)
