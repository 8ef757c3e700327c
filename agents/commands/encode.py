"""`millstream encode`: make vectors of what the catalogue's items say, until stopped."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import suppress

import click
import uvloop

from millstream.agents.encoders import TextEncoder, load_encoder
from millstream.agents.encoding import Encoding, give_way
from millstream.agents.evaluate_progress import counting
from millstream.agents.interrupt import cancel_once_on_signals
from millstream.streams.settings import Settings, load_settings
from millstream.streams.topics import ensure_topics

_log = logging.getLogger(__name__)


@click.command("encode")
@click.option("--once", is_flag=True, help="End when all that the catalogue has now is encoded.")
@click.option("--json", "as_json", is_flag=True, help="At the end, print one JSON object on the last line.")
def command(once: bool, as_json: bool) -> None:
    """Encode titles, texts, categories and attributes of the items topic, until Ctrl-C.

    A pretrained text encoder (the settings' `content.encoder`) makes a vector of what each item says, and of the
    vectors that it brings; workers read them from the topic item-vectors and recommend the item before its first
    click. Only what has changed is encoded, with low priority. Ctrl-C loses nothing.

    \b
    Examples:
      millstream encode
      MILLSTREAM_CONTENT__ENCODER=light millstream encode --once
    """
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", level=logging.INFO)
    for library in ("sentence_transformers", "transformers", "httpx", "aiokafka"):
        logging.getLogger(library).setLevel(logging.ERROR)
    settings = load_settings()
    ensure_topics(settings)
    content = settings.content
    give_way(content.nice)
    began_s = time.monotonic()
    encoder = load_encoder(content.encoder, threads=content.threads)
    _log.info("encoder %s, ready after %.1f s: Ctrl-C stops", encoder.name, time.monotonic() - began_s)
    done = uvloop.run(_run(settings, encoder, once=once)).done
    took_s = time.monotonic() - began_s
    _log.info("%s items read, %s encoded, %s taken back", f"{done.records:,}", f"{done.encoded:,}", f"{done.removed:,}")
    if as_json:
        answer = {
            "encoder": encoder.name,
            "records": done.records,
            "encoded": done.encoded,
            "removed": done.removed,
            "seconds": round(took_s, 3),
        }
        click.echo(json.dumps(answer))


async def _run(settings: Settings, encoder: TextEncoder, *, once: bool) -> Encoding:
    cancel_once_on_signals()
    encoding = Encoding(settings, encoder)
    with counting("encoding") as on_progress, suppress(asyncio.CancelledError):
        await encoding.run(once=once, on_progress=on_progress)
    return encoding
