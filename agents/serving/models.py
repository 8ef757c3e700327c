"""The shapes of what goes in and out, for the API's description of itself, with an example each.

Answers are written straight from the reader's records, which is several times faster than through these models; a test
holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from millstream.schemas.languages import TAG
from millstream.schemas.questions import KeptOff

MAX_K = 1_000
MAX_EXCLUDED = 1_000
MAX_EXCLUDED_IN_URL = 100
MAX_USERS = 200
AUTO = "auto"
LANGUAGE = rf"^({AUTO}|{TAG})$"
"""How a language is asked for: by its tag, or as the header Accept-Language says."""
MOST_LANGUAGE = 64

ItemIds = Annotated[list[str], Field(max_length=MAX_EXCLUDED)]
UserIds = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=256)]], Field(min_length=1, max_length=MAX_USERS)
]

_ANSWER: dict[str, Any] = {
    "user_id": "42",
    "list": "main",
    "items": [
        {
            "item_id": "1196",
            "score": 2.75,
            "reasons": [{"signal": "covisitation", "contribution": 2.75, "evidence": "260"}],
            "propensity": None,
        }
    ],
    "slate_id": "main:42:1:1842:5530",
    "version": {"generation": 1, "position": 1842, "revision": 5530},
    "as_of_ms": 1_767_225_600_000,
    "age_ms": 12,
    "fallback": None,
    "because": None,
    "withheld": 0,
}


class ReasonOut(BaseModel):
    """One part of a score."""

    signal: str
    contribution: float
    evidence: str = Field(
        description="The item it came from: one of the user's past that goes with this one, the item itself, or one "
        "above it on the list; empty where it came from everybody's choices."
    )


class ItemOut(BaseModel):
    """One place on a list."""

    item_id: str
    score: float
    reasons: list[ReasonOut]
    propensity: float | None
    words: str = Field(default="", description="Where `words=` asks for it: a sentence for people. Plain text.")


class VersionOut(BaseModel):
    """How new a list is; compare the numbers in this order."""

    generation: int
    position: int
    revision: int


class ListOut(BaseModel):
    """A list as it stands, best first."""

    model_config = ConfigDict(json_schema_extra={"example": _ANSWER})

    user_id: str
    items: list[ItemOut]
    slate_id: str | None
    # after the fields that need the type of this name
    list: str
    version: VersionOut | None
    as_of_ms: int | None = Field(description="Kafka timestamp of the last event the list contains.")
    age_ms: int | None
    fallback: Literal["category", "content", "popular", "static", "empty", "unavailable"] | None = Field(
        description="null: the user's own list. category, popular, static: that one stands in. content: items that say "
        "what this one says do. empty: there is none to do so. unavailable: the store gave no answer in time."
    )
    because: Literal["no_list", "unreadable", "withheld", "out_of_category", "unavailable"] | None = Field(
        description="Why it is not their own: there is none, it cannot be read, nothing on it may be shown or is of "
        "the category, or the store gave no answer in time."
    )
    withheld: int = Field(description="Items kept off by withdrawals, the user's rules and `exclude`.")


class WhyOut(BaseModel):
    """Where an item stands for a user as of now."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "user_id": "42",
                "item_id": "1196",
                "user_known": True,
                "kept_off": [],
                "candidates": 256,
                "place": 31.0,
                "score": 1.5,
                "reasons": [{"signal": "together", "contribution": 1.5, "evidence": "260"}],
                "version": {"generation": 1, "position": 1842, "revision": 5530},
                "as_of_ms": 1_767_225_600_000,
                "list": "main",
            }
        }
    )

    user_id: str
    item_id: str
    list: str
    user_known: bool = Field(description="false: nothing is known of the user; it is answered as for anybody.")
    kept_off: Annotated[
        Sequence[KeptOff],
        Field(
            description="Everything that keeps it from being a candidate. unknown_item: neither an event nor the "
            "catalogue names it. never_chosen: nobody has chosen it yet. unavailable: the catalogue has withdrawn it. "
            "hidden: the user hid it. chosen_before: the user chose or bought it, and such are left out here. "
            "shown: the user was shown it lately, and such are left out here. "
            "not_shortlisted: it may be shown, but others were found first."
        ),
    ]
    candidates: int = Field(description="How many items were scored, this one included.")
    place: float | None = Field(description="Its place among them, 1 for the best; ties count half.")
    score: float | None
    reasons: Sequence[ReasonOut] = Field(description="They sum to the score, whether or not it is a candidate.")
    version: VersionOut = Field(description="That a list made at the same moment would have.")
    as_of_ms: int
    words: str = Field(default="", description="Where `words=` asks for it: a sentence for people. Plain text.")


class BatchIn(BaseModel):
    """Whose lists to read at once."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"users": ["42", "43"], "k": 5}})

    users: UserIds
    k: Annotated[int, Field(ge=1, le=MAX_K, strict=True)] = 10
    exclude: ItemIds = []
    list: Annotated[str, Field(pattern="^[^:]+$", max_length=256)] = "main"
    words: Annotated[str | None, Field(pattern=LANGUAGE, max_length=MOST_LANGUAGE)] = None


class BatchOut(BaseModel):
    """One list a user, in the order asked."""

    answers: list[ListOut]


class VerdictOut(BaseModel):
    """What became of one event."""

    index: int = Field(description="Its place in the request, from 0.")
    status: Literal["accepted", "rejected"]
    code: str | None = Field(description="Why it was rejected, as a dead letter would say.")
    message: str | None
    remedy: str | None
    hidden: bool | None = Field(
        description="Of an event that keeps its item off the user's lists: whether it does already. false: the store "
        "did not answer; send the event again."
    )


class VerdictsOut(BaseModel):
    """What became of the events."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "accepted": 1,
                "rejected": 0,
                "verdicts": [
                    {
                        "index": 0,
                        "status": "accepted",
                        "code": None,
                        "message": None,
                        "remedy": None,
                        "hidden": None,
                    }
                ],
            }
        }
    )

    accepted: int
    rejected: int
    verdicts: list[VerdictOut]


class ItemChangeOut(BaseModel):
    """How an item stands after the change."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"item_id": "1196", "withdrawn": True, "version": 1_767_225_600_000}}
    )

    item_id: str
    withdrawn: bool = Field(description="Whether it is kept off all lists.")
    version: int = Field(description="Of the set of withdrawn items; it rises with every change.")


class ItemRecordOut(BaseModel):
    """What the catalogue says of an item."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "item_id": "1196",
                "title": "The Princess Bride",
                "text": None,
                "categories": ["Comedy"],
                "price": None,
                "available": True,
                "attributes": {},
                "vectors": {},
                "updated_ms": 1_767_225_600_000,
            }
        }
    )

    item_id: str
    title: str | None
    text: str | None
    categories: Sequence[str]
    price: float | None
    available: bool
    attributes: dict[str, str]
    vectors: dict[str, Sequence[float]]
    updated_ms: int


class ErrorDetail(BaseModel):
    """What was wrong and what to do about it."""

    code: str
    message: str
    field: str | None
    remedy: str


class ErrorOut(BaseModel):
    """Every answer from 400 on."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "error": {
                    "code": "greater_than_equal",
                    "message": "query.k='0': Input should be greater than or equal to 1",
                    "field": "query.k",
                    "remedy": "must be at least 1",
                }
            }
        }
    )

    error: ErrorDetail


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how a route describes the refusals it may answer with; those of the gate are always among them."""
    said = {
        400: "The request cannot be read.",
        401: "No API key, or one that is not known.",
        403: "The API key may not do this.",
        404: "There is none of that name.",
        409: "It cannot be done as things stand.",
        413: "The body is too large.",
        415: "The body is not JSON.",
        422: "A value is wrong; `field` names it.",
        429: "Too many requests; `Retry-After` says how long to wait.",
        503: "A system behind does not answer; try again.",
    }
    return {status: {"model": ErrorOut, "description": said[status]} for status in sorted({401, 403, 429, *statuses})}
