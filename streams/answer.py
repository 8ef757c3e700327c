"""What a read of the Redis topic comes to: the user's list, else the popular one, else nothing, and why.

Pure: `Reader` and `AsyncReader` fetch the two values, and everything else is decided here once.
"""

from __future__ import annotations

import logging
from typing import Literal

import msgspec

from millstream.schemas.records import ScoredItem, Slate, Version
from millstream.schemas.slates import UnreadableSlate, decode_slate

from .redis_keys import POPULAR, checked_list_name, list_key

Fallback = Literal["popular", "empty", "unavailable"]
_log = logging.getLogger(__name__)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One user's list as it stands, best first, at most as many items as were asked for.

    `fallback` is None when the list is the user's own; `popular` when there is none (of this format) and the popular
    list stands in; `empty` when there is no popular list either; `unavailable` when Redis gave no answer in time.
    `age_ms` counts from `as_of_ms`, the Kafka timestamp of the last event the list contains. Without a list `version`,
    `as_of_ms` and `age_ms` are None.
    """

    user_id: str
    list: str
    items: tuple[ScoredItem, ...] = ()
    version: Version | None = None
    as_of_ms: int | None = None
    age_ms: int | None = None
    fallback: Fallback | None = None


def keys_to_read(prefix: str, list_name: str, user_id: str) -> tuple[str, str]:
    """Return the keys that one MGET fetches: the user's list and the popular one."""
    checked_list_name(list_name)
    return list_key(prefix, list_name, user_id), list_key(prefix, list_name, POPULAR)


def answer_from(
    own: bytes | None, popular: bytes | None, *, list_name: str, user_id: str, k: int, now_ms: int
) -> Answer:
    """Return the answer that the two stored values give; one that cannot be read is logged and counts as absent."""
    slate, fallback = _slate(own, list_name, user_id), None
    if slate is None:
        slate, fallback = _slate(popular, list_name, POPULAR), "popular"
    if slate is None:
        return Answer(user_id=user_id, list=list_name, fallback="empty")
    return Answer(
        user_id=user_id,
        list=list_name,
        items=slate.items[:k],
        version=slate.version,
        as_of_ms=slate.as_of_ms,
        age_ms=max(0, now_ms - slate.as_of_ms),  # the broker's clock may run ahead of ours
        fallback=fallback,  # type: ignore[arg-type]  # None or the literal above
    )


def unavailable(list_name: str, user_id: str) -> Answer:
    """Return the answer given while Redis does not answer."""
    return Answer(user_id=user_id, list=list_name, fallback="unavailable")


def checked_k(k: int) -> int:
    """Return `k`. Raises ValueError when it is below 1."""
    if k < 1:
        raise ValueError(f"k={k}: ask for at least 1 item")
    return k


def _slate(value: bytes | None, list_name: str, user_id: str) -> Slate | None:
    if value is None:
        return None
    try:
        return decode_slate(value, list_name=list_name, user_id=user_id)
    except UnreadableSlate as error:
        _log.warning("%s; answering with the popular list", error)
        return None
