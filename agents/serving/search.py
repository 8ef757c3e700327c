"""The route that searches the catalogue by what a user types."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request, Response
from starlette.background import BackgroundTask

from millstream.agents.searching import MOST, Searching
from millstream.streams.errors import NoAnswer

from .gate import LEVEL
from .keys import Level
from .models import refusals
from .reads import Category, ListName, checked_category, checked_id
from .refused import JSON, Refused
from .say import Speaking
from .text_models import SearchOut

Text = Annotated[str, Query(min_length=1, max_length=512, description="What the user typed.")]
MaybeUser = Annotated[str | None, Query(min_length=1, max_length=256, description="For whom; absent: for anybody.")]
Remember = Annotated[
    bool, Query(description="Whether the user's list turns to it, too; where there are keys, with one that may write.")
]
K = Annotated[int, Query(ge=1, le=MOST, description="How many items at most.")]


def search(searching: Searching, lists: Collection[str], speaking: Speaking) -> APIRouter:
    """Return the route; `lists` are those that are made, and `speaking` takes what is searched for as said."""
    router = APIRouter(tags=["read"])

    @router.get("/v1/search", response_model=SearchOut, responses=refusals(422, 503))
    async def found(
        request: Request,
        q: Text,
        user: MaybeUser = None,
        k: K = 10,
        list: ListName = "main",
        category: Category = None,
        remember: Remember = True,
    ) -> Response:
        """Return the items that a text is about, by its words and its meaning, in the order that suits the user.

        What the text is after changes the mix: `find` an item by its title, look through a `category`, or `explore`.
        `personal` is false, and `because` says why, where nothing that is known of a user is in the order. A search
        of a user is remembered right after it is answered: their list turns to it for a while, as to a `query` event.
        """
        if not q.strip():
            raise Refused(422, "blank", "query.q holds blanks alone", "send what the user typed", field="query.q")
        if user is not None:
            checked_id(user, "query.user")
        if category is not None:
            checked_category(category)
        if list not in lists:
            raise Refused(
                422, "no_such_list", f"list={list!r} is not made", f"ask for {' or '.join(lists)}", field="query.list"
            )
        try:
            answer = await searching.search(q, k, user=user, list_name=list, category=category)
        except NoAnswer as error:
            raise Refused(
                503, "no_answer", str(error), "ask again after a second", headers={"Retry-After": "1"}
            ) from error
        after = None
        if user is not None and remember and request.scope[LEVEL] >= Level.write:
            after = BackgroundTask(speaking.remember, user, q)
        said = {**answer.as_json(), "remembered": after is not None}
        return Response(orjson.dumps(said), media_type=JSON, background=after)

    return router
