"""The process that understands: its parts, joined, from the first look at the topics to Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any

import uvloop
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from millstream.agents.encoders import NoEncoder, StaticEncoder, encoder_name, load_encoder
from millstream.agents.interrupt import cancel_once_on_signals
from millstream.streams.settings import Settings

from .answering import Understanding
from .following import Following
from .hearing import Hearing
from .index import CatalogueIndex
from .texts import Texts

_log = logging.getLogger(__name__)


def understand(settings: Settings) -> dict[str, Any]:
    """Answer and hear until Ctrl-C; return what was done, as `--json` has it."""
    threadpool_limits(1)  # threads that wait for one another cost more than they bring, and a core is the promise
    texts = _texts(settings)
    index = CatalogueIndex(encoder_name(settings.content.encoder))
    understanding = Understanding(settings.redis.url, settings.redis.prefix, index, texts)
    hearing = Hearing(settings, understanding.meaning)
    with suppress(asyncio.CancelledError):
        uvloop.run(_run(settings, texts, index, understanding, hearing))
    _log.info("stopped: %s questions answered, %s words heard", f"{understanding.answered:,}", f"{hearing.heard:,}")
    return {
        "encoder": None if texts is None else texts.encoder,
        "items": index.items,
        "vectors": index.vectors,
        "answered": understanding.answered,
        "heard": hearing.heard,
    }


def _texts(settings: Settings) -> Texts | None:
    """Return what encodes; None, and the remedy on the log, where there is nothing."""
    began_s = time.monotonic()
    try:
        encoder = load_encoder(settings.content.encoder)
    except NoEncoder as error:
        _log.warning("words alone are compared: %s", error)
        return None
    encoder.encode(["warm"])  # the first text takes several times as long
    _log.info("encoder %s, ready after %.1f s", encoder.name, time.monotonic() - began_s)
    return Texts(encoder, quick=isinstance(encoder, StaticEncoder))


async def _run(
    settings: Settings, texts: Texts | None, index: CatalogueIndex, understanding: Understanding, hearing: Hearing
) -> None:
    cancel_once_on_signals()
    following = Following(settings, index)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(following.run())
            tasks.create_task(understanding.run())
            if texts is not None:
                tasks.create_task(hearing.run())
            await following.caught_up.wait()
            _log.info("running: %s items, %s vectors; Ctrl-C stops", f"{index.items:,}", f"{index.vectors:,}")
    finally:
        if texts is not None:
            texts.close()
