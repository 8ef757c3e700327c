"""A slate as JSON with named fields: over HTTP, and from `--json`.

In Redis and on the `recommendations` topic the same slate is positional, which is a third of the size; names are for
those who read with their own eyes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from millstream.schemas.questions import WhyAnswer
from millstream.schemas.records import ScoredItem, Slate, Version

from .answer import Answer


def items_json(items: Sequence[ScoredItem]) -> list[dict[str, Any]]:
    """Return each place on a list with its score, reasons and propensity (None: not chosen by chance), best first."""
    return [
        {
            "item_id": item.item_id,
            "score": item.score,
            "reasons": [
                {"signal": reason.signal, "contribution": reason.contribution, "evidence": reason.evidence}
                for reason in item.reasons
            ],
            "propensity": item.propensity,
        }
        for item in items
    ]


def why_json(user_id: str, item_id: str, list_name: str, answer: WhyAnswer) -> dict[str, Any]:
    """Return where an item stands for a user, as HTTP and `--json` give it."""
    placed = None if answer.item is None else items_json([answer.item])[0]
    return {
        "user_id": user_id,
        "item_id": item_id,
        "list": list_name,
        "user_known": answer.user_known,
        "kept_off": answer.kept_off,
        "candidates": answer.candidates,
        "place": answer.place,
        "score": None if placed is None else placed["score"],
        "reasons": [] if placed is None else placed["reasons"],
        "version": version_json(answer.version),
        "as_of_ms": answer.as_of_ms,
    }


def version_json(version: Version) -> dict[str, int]:
    """Return a version's three numbers by name; compare them in this order."""
    return {"generation": version.generation, "position": version.position, "revision": version.revision}


def slate_json(slate: Slate) -> dict[str, Any]:
    """Return all of a slate, ready for any JSON encoder."""
    return {
        "slate_id": slate.slate_id,
        "list": slate.list,
        "user_id": slate.user_id,
        "items": items_json(slate.items),
        "version": version_json(slate.version),
        "as_of_ms": slate.as_of_ms,
        "generated_ts_ms": slate.generated_ts_ms,
    }


def answer_json(answer: Answer) -> dict[str, Any]:
    """Return all of an answer with named fields, as HTTP and `--json` give it."""
    return {
        "user_id": answer.user_id,
        "list": answer.list,
        "items": items_json(answer.items),
        "slate_id": answer.slate_id,
        "version": None if answer.version is None else version_json(answer.version),
        "as_of_ms": answer.as_of_ms,
        "age_ms": answer.age_ms,
        "fallback": answer.fallback,
        "because": answer.because,
        "withheld": answer.withheld,
    }
