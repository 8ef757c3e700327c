"""`millstream understand`: answer what texts mean and which items they may be about, until stopped."""

from __future__ import annotations

import json
import logging

import click

from millstream.agents.errors import Problem
from millstream.streams.settings import load_settings
from millstream.streams.topics import ensure_topics


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
    try:
        from millstream.agents.understanding.process import understand
    except ImportError as error:
        raise Problem(
            f"the extra `search` is not installed ({error}): `pip install 'millstream[search]'` brings the index, and "
            "`millstream[search,text]` meaning as well"
        ) from error
    ensure_topics(settings)
    done = understand(settings)
    if as_json:
        click.echo(json.dumps(done))
