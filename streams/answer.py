"""What a read of the Redis topic comes to: the user's list, else the popular one, else a static one, and why.

Pure: the readers fetch values, and everything else is decided here once, for both of them and for HTTP.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import msgspec

from millstream.schemas.item_sets import ItemSet, UnreadableItemSet, decode_item_set
from millstream.schemas.records import Reason, ScoredItem, Slate, Version
from millstream.schemas.slates import UnreadableSlate, decode_slate

from .redis_keys import POPULAR, category_key, list_key, rule_key, similar_key, withdrawn_key

Fallback = Literal["category", "content", "popular", "static", "empty", "unavailable"]
Because = Literal["no_list", "unreadable", "withheld", "out_of_category", "unavailable"]
CATEGORY = "category"
"""What slates call the popular list of a category."""
NOTHING: frozenset[str] = frozenset()
_MAX_POPULAR = 64
_log = logging.getLogger(__name__)


class Answer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One user's list as it stands, best first, at most as many items as were asked for.

    `fallback` is None when the list is the user's own; `category`, `popular` or `static` when that list stands in;
    `content` when items that say what this one says do;
    `empty` when there is nothing to stand in; `unavailable` when Redis gave no answer in time and there is no static
    list. `because` says why it is not their own: `no_list`, `unreadable` (of another format), `withheld` (nothing on it
    may be shown), `out_of_category` (nothing on it is of the category asked for), `unavailable`. `withheld` counts the
    items that withdrawals, the user's rules and `exclude` kept off. `age_ms` counts from `as_of_ms`, the Kafka
    timestamp of the last event the list contains. Without a list out of Redis `slate_id`, `version`, `as_of_ms` and
    `age_ms` are None.
    """

    user_id: str
    list: str
    items: tuple[ScoredItem, ...] = ()
    slate_id: str | None = None
    version: Version | None = None
    as_of_ms: int | None = None
    age_ms: int | None = None
    fallback: Fallback | None = None
    because: Because | None = None
    withheld: int = 0


class Found(msgspec.Struct, frozen=True, gc=False):
    """What one user may be shown of one list, before `exclude` and `k`: what a cache can hold.

    `slate` is the list it comes from; None without one. `fallback` and `because` as in `Answer`.
    """

    items: tuple[ScoredItem, ...]
    slate: Slate | None
    fallback: Fallback | None
    because: Because | None
    withheld: int


class ListReading:
    """Which keys a read needs and what their values come to. Threads may share it.

    It remembers the popular list, the static one and the withdrawn items it saw last, so that values which have not
    changed are not decoded again.
    """

    def __init__(self, prefix: str, static: Sequence[str] = ()) -> None:
        self._prefix = prefix
        self._static = static_items(static)
        self._withdrawn_key = withdrawn_key(prefix).encode()
        self._withdrawn: tuple[bytes | None, frozenset[str]] = (None, NOTHING)
        self._popular: dict[str, tuple[bytes, Slate | None]] = {}

    def keys(self, list_name: str, users: Sequence[str]) -> list[bytes]:
        """Return what one MGET fetches: withdrawn items, the popular list, then each user's list and rules.

        Raises ValueError for an id or a name with half a surrogate pair in it.
        """
        prefix = self._prefix
        keys = [self._withdrawn_key, list_key(prefix, list_name, POPULAR).encode()]
        for user in users:
            keys.append(list_key(prefix, list_name, user).encode())
            keys.append(rule_key(prefix, user).encode())
        return keys

    def similar_keys(self, list_name: str, item: str) -> list[bytes]:
        """Return what one MGET fetches: withdrawn items, the popular list, then what is similar to `item`."""
        prefix = self._prefix
        keys = [self._withdrawn_key, list_key(prefix, list_name, POPULAR).encode()]
        return [*keys, similar_key(prefix, item).encode()]

    def category_keys(self, list_name: str, user: str, category: str) -> list[bytes]:
        """Return what one MGET fetches: withdrawn items, the user's list and rules, the category's popular list."""
        prefix = self._prefix
        own, rule = list_key(prefix, list_name, user), rule_key(prefix, user)
        return [self._withdrawn_key, own.encode(), rule.encode(), category_key(prefix, category).encode()]

    def kept_off_keys(self, user_id: str) -> list[bytes]:
        """Return what one MGET fetches: withdrawn items, and the user's rules."""
        return [self._withdrawn_key, rule_key(self._prefix, user_id).encode()]

    def kept_off(self, user_id: str, values: Sequence[bytes | None]) -> frozenset[str]:
        """Return what the values of `kept_off_keys` keep off; without any what was withdrawn when last seen."""
        if not values:
            return self._withdrawn[1]
        withdrawn, rule = values
        barred = self._barred(withdrawn)
        return barred if rule is None else barred | _item_set(rule, rule_key("", user_id)).items

    def own_items(self, list_name: str, user_id: str, own: bytes | None) -> list[str]:
        """Return the ids of the items on the user's list."""
        slate = None if own is None else _slate(own, list_name, user_id)
        return [] if slate is None else [item.item_id for item in slate.items]

    def found_in_category(
        self,
        list_name: str,
        user_id: str,
        category: str,
        values: Sequence[bytes | None],
        inside: Collection[str],
        exclude: Collection[str] = NOTHING,
    ) -> Found:
        """Return what the values of `category_keys` come to; `inside` are the items of the category on the user's list.

        Behind these come those of the category's popular list that are not among them.
        """
        withdrawn, own, rule, popular = values
        if user_id == POPULAR:  # the category's own popular list says more
            own = None
        barred = self._barred(withdrawn).union(exclude)
        if rule is not None:
            barred |= _item_set(rule, rule_key("", user_id)).items
        slate = None if own is None else _slate(own, list_name, user_id)
        because: Because | None = None
        items: tuple[ScoredItem, ...] = ()
        withheld = 0
        if slate is None:
            because = "no_list" if own is None else "unreadable"
        else:
            fitting = tuple([item for item in slate.items if item.item_id in inside])
            items = _allowed(fitting, barred)
            withheld = len(fitting) - len(items)
            because = None if items else "withheld" if fitting else "out_of_category"
        behind = None if popular is None else _slate(popular, CATEGORY, category)
        if behind is not None:
            more = _allowed(behind.items, barred)
            withheld += len(behind.items) - len(more)
            there = {item.item_id for item in items}
            items += tuple([item for item in more if item.item_id not in there])
        if because is None:
            return Found(items, slate, None, None, withheld)
        return Found(items, behind, "category" if items else "empty", because, withheld)

    def found(
        self,
        list_name: str,
        user_id: str,
        withdrawn: bytes | None,
        popular: bytes | None,
        own: bytes | None,
        rule: bytes | None,
        exclude: Collection[str] = NOTHING,
    ) -> Found:
        """Return what the values come to; one that cannot be read is logged and counts as absent."""
        barred = self._barred(withdrawn)
        if rule is not None:
            barred = barred | _item_set(rule, rule_key("", user_id)).items
        if exclude:
            barred = barred.union(exclude)
        because: Because = "no_list"
        withheld = 0
        if own is not None:
            slate = _slate(own, list_name, user_id)
            if slate is not None:
                items = _allowed(slate.items, barred)
                if items or not slate.items:
                    return Found(items, slate, None, None, len(slate.items) - len(items))
                because, withheld = "withheld", len(slate.items)
            else:
                because = "unreadable"
        slate = self._popular_list(list_name, popular)
        if slate is not None:
            items = _allowed(slate.items, barred)
            withheld += len(slate.items) - len(items)
            if items or not self._static:
                return Found(items, slate, "popular", because, withheld)
        return self._found_static(barred, because, withheld)

    def found_nothing(self, exclude: Collection[str] = NOTHING) -> Found:
        """Return what is shown while Redis does not answer: the static list, less what was withdrawn when last seen."""
        return self._found_static(self._withdrawn[1].union(exclude), "unavailable", 0)

    def _found_static(self, barred: frozenset[str], because: Because, withheld: int) -> Found:
        items = _allowed(self._static, barred)
        withheld += len(self._static) - len(items)
        if self._static:
            return Found(items, None, "static", because, withheld)
        return Found((), None, "unavailable" if because == "unavailable" else "empty", because, withheld)

    def _barred(self, value: bytes | None) -> frozenset[str]:
        seen, barred = self._withdrawn
        if value == seen:
            return barred
        if value is not None:
            try:
                barred = decode_item_set(value).items
            except UnreadableItemSet as error:
                # what was withdrawn when it could still be read stays off: showing it would be the worse mistake
                _log.warning("withdrawn: %s; keeping the %d items known before", error, len(barred))
        else:
            barred = NOTHING
        self._withdrawn = (value, barred)
        return barred

    def _popular_list(self, list_name: str, value: bytes | None) -> Slate | None:
        if value is None:
            return None
        seen = self._popular.get(list_name)
        if seen is not None and seen[0] == value:
            return seen[1]
        slate = _slate(value, list_name, POPULAR)
        if len(self._popular) > _MAX_POPULAR:  # names of lists are the callers' to choose
            self._popular.clear()
        self._popular[list_name] = (value, slate)
        return slate


def answer_of(
    found: Found, list_name: str, user_id: str, k: int, now_ms: int, exclude: Collection[str] = NOTHING
) -> Answer:
    """Return the answer for one question; `exclude` is applied here when `found` was made without it."""
    items, withheld, slate = found.items, found.withheld, found.slate
    if exclude:
        items = tuple([item for item in items if item.item_id not in exclude])
        withheld += len(found.items) - len(items)
    if slate is None:
        return Answer(
            user_id=user_id,
            list=list_name,
            items=items[:k],
            fallback=found.fallback,
            because=found.because,
            withheld=withheld,
        )
    age_ms = now_ms - slate.as_of_ms
    return Answer(
        user_id=user_id,
        list=list_name,
        items=items[:k],
        slate_id=slate.slate_id,
        version=slate.version,
        as_of_ms=slate.as_of_ms,
        age_ms=age_ms if age_ms > 0 else 0,  # the broker's clock may run ahead of ours
        fallback=found.fallback,
        because=found.because,
        withheld=withheld,
    )


def category_of(context: Mapping[str, str]) -> str:
    """Return the category that a context names. Raises ValueError for one that names anything else."""
    if unknown := sorted(context.keys() - {"category"}):
        raise ValueError(f"context {', '.join(map(repr, unknown))}: a list can be asked for in a 'category' alone")
    return context["category"]


def checked_k(k: int) -> int:
    """Return `k`. Raises ValueError when it is below 1."""
    if k < 1:
        raise ValueError(f"k={k}: ask for at least 1 item")
    return k


def static_items(items: Sequence[str]) -> tuple[ScoredItem, ...]:
    """Return ids as places on a list, in their order, with nothing but `static` to say for them."""
    return tuple(ScoredItem(item, 0.0, (Reason("static", 0.0),)) for item in items)


def _allowed(items: tuple[ScoredItem, ...], barred: frozenset[str]) -> tuple[ScoredItem, ...]:
    if not barred:
        return items
    return tuple([item for item in items if item.item_id not in barred])


def _item_set(value: bytes, key: str) -> ItemSet:
    try:
        return decode_item_set(value)
    except UnreadableItemSet as error:
        _log.warning("%s: %s; answering without these rules", key, error)
        return ItemSet()


def _slate(value: bytes, list_name: str, user_id: str) -> Slate | None:
    try:
        return decode_slate(value, list_name=list_name, user_id=user_id)
    except UnreadableSlate as error:
        _log.warning("%s; answering with another list", error)
        return None
