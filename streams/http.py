"""The serving side over HTTP: the reader's answers as JSON.

Thin on purpose: what to answer is decided in `answer`, so HTTP says what `Reader` says, field for field.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from .reader import AsyncReader
from .slate_json import answer_json

MAX_K = 1_000
_JSON = "application/json"
_EXAMPLE: dict[str, Any] = {
    "user_id": "42",
    "list": "main",
    "items": [
        {
            "item_id": "1196",
            "score": 2.75,
            "reasons": [{"signal": "together", "contribution": 2.75, "evidence": "260"}],
            "propensity": None,
        }
    ],
    "version": {"generation": 1, "position": 1842, "revision": 5530},
    "as_of_ms": 1_767_225_600_000,
    "age_ms": 12,
    "fallback": None,
}


class ReasonOut(BaseModel):
    """One part of a score."""

    signal: str
    contribution: float
    evidence: str = Field(description="The event or item it came from.")


class ItemOut(BaseModel):
    """One place on the list."""

    item_id: str
    score: float
    reasons: list[ReasonOut]
    propensity: float | None


class VersionOut(BaseModel):
    """How new the list is; compare the numbers in this order."""

    generation: int
    position: int
    revision: int


class RecommendationsOut(BaseModel):
    """A user's list as it stands, best first."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    user_id: str
    items: list[ItemOut]
    # last of the two: in the class body its name hides the type
    list: str
    version: VersionOut | None
    as_of_ms: int | None = Field(description="Kafka timestamp of the last event the list contains.")
    age_ms: int | None
    fallback: str | None = Field(
        description="null: the user's own list. popular: there is none. empty: no popular list either. "
        "unavailable: the store gave no answer in time."
    )


def create_app(reader: AsyncReader) -> FastAPI:
    """Return the application; it closes `reader` when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await reader.close()

    app = FastAPI(title="Millstream", summary="Fresh top-k recommendations.", lifespan=lifespan)

    @app.get("/v1/users/{user:path}/recommendations", response_model=RecommendationsOut, tags=["read"])
    async def recommendations(
        # a path, since ids may hold slashes
        user: Annotated[str, Path(min_length=1, max_length=256, description="The user's id.")],
        k: Annotated[int, Query(ge=1, le=MAX_K, description="How many items at most.")] = 10,
        list: Annotated[str, Query(pattern="^[^:]+$", max_length=256, description="Which list.")] = "main",
    ) -> Response:
        """Return the user's list; without one of theirs, the popular one. Answers in time even while Redis is away."""
        return Response(orjson.dumps(answer_json(await reader.top(user, k, list))), media_type=_JSON)

    @app.get("/health", tags=["state"])
    async def health() -> dict[str, str]:
        """Say that this process runs, whatever it depends on."""
        return {"status": "ok"}

    @app.get("/ready", tags=["state"], responses={503: {"description": "Redis does not answer."}})
    async def ready(response: Response) -> dict[str, str]:
        """Say whether lists can be read; 503 while Redis does not answer."""
        if await reader.answers():
            return {"status": "ready"}
        response.status_code = 503
        return {"status": "redis does not answer"}

    return app
