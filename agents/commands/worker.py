"""`millstream worker`: learn from the inputs and publish fresh lists, until stopped."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import signal
from typing import TYPE_CHECKING

import click
import uvloop

from millstream.agents.errors import Problem
from millstream.online_learning.torch_process import TRAINING
from millstream.streams.errors import Unavailable

if TYPE_CHECKING:
    from millstream.agents.app import MillstreamApp
    from millstream.agents.pipeline import Summary

_log = logging.getLogger(__name__)


@click.command("worker")
@click.option("--json", "as_json", is_flag=True, help="At the end, print one JSON object on the last line.")
def command(as_json: bool) -> None:
    """Learn from the inputs and publish fresh lists to Redis, until Ctrl-C.

    Goes on from the newest snapshot, or begins where the setting snapshots.start says. Ctrl-C publishes what is on its
    way, takes a snapshot and ends. The same app runs under `faust -A millstream.agents.app worker -l info`.

    \b
    Example:
      MILLSTREAM_KAFKA__BOOTSTRAP_SERVERS=localhost:9092 millstream worker
    """
    gc.disable()  # until all is there that stays: the collector would go through it again and again
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", level=logging.INFO)
    for framework in ("faust", "mode", "millstream.agents.app"):
        logging.getLogger(framework).setLevel(logging.WARNING)
    TRAINING.begin()  # it takes as long as what is imported next
    # imported here: it reads the settings, whose errors the command line reports
    from millstream.agents.app import app

    app.pipeline.hash_at_end = as_json
    summary = uvloop.run(_run(app))
    if as_json:
        click.echo(
            json.dumps(
                {
                    "events": summary.events,
                    "slates": summary.slates,
                    "dead_letters": summary.dead_letters,
                    "duplicates": summary.duplicates,
                    "seq": summary.seq,
                    "state_hash": summary.state_hash,
                    "positions": summary.positions,
                }
            )
        )


async def _run(app: MillstreamApp) -> Summary:
    """Run the app until a signal or a failure. Raises what ended it."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    told = asyncio.ensure_future(stop.wait())
    failed = asyncio.ensure_future(app.pipeline.failure.wait())
    started = asyncio.ensure_future(app.start())
    try:
        await asyncio.wait({told, failed, started}, return_when=asyncio.FIRST_COMPLETED)
        if started.done():
            started.result()
            _log.info("running: Ctrl-C stops")
            await asyncio.wait({told, failed}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiting in (told, failed, started):
            waiting.cancel()
        await app.stop()
    if app.pipeline.failure.error is not None:
        raise _as_problem(app.pipeline.failure.error)
    summary = app.pipeline.summary
    _log.info(
        "stopped: %s events, %s lists, %s dead letters, %s duplicates; snapshot %s",
        f"{summary.events:,}",
        f"{summary.slates:,}",
        f"{summary.dead_letters:,}",
        f"{summary.duplicates:,}",
        app.pipeline.parts.snapshots.last,
    )
    return summary


def _as_problem(error: BaseException) -> Exception:
    if isinstance(error, Unavailable):
        return error
    _log.error("the worker failed", exc_info=error)
    return Problem(
        f"the worker stopped: {type(error).__name__}: {error}; nothing is lost: start it again and it goes on from its "
        "newest snapshot"
    )
