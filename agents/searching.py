"""A search from where lists are served: who understands finds the items, the worker scores them for the user, and the
orders are fused. Who understands asks the worker itself, where all that is to be scored is what it found.

Each part may be missing but the first: without a user, or without a worker that answers in time, the items come in the
order that the text gives them, and the answer says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import redis.asyncio
from redis.exceptions import RedisError

from millstream.schemas.questions import MOST_SCORED, Candidate, Intent, ScoresAnswer, SearchAnswer
from millstream.streams.asking import Asking
from millstream.streams.catalogue_hash import read_items
from millstream.streams.errors import NoAnswer
from millstream.streams.reader import AsyncReader
from millstream.streams.redis_keys import POPULAR

from .fusing import SPREAD, WEIGHTS, fused, ranked, spread

MOST = 100
"""Items that a search may ask for, and that are looked at for each."""
_MOST_POPULAR = 50

Because = Literal["no_user", "unknown_user", "no_answer"]
"""Why nothing is personal in an order: nobody was named, nothing is known of them, no worker answered in time."""


@dataclass(frozen=True, slots=True)
class FoundItem:
    """One item that a search found. Ranks count from 1 among what was found; None: not found, or not scored, so."""

    item_id: str
    title: str | None
    score: float
    """What its ranks come to; greater is better, comparable within one answer."""
    lexical_rank: int | None
    lexical_score: float | None
    vector_rank: int | None
    vector_score: float | None
    popular_rank: int | None
    personal_rank: int | None
    personal_score: float | None
    in_category: bool


@dataclass(frozen=True, slots=True)
class Searched:
    """What a search found, best first, and how."""

    query: str
    user_id: str | None
    intent: Intent
    category: str | None
    encoder: str | None
    personal: bool
    because: Because | None
    items: Sequence[FoundItem]
    took_ms: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """Return all of it with named fields, as HTTP and `--json` give it."""
        return {
            "query": self.query,
            "user_id": self.user_id,
            "intent": self.intent,
            "category": self.category,
            "encoder": self.encoder,
            "personal": self.personal,
            "because": self.because,
            "items": [{name: getattr(item, name) for name in FoundItem.__slots__} for item in self.items],
            "took_ms": self.took_ms,
        }


class Searching:
    """Searches of one pipeline. One event loop; any number at once. What it is given is the caller's to close."""

    def __init__(self, asking: Asking, reader: AsyncReader, client: redis.asyncio.Redis, prefix: str) -> None:
        self._asking = asking
        self._reader = reader
        self._client = client
        self._prefix = prefix

    async def search(
        self, query: str, k: int = 10, *, user: str | None = None, list_name: str = "main", category: str | None = None
    ) -> Searched:
        """Return the `k` items, `MOST` at most, that a text is the likeliest to be about, in the user's order.

        What is withdrawn, and what the user hid, is left out. Raises `NoAnswer` where nobody understands texts.
        """
        began_s = time.perf_counter()
        (found, scores), kept_off = await asyncio.gather(
            self._asking.search(query, MOST, category, user_id=user, list_name=list_name),
            self._reader.kept_off(user or ""),
        )
        understood_s = time.perf_counter()
        places = {each.item_id: at for at, each in enumerate(found.candidates)}
        candidates, asked = [each for each in found.candidates if each.item_id not in kept_off], found.candidates
        popular: dict[str, int] = {}
        if found.intent == "category" and found.category is not None and category is None:
            candidates, popular = await self._with_popular(candidates, found.category, user, list_name)
        if user is not None and found.workers_asked is None:
            asked = candidates
            with suppress(NoAnswer):
                scores = await self._asking.scores(user, [each.item_id for each in asked], list_name)
        by_item = {} if scores is None else dict(zip((each.item_id for each in asked), scores.scores, strict=True))
        ordered = _in_order(found, candidates, popular, by_item)
        because = _because(user, scores)
        at = [places.get(each.candidate.item_id, 0) for each in ordered]
        chosen = spread([each.score for each in ordered], at, found.alike, SPREAD[found.intent], k)
        ended_s = time.perf_counter()
        return Searched(
            query=query,
            user_id=user,
            intent=found.intent,
            category=found.category,
            encoder=found.encoder,
            personal=because is None,
            because=because,
            items=[ordered[place].shown() for place in chosen],
            took_ms={
                "encode": found.encode_ms,
                "match": found.match_ms,
                "personal": round(1_000 * (ended_s - understood_s), 3),
                "total": round(1_000 * (ended_s - began_s), 3),
            },
        )

    async def _with_popular(
        self, candidates: list[Candidate], category: str, user: str | None, list_name: str
    ) -> tuple[list[Candidate], dict[str, int]]:
        """Return the candidates and what is on the user's list, or popular, in the category; and the ranks of these."""
        answer = await self._reader.top_in(category, user or POPULAR, _MOST_POPULAR, list_name)
        ranks = {item.item_id: rank for rank, item in enumerate(answer.items, start=1)}
        there = {each.item_id for each in candidates}
        new = [item_id for item_id in ranks if item_id not in there]
        try:
            known = await read_items(self._client, self._prefix, new)
        except RedisError:
            known = {}
        more = [Candidate(item_id=item_id, title=item.title, in_category=True) for item_id, item in known.items()]
        return [*more, *candidates][:MOST_SCORED], ranks


def _because(user: str | None, scores: ScoresAnswer | None) -> Because | None:
    """Return why nothing is personal in an order, None where something is."""
    if user is None:
        return "no_user"
    if scores is None:
        return "no_answer"
    return None if scores.user_known else "unknown_user"


class _Ranked(NamedTuple):
    """A candidate with what its ranks come to."""

    score: float
    candidate: Candidate
    popular_rank: int | None
    personal_rank: int | None
    personal_score: float | None

    def shown(self) -> FoundItem:
        """Return it as it is answered."""
        each = self.candidate
        return FoundItem(
            item_id=each.item_id,
            title=each.title,
            score=self.score,
            lexical_rank=each.lexical_rank,
            lexical_score=each.lexical_score,
            vector_rank=each.vector_rank,
            vector_score=each.vector_score,
            popular_rank=self.popular_rank,
            personal_rank=self.personal_rank,
            personal_score=self.personal_score,
            in_category=each.in_category,
        )


def _in_order(
    found: SearchAnswer, candidates: Sequence[Candidate], popular: dict[str, int], scored: Mapping[str, float | None]
) -> list[_Ranked]:
    """Return the candidates as the ranks together put them, ties by id; of a category's, those of it first."""
    weights = WEIGHTS[found.intent]
    scores = [scored.get(each.item_id) for each in candidates]
    items = []
    for each, score, rank in zip(candidates, scores, ranked(scores), strict=True):
        on_list = popular.get(each.item_id)
        worth = fused(
            [
                (weights.lexical, each.lexical_rank),
                (weights.vector, each.vector_rank),
                (weights.personal, rank),
                (weights.popular, on_list),
            ]
        )
        items.append(_Ranked(worth, each, on_list, rank, score))
    first = found.intent == "category"
    items.sort(key=lambda item: (-(first and item.candidate.in_category), -item.score, item.candidate.item_id))
    return items
