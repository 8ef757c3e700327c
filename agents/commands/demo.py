"""`millstream demo`: the whole loop on a real log, watched."""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import uvloop
from rich.console import Console
from rich.live import Live

from millstream.agents.demo import watch
from millstream.agents.demo_display import NO_KAFKA, Summary, View, plain_line, screen, summary_lines
from millstream.agents.demo_log import DemoLog, file_log, movielens_log, simulated_log, user_to_watch
from millstream.agents.demo_next import next_commands
from millstream.agents.demo_route import Route
from millstream.agents.demo_servers import Say, Servers, servers
from millstream.agents.errors import Problem
from millstream.agents.freshness import FreshnessMeter
from millstream.agents.interrupt import INTERRUPTED, cancel_once_on_signals, ignore_signals
from millstream.schemas.log_files import UnreadableLog
from millstream.streams.settings import load_settings
from millstream.streams.topics import ensure_topics

_PLAIN_EVERY_S = 3.0
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("demo")
@click.option("--log", "events", type=_FILE, help="Replay this log (JSONL, CSV, Avro; .gz) instead of MovieLens 100K.")
@click.option("--items", type=_FILE, help="The log's catalogue, for titles.")
@click.option("--min-rating", type=float, help="Leave out ratings below this (MovieLens: 4).")
@click.option("--exclude-consumed", is_flag=True, help="Recommend to nobody what they had already (MovieLens: always).")
@click.option("--simulate", is_flag=True, help="Simulated shoppers instead of a log.")
@click.option(
    "--rate", "--speed", type=click.FloatRange(0, min_open=True), default=1000.0, show_default=True,
    help="Events offered a second.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(1), help="Only the first so many events.")
@click.option("--user", help="Whose list to show; else someone who is active all along.")
@click.option("--keep", is_flag=True, help="Leave Kafka and Valkey running, and say how to stop them.")
@click.option("--no-kafka", is_flag=True, help="Leave Kafka out: the same events straight into the same step.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
@click.pass_context
def command(
    ctx: click.Context,
    events: Path | None,
    items: Path | None,
    min_rating: float | None,
    exclude_consumed: bool,
    simulate: bool,
    rate: float,
    limit: int | None,
    user: str | None,
    keep: bool,
    no_kafka: bool,
    as_json: bool,
) -> None:
    """Watch the whole loop run on a real log, from Kafka to lists in Redis.

    Uses the Kafka and Redis of the settings where they answer, under names of its own that it removes again, and else
    starts both on this machine. Ctrl-C stops all it started; the exit status is then 130.

    \b
    Example:
      millstream demo
      millstream demo --log clicks.jsonl.gz --items items.jsonl --rate 5000 --json
    """
    if simulate and (events or items or min_rating is not None):
        raise click.UsageError("--simulate goes without --log, --items and --min-rating")
    if items and not events:
        raise click.UsageError("--items goes with --log")
    console = Console(stderr=as_json, highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _spinner(console) as say:
            log = _choose_log(events, items, min_rating, exclude_consumed, simulate, limit, say)
            watched = _checked_user(user, log)
        if log.rejected:
            console.print(f"{log.rejected:,} lines of {log.name} gave no event and are left out")
        summary, used = _run(log, watched, rate, with_kafka=not no_kafka, keep=keep, console=console)
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("\nstopped, with all it had started", err=True)
        ctx.exit(INTERRUPTED)
    except UnreadableLog as error:
        raise Problem(str(error)) from error
    for line in summary_lines(summary, log.name, next_commands(log, used, watched, keep=keep)):
        console.print(line, markup=False, soft_wrap=True)
    if used.kafka is None:
        console.print(f"Kafka was left out: {used.without_kafka_because}", markup=False, soft_wrap=True)
    if used.kept_by is not None:
        console.print(f"Kafka and Valkey go on running; `kill {used.kept_by}` stops both.", markup=False)
    if as_json:
        click.echo(json.dumps(summary.as_json()))


def _choose_log(
    events: Path | None,
    items: Path | None,
    min_rating: float | None,
    exclude_consumed: bool,
    simulate: bool,
    limit: int | None,
    say: Say,
) -> DemoLog:
    if simulate:
        log = simulated_log(limit)
    elif events is not None:
        say(f"reading {events.name}")
        log = file_log(events, items, min_rating, exclude_consumed=exclude_consumed, limit=limit)
    else:
        log = movielens_log(limit, say, min_rating)
    if not len(log.columns):
        raise Problem(f"{log.name}: no event in it ({log.rejected:,} lines rejected, the rest below --min-rating)")
    return log


def _checked_user(user: str | None, log: DemoLog) -> str | None:
    if user is not None and user not in set(log.columns.user_ids):
        raise click.BadParameter(f"{user!r} has no event in {log.name}", param_hint="--user")
    return user or user_to_watch(log.columns.user_ids)


def _run(
    log: DemoLog, watched: str | None, rate: float, *, with_kafka: bool, keep: bool, console: Console
) -> tuple[Summary, Servers]:
    """Bring up the servers, run the log, take down what was brought up."""
    with tempfile.TemporaryDirectory(prefix="millstream-demo-") as folder, _spinner(console) as say:
        used_settings = servers(
            load_settings(),
            exclude_consumed=log.exclude_consumed,
            with_kafka=with_kafka,
            keep=keep,
            snapshots=Path(folder) / "snapshots",
            say=say,
        )
        with used_settings as used:
            if used.kafka is not None:
                say("creating the topics")
                ensure_topics(used.settings)
            say("starting the worker; the first time, it compiles the learner for a minute or two")
            try:
                summary = uvloop.run(_watch(log, used, watched, rate, Path(folder), console, say))
            finally:
                # taking down what runs is not to be broken off by a second Ctrl-C
                ignore_signals()
        return summary, used


async def _watch(
    log: DemoLog, used: Servers, watched: str | None, rate: float, folder: Path, console: Console, say: Say
) -> Summary:
    cancel_once_on_signals()
    meter = FreshnessMeter()
    route: Route
    if used.kafka is None:
        from millstream.agents.demo_direct import Directly  # numba takes a second to import; the other route needs none

        route = Directly(used.settings, log.columns, rate, meter, log.catalogue)
    else:
        from millstream.agents.demo_kafka import ThroughKafka

        route = ThroughKafka(used.settings, log.columns, rate, meter, folder, log.catalogue)
    async with route:
        say("")
        through = used.kafka or NO_KAFKA
        with _showing(console) as show:
            return await watch(log, used.settings, through, route, meter, watch_user=watched, show=show)


@contextmanager
def _spinner(console: Console) -> Iterator[Say]:
    """Yield what says which step is under way: by a spinner on a terminal, by lines elsewhere; "" ends the last one."""
    if not console.is_terminal:
        yield lambda text: console.print(text, markup=False) if text else None
        return
    with console.status("") as status:
        yield lambda text: status.update(text) if text else status.stop()


@contextmanager
def _showing(console: Console) -> Iterator[Callable[[View], None]]:
    """Yield what shows a view: a live picture on a terminal, elsewhere a plain line every few seconds."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=8, transient=False) as live:
            yield lambda view: live.update(screen(view))
        return
    due_s = 0.0

    def line(view: View) -> None:
        nonlocal due_s
        if (now_s := time.monotonic()) >= due_s:
            due_s = now_s + _PLAIN_EVERY_S
            console.print(plain_line(view), markup=False, soft_wrap=True)

    yield line
