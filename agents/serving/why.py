"""The route that says why an item is on a user's list, or is not: the worker that makes the list answers."""

from __future__ import annotations

from collections.abc import Collection

import orjson
from fastapi import APIRouter, Response

from millstream.schemas.rejects import RejectCode
from millstream.schemas.words import told
from millstream.streams.asking import Asking
from millstream.streams.errors import NoAnswer
from millstream.streams.slate_json import why_json

from .models import WhyOut, refusals
from .reads import Item, ListName, User, checked_id
from .refused import JSON, Refused
from .worded import Accepted, InWords, Worded, headers_of, language_of


def why(asking: Asking, lists: Collection[str], worded: Worded) -> APIRouter:
    """Return the route; `lists` are those that are made, `worded` says why in words."""
    router = APIRouter(tags=["read"])

    @router.get("/v1/users/{user:id}/why/{item:id}", response_model=WhyOut, responses=refusals(422, 503))
    async def explain(
        user: User, item: Item, list: ListName = "main", words: InWords = None, accepted: Accepted = None
    ) -> Response:
        """Say where an item stands for a user as of now, and why: its score, the reasons, and what keeps it off.

        It is scored as a candidate, whatever keeps it off, so the reasons are there for any item that was ever chosen.
        """
        checked_id(user, "path.user")
        checked_id(item, "path.item", RejectCode.missing_item)
        if list not in lists:
            raise Refused(
                422, "no_such_list", f"list={list!r} is not made", f"ask for {' or '.join(lists)}", field="query.list"
            )
        try:
            answer = await asking.why(user, item, list)
        except NoAnswer as error:
            raise Refused(
                503, "no_answer", str(error), "ask again after a second", headers={"Retry-After": "1"}
            ) from error
        found, language = why_json(user, item, list, answer), language_of(words, accepted)
        if language is not None and answer.item is not None:
            said = told(answer.item)
            (found["words"],) = await worded.sentences([answer.item], [said], language)
        return Response(orjson.dumps(found), headers=headers_of(words, language), media_type=JSON)

    return router
