"""The route that searches the catalogue by what a user types."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Response

from millstream.agents.searching import MOST, Searching
from millstream.streams.errors import NoAnswer

from .models import SearchOut, refusals
from .reads import Category, ListName, checked_category, checked_id
from .refused import JSON, Refused

Text = Annotated[str, Query(min_length=1, max_length=512, description="What the user typed.")]
MaybeUser = Annotated[str | None, Query(min_length=1, max_length=256, description="For whom; absent: for anybody.")]
K = Annotated[int, Query(ge=1, le=MOST, description="How many items at most.")]


def search(searching: Searching, lists: Collection[str]) -> APIRouter:
    """Return the route; `lists` are those that are made."""
    router = APIRouter(tags=["read"])

    @router.get("/v1/search", response_model=SearchOut, responses=refusals(422, 503))
    async def found(
        q: Text, user: MaybeUser = None, k: K = 10, list: ListName = "main", category: Category = None
    ) -> Response:
        """Return the items that a text is about, by its words and its meaning, in the order that suits the user.

        What the text is after changes the mix: `find` an item by its title, look through a `category`, or `explore`.
        `personal` is false, and `because` says why, where nothing that is known of a user is in the order.
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
        return Response(orjson.dumps(answer.as_json()), media_type=JSON)

    return router
