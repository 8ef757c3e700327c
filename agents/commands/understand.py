"""`millstream understand`: answer what texts mean and which items they may be about, until stopped."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import suppress

import click
import uvloop
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from millstream.agents.encoders import NoEncoder, encoder_name, load_encoder
from millstream.agents.interrupt import cancel_once_on_signals
from millstream.agents.understanding.answering import Understanding
from millstream.agents.understanding.following import Following
from millstream.agents.understanding.hearing import Hearing
from millstream.agents.understanding.index import CatalogueIndex
from millstream.agents.understanding.texts import Texts
from millstream.streams.settings import Settings, load_settings
from millstream.streams.topics import ensure_topics

_log = logging.getLogger(__name__)


@click.command("understand")
@click.option("--json", "as_json", is_flag=True, help="At the end, print one JSON object on the last line.")
def command(as_json: bool) -> None:
    """Answer searches over the catalogue, and hear what users say, until Ctrl-C.

    Reads the topics items and item-vectors from their beginnings into memory, and follows them: what is put into the
    catalogue is found within a second. A pretrained text encoder (the settings' `content.encoder`) makes vectors of
    what people type; without one, words alone are compared. What users say on the inputs goes on with what it means,
    and shifts their lists. It keeps nothing; run several to answer when one is gone.

    \b
    Examples:
      millstream understand
      MILLSTREAM_CONTENT__ENCODER=light millstream understand
    """
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", level=logging.INFO)
    for library in ("sentence_transformers", "transformers", "httpx", "aiokafka"):
        logging.getLogger(library).setLevel(logging.ERROR)
    settings = load_settings()
    ensure_topics(settings)
    threadpool_limits(1)  # threads that wait for one another cost more than they bring, and a core is the promise
    texts = _texts(settings)
    index = CatalogueIndex(encoder_name(settings.content.encoder))
    understanding = Understanding(settings.redis.url, settings.redis.prefix, index, texts)
    hearing = Hearing(settings, understanding.meaning)
    with suppress(asyncio.CancelledError):
        uvloop.run(_run(settings, texts, index, understanding, hearing))
    _log.info("stopped: %s questions answered, %s words heard", f"{understanding.answered:,}", f"{hearing.heard:,}")
    if as_json:
        answer = {
            "encoder": None if texts is None else texts.encoder,
            "items": index.items,
            "vectors": index.vectors,
            "answered": understanding.answered,
            "heard": hearing.heard,
        }
        click.echo(json.dumps(answer))


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
    return Texts(encoder)


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
