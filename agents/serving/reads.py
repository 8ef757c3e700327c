"""The routes that read lists: one user's, several users' at once, the popular one, what is similar to an item."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import ValidationError

from millstream.schemas.records import Reason, ScoredItem
from millstream.schemas.rejects import Flaw, RejectCode
from millstream.schemas.rules import judge_id
from millstream.streams.answer import NOTHING, Answer
from millstream.streams.asking import Asking
from millstream.streams.errors import NoAnswer
from millstream.streams.reader import AsyncReader
from millstream.streams.redis_keys import POPULAR

from . import ids as _ids  # noqa: F401  # so that paths may say {user:id}
from .bodies import body_of, json_body
from .metrics import Metrics
from .models import MAX_EXCLUDED_IN_URL, MAX_K, BatchIn, BatchOut, ListOut, refusals
from .refused import JSON, Refused
from .worded import Accepted, InWords, Worded, headers_of, language_of

K = Annotated[int, Query(ge=1, le=MAX_K, description="How many items at most.")]
ListName = Annotated[str, Query(pattern="^[^:]+$", max_length=256, description="Which list.")]
Category = Annotated[
    str | None, Query(min_length=1, max_length=256, description="Only items of this category, as the catalogue has it.")
]
Exclude = Annotated[
    list[str] | None,
    Query(max_length=MAX_EXCLUDED_IN_URL, description="Items to leave out, such as those on the page; repeat it."),
]
Item = Annotated[str, Path(min_length=1, max_length=256, description="The item's id.")]
User = Annotated[str, Path(min_length=1, max_length=256, description="The user's id.")]


def reads(reader: AsyncReader, asking: Asking, worded: Worded, metrics: Metrics) -> APIRouter:
    """Return the routes over `reader`: who understands knows what nobody chose yet, `worded` says why in words."""
    router = APIRouter(tags=["read"])

    @router.get("/v1/users/{user:id}/recommendations", response_model=ListOut, responses=refusals(422))
    async def recommendations(
        user: User,
        k: K = 10,
        list: ListName = "main",
        exclude: Exclude = None,
        category: Category = None,
        words: InWords = None,
        accepted: Accepted = None,
    ) -> Response:
        """Return the user's list; without one of theirs, the popular one. Answers in time even while Redis is away.

        In a category: first what of the user's list is of it, then what is popular there.
        """
        checked_id(user, "path.user")
        name, without = checked_list(list), frozenset(exclude) if exclude else NOTHING
        if category is not None:
            answer = await reader.top_in(checked_category(category), user, k, name, without)
        else:
            answer = await reader.top(user, k, name, without)
        return await answered(answer, words, accepted)

    @router.post(
        "/v1/recommendations",
        response_model=BatchOut,
        responses=refusals(400, 413, 415, 422),
        openapi_extra={"requestBody": body_of(BatchIn)},
    )
    async def batch(request: Request, accepted: Accepted = None) -> Response:
        """Return the lists of several users, in their order, read at once."""
        try:
            asked = BatchIn.model_validate(await json_body(request))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(["body", *map(str, first["loc"])])
            raise Refused(422, str(first["type"]), f"{field}: {first['msg']}", "see /docs", field=field) from None
        for place, user in enumerate(asked.users):
            checked_id(user, f"body.users.{place}")
        answers = await reader.top_many(
            asked.users, asked.k, checked_list(asked.list, "body"), frozenset(asked.exclude)
        )
        for answer in answers:
            metrics.answer(answer)
        language = language_of(asked.words, accepted)
        lists = await worded.lists_json(answers, language)
        headers = headers_of(asked.words, language)
        return Response(orjson.dumps({"answers": lists}), headers=headers, media_type=JSON)

    @router.get("/v1/popular", response_model=ListOut, responses=refusals(422))
    async def popular(
        k: K = 10,
        list: ListName = "main",
        exclude: Exclude = None,
        category: Category = None,
        words: InWords = None,
        accepted: Accepted = None,
    ) -> Response:
        """Return the popular list, of all items or of a category: what somebody is shown nothing is known about."""
        name, without = checked_list(list), frozenset(exclude) if exclude else NOTHING
        if category is not None:
            answer = await reader.top_in(checked_category(category), POPULAR, k, name, without)
        else:
            answer = await reader.top(POPULAR, k, name, without)
        return await answered(answer, words, accepted)

    @router.get("/v1/items/{item:id}/similar", response_model=ListOut, responses=refusals(422))
    async def similar(
        item: Item, k: K = 10, exclude: Exclude = None, words: InWords = None, accepted: Accepted = None
    ) -> Response:
        """Return what users of this item chose besides, refreshed within seconds; the item's id stands as `user_id`.

        Without a list of the item's, the items that say what it says, and without these the popular list.
        """
        checked_id(item, "path.item", RejectCode.missing_item)
        without = frozenset(exclude) if exclude else NOTHING
        answer = await reader.similar(item, k, without)
        if answer.because == "no_list":
            answer = await saying_the_same(answer, k, without, reader, asking)
        return await answered(answer, words, accepted)

    async def answered(answer: Answer, words: str | None, accepted: str | None) -> Response:
        metrics.answer(answer)
        language = language_of(words, accepted)
        (found,) = await worded.lists_json([answer], language)
        return Response(orjson.dumps(found), headers=headers_of(words, language), media_type=JSON)

    return router


async def saying_the_same(
    instead: Answer, k: int, exclude: frozenset[str], reader: AsyncReader, asking: Asking
) -> Answer:
    """Return the items most like one by what they say, if somebody knows any in time; else `instead`."""
    item = instead.user_id
    try:
        found = await asking.alike(item, k + len(exclude))
    except NoAnswer:
        return instead
    barred = await reader.kept_off() | exclude
    items = [
        ScoredItem(each.item_id, each.score, (Reason("content", each.score, item),))
        for each in found.items
        if each.item_id not in barred
    ]
    if not items:
        return instead
    return Answer(user_id=item, list=instead.list, items=tuple(items[:k]), fallback="content", because="no_list")


def checked_id(value: str, field: str, missing: RejectCode = RejectCode.missing_user) -> str:
    """Return an id as the rules of events have it. Raises `Refused` with what is wrong with it."""
    judged = judge_id(field, value, missing)
    if isinstance(judged, Flaw):
        raise Refused(422, judged.code.value, judged.text, "an id has 1 to 256 bytes of UTF-8, no NUL", field=field)
    return judged


def checked_category(name: str) -> str:
    """Return a category's name. Raises `Refused` where Redis could not hold it."""
    if any("\ud800" <= each <= "\udfff" for each in name):
        raise Refused(422, "bad_id", "category has half a surrogate pair in it", "send UTF-8", field="query.category")
    return name


def checked_list(name: str, where: str = "query") -> str:
    """Return a list's name. Raises `Refused` where Redis could not hold it."""
    if not name.isprintable() and any("\ud800" <= each <= "\udfff" for each in name):
        raise Refused(422, "bad_id", "list has half a surrogate pair in it", "send UTF-8", field=f"{where}.list")
    return name
