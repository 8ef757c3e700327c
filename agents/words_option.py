"""The option `--words`: what a terminal shows instead of the parts of a score, by templates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from redis.exceptions import RedisError

from millstream.schemas.languages import lookup
from millstream.schemas.phrases import DEFAULT, LANGUAGES
from millstream.schemas.records import ScoredItem
from millstream.schemas.words import named_items, sentence, told
from millstream.streams.catalogue_hash import catalogue_key
from millstream.streams.kept_words import texts_of
from millstream.streams.redis_connection import connect_sync
from millstream.streams.settings import Settings

_TIMEOUT_S = 2.0
_Function = TypeVar("_Function", bound=Callable[..., Any])


def in_words(function: _Function) -> _Function:
    """Give a command the option; without a language it means English."""
    return click.option(
        "--words",
        is_flag=False,
        flag_value=DEFAULT,
        metavar="[LANGUAGE]",
        help=f"Say why in words, in {', '.join(LANGUAGES)}; English without one.",
    )(function)


def sentences_of(
    settings: Settings, items: Sequence[ScoredItem], language: str, *, everybodys: bool = False
) -> list[str]:
    """Return one sentence an item; where Redis does not answer, items are called by their ids."""
    said = [told(item, everybodys=everybodys) for item in items]
    ids = named_items(said)
    titles: dict[str, str] = {}
    try:
        with connect_sync(settings.redis.url, timeout_s=_TIMEOUT_S) as client:
            values: Any = client.hmget(catalogue_key(settings.redis.prefix), ids) if ids else []
        titles = {item_id: texts.title for item_id, texts in texts_of(ids, values).items() if texts.title}
    except RedisError as error:
        click.echo(f"no titles: Redis at {settings.redis.shown_url} does not answer: {error}", err=True)
    spoken = lookup([language], LANGUAGES, DEFAULT)
    return [sentence(each, titles, spoken) for each in said]


def with_words(found: dict[str, Any], said: Sequence[str] | None) -> dict[str, Any]:
    """Put what is said of each item beside it."""
    for item, words in zip(found["items"], said or (), strict=False):
        item["words"] = words
    return found
