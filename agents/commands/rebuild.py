"""`millstream rebuild`: a fresh model from the log beside the live one, to switch to or to throw away."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import signal
import time
from contextlib import suppress

import click
import uvloop

from millstream.agents.demo_servers import forget_keys
from millstream.agents.errors import Problem
from millstream.agents.evaluate_progress import counting
from millstream.agents.moment import Moment
from millstream.agents.rebuild import Rebuild, Switched, begin_new, begin_with_previous, beside
from millstream.agents.running_worker import refuse_if_running
from millstream.agents.warm_up import compile_kernels_saying_so
from millstream.online_learning.snapshot import points
from millstream.online_learning.snapshot_remote import open_store
from millstream.streams.beginnings import find_beginning
from millstream.streams.settings import Settings, load_settings

_INTERRUPTED = 130


@click.command("rebuild")
@click.option("--from-time", "from_ms", type=Moment(), help="Learn from this time on.")
@click.option("--from-offset", type=click.IntRange(min=0), help="Learn from this offset of every partition on.")
@click.option("--back", is_flag=True, help="Bring the model that was switched from up to date.")
@click.option("--switch", "switching", is_flag=True, help="Then let the live workers go on with it.")
@click.option("--discard", is_flag=True, help="Throw it away.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
@click.pass_context
def command(
    ctx: click.Context,
    from_ms: int | None,
    from_offset: int | None,
    back: bool,
    switching: bool,
    discard: bool,
    as_json: bool,
) -> None:
    """Make a fresh model from the log, beside the live one and with the settings of now.

    It has snapshots of its own (`rebuild` in the folder of the others) and lists of its own (`rebuild:` behind the
    prefix). Without --from-time and --from-offset it goes on with the one there is, or begins where the order does.
    Ctrl-C keeps what is made. With --switch all live workers take it between the same two events, and everybody's
    list is made anew with it; the model they had is kept, and --back brings it back.

    \b
    Examples:
      millstream rebuild --from-time 2026-11-01
      millstream rebuild --switch
      millstream rebuild --back --switch
      millstream rebuild --discard
    """
    if sum((from_ms is not None, from_offset is not None, back, discard)) > 1 or (discard and switching):
        raise click.UsageError("give one of --from-time, --from-offset, --back, --discard; --switch beside the others")
    settings = load_settings()
    mine = beside(settings)
    store = open_store(mine.snapshots.directory)
    refuse_if_running(mine)
    if discard:
        _discard(mine, as_json)
        return
    compile_kernels_saying_so()
    if from_ms is not None or from_offset is not None or back:
        if points(store) and not back:
            raise Problem(f"{store.address}: there is a rebuilt model already; --discard throws it away")
        if back:
            settings = begin_with_previous(settings, store)
        else:
            start = settings.snapshots.model_copy(update={"start": "earliest" if from_ms is None else from_ms})
            at = settings.model_copy(update={"snapshots": start})
            begin_new(settings, store, asyncio.run(find_beginning(at, offset=from_offset)))
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", level=logging.WARNING)
    began_s = time.monotonic()
    rebuild = Rebuild(settings)
    switched, interrupted = uvloop.run(_run(rebuild, switching))
    summary = rebuild.pipeline.summary
    answer = {
        "snapshot": f"{store.address}/{rebuild.pipeline.parts.snapshots.last}",
        "events": summary.seq,
        "state_hash": summary.state_hash,
        "elapsed_s": round(time.monotonic() - began_s, 3),
        "interrupted": interrupted,
        "switched": None if switched is None else dataclasses.asdict(switched),
    }
    if as_json:
        click.echo(json.dumps(answer))
    else:
        click.echo(_said(answer, switched, interrupted))
    if interrupted:
        ctx.exit(_INTERRUPTED)


async def _run(rebuild: Rebuild, switching: bool) -> tuple[Switched | None, bool]:
    """Return what became of the live workers, and whether a signal came first."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    told = asyncio.ensure_future(stop.wait())
    work = asyncio.ensure_future(_work(rebuild, switching))
    await asyncio.wait({told, work}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if work.done():
        return work.result(), False
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work
    return None, True


async def _work(rebuild: Rebuild, switching: bool) -> Switched | None:
    async with rebuild.running():
        with counting("learning") as on_progress:
            await rebuild.catch_up(on_progress)
        return await rebuild.switch() if switching else None


def _discard(mine: Settings, as_json: bool) -> None:
    store = open_store(mine.snapshots.directory)
    names = store.names()
    for name in names:
        store.remove(name)
    forget_keys(mine)
    if as_json:
        click.echo(json.dumps({"discarded": len(names), "directory": store.address}))
    else:
        click.echo(f"{store.address}: {len(names)} files thrown away, and all keys that begin {mine.redis.prefix!r}")


def _said(answer: dict[str, object], switched: Switched | None, interrupted: bool) -> str:
    made = f"{answer['snapshot']}: {answer['events']:,} events, {answer['elapsed_s']:.1f} s"
    if interrupted:
        return f"{made}; stopped before its end: `millstream rebuild` goes on with it"
    if switched is None:
        return f"{made}; `millstream rebuild --switch` lets the live workers go on with it, --discard throws it away"
    return (
        f"{made}; {switched.workers} workers took it {switched.taken_s:.1f} s after the hold, all lists were made anew "
        f"{switched.published_s:.1f} s after, of generation {switched.generation}; --back --switch goes back"
    )
