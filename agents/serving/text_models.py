"""What the routes for texts take and answer: what users search for, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from millstream.schemas.questions import Intent

Because = Literal["no_answer", "no_encoder", "nothing_wanted"]
"""Why words shift nothing yet."""


class FoundOut(BaseModel):
    """One item that a search found. Ranks count from 1; null: not found that way, or not scored."""

    item_id: str
    title: str | None
    score: float = Field(description="What the ranks come to; comparable within one answer.")
    lexical_rank: int | None = Field(description="By the words typed.")
    lexical_score: float | None
    vector_rank: int | None = Field(description="By what the text and the item mean.")
    vector_score: float | None
    popular_rank: int | None = Field(description="On the list that there is of the category.")
    personal_rank: int | None = Field(description="By the score that it has for the user.")
    personal_score: float | None
    in_category: bool = Field(description="Whether it is of the category that the text names.")


class SearchOut(BaseModel):
    """What a search found, best first."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "query": "princes bride",
                "user_id": "42",
                "intent": "find",
                "category": None,
                "encoder": "minilm",
                "personal": True,
                "because": None,
                "items": [
                    {
                        "item_id": "173",
                        "title": "Princess Bride, The",
                        "score": 0.018,
                        "lexical_rank": 1,
                        "lexical_score": 33.7,
                        "vector_rank": 1,
                        "vector_score": 0.75,
                        "popular_rank": None,
                        "personal_rank": 12,
                        "personal_score": 1.5,
                        "in_category": False,
                    }
                ],
                "remembered": True,
                "took_ms": {"encode": 12.9, "match": 1.4, "personal": 1.1, "total": 16.2},
            }
        }
    )

    query: str
    user_id: str | None
    intent: Intent = Field(description="What the text is after: one item by its title, a category, or a look around.")
    category: str | None = Field(description="The category that the text names, as the catalogue spells it.")
    encoder: str | None = Field(description="null: there is none, and words alone were compared.")
    personal: bool = Field(description="Whether what is known of the user is in the order.")
    because: Literal["no_user", "unknown_user", "no_answer"] | None = Field(
        description="Why it is not personal: nobody was named, nothing is known of them, no worker answered in time."
    )
    items: Sequence[FoundOut]
    remembered: bool = Field(description="Whether the user's list turns to it.")
    took_ms: dict[str, float] = Field(description="encode: the text; match: words and vectors; personal; total.")


class SayIn(BaseModel):
    """What a user says."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"text": "less action, more slow science fiction"}}
    )

    text: str = Field(min_length=1, max_length=512, description="In their words.")
    kind: Literal["say", "query"] = Field(default="say", description="`query`: they searched for it.")
    event_id: str | None = Field(
        default=None, min_length=1, max_length=256, description="Sent again under the same one, it counts once."
    )


class SaidOut(BaseModel):
    """What became of it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "user_id": "42",
                "event_id": "5f1c0a7e6b0d4e0c9c1b8f4f6f0a2d11",
                "text": "less action, more slow science fiction",
                "understood": True,
                "because": None,
                "intent": "explore",
                "category": None,
                "wanted": ["slow science fiction"],
                "unwanted": ["action"],
            }
        }
    )

    user_id: str
    event_id: str
    text: str
    understood: bool = Field(description="Whether the user's lists turn to it.")
    because: Because | None = Field(
        description="Why they do not: nobody runs that understands, it has no encoder, or the text wants nothing. Once "
        "`millstream understand` runs with an encoder it hears what was said in the last hour."
    )
    intent: Intent | None
    category: str | None
    wanted: list[str]
    unwanted: list[str]
