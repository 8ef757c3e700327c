"""`millstream bench`: speed and freshness, each beside a baseline measured in the same run."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click
import uvloop
from rich.console import Console

from millstream.agents.bench.report import Report, WrongResult
from millstream.agents.errors import Problem
from millstream.agents.evaluate_task import LoadedTask, Task
from millstream.agents.interrupt import INTERRUPTED, cancel_once_on_signals, ignore_signals
from millstream.online_learning.config import LearningConfig
from millstream.schemas.columns import InteractionColumns
from millstream.streams.settings import load_settings

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SHOPPERS_EVENTS = 50_000
Command = TypeVar("Command", bound=Callable[..., Any])


@click.group("bench")
def command() -> None:
    """Measure speed and freshness, each beside a baseline in the same run on the same servers.

    Uses the Kafka and Redis of the settings where they answer, under names of its own that it removes again, and else
    starts both on this machine. Every bench has --help and --json. On a machine that does other work, trust the
    ratios and not the figures.

    \b
    Examples:
      millstream bench loop
      millstream bench freshness --rate 2000 --json
      millstream bench learn --log ratings.csv --min-rating 4 --exclude-consumed
      millstream bench rank
    """


def _json_option(function: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")(function)


def _log_options(function: Command) -> Command:
    for option in (
        click.option("--exclude-consumed", is_flag=True, help="Recommend to nobody what they had already."),
        click.option("--min-rating", type=float, help="Leave out ratings below this."),
        click.option("--log", type=_FILE, help="A recorded log (JSONL, CSV, Avro; .gz) instead of simulated shoppers."),
    ):
        function = option(function)
    return function


@command.command("loop")
@click.option("--events", type=click.IntRange(1_000), default=300_000, show_default=True, help="Events to learn.")
@click.option("--baseline-events", type=click.IntRange(2), help="Events for the baseline; half as many by default.")
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Turns of both; the lowest counts.")
@_json_option
def loop_command(events: int, baseline_events: int | None, runs: int, as_json: bool) -> None:
    """The whole worker against a bare Faust `async for` that only decodes JSON and counts.

    100,000 simulated shoppers among 20,000 items; both sinks on. The lowest ratio of the runs is reported.

    \b
    Example:
      millstream bench loop --json
    """
    from millstream.agents.bench.loop import loop
    from millstream.agents.bench.place import place

    def run() -> Report:
        with place(_say, with_kafka=True) as where:
            return _stoppable(
                loop(where, events=events, baseline_events=baseline_events or events // 2, runs=runs, say=_say)
            )

    _report(run, as_json)


@command.command("publish")
@click.option(
    "--events", type=click.IntRange(1_000), default=20_000, show_default=True, help="Events to make lists of."
)
@click.option("--seconds", type=click.FloatRange(0.1), default=5.0, show_default=True, help="For each side of a run.")
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Turns of both; the lowest counts.")
@_json_option
def publish_command(events: int, seconds: float, runs: int, as_json: bool) -> None:
    """Lists a second through the Redis topic against plain pipelined SETs of the same bytes.

    \b
    Example:
      millstream bench publish --seconds 10
    """
    from millstream.agents.bench.place import place
    from millstream.agents.bench.publish import publish

    def run() -> Report:
        with place(_say, with_kafka=False) as where:
            return _stoppable(publish(where, events=events, seconds=seconds, runs=runs, say=_say))

    _report(run, as_json)


@command.command("freshness")
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=1_000.0, show_default=True, help="Events/s.")
@click.option("--seconds", type=click.FloatRange(1), default=30.0, show_default=True, help="How long to offer them.")
@click.option("--after", type=click.IntRange(0), default=0, show_default=True, help="Learn so many events before.")
@click.option("--workers", type=click.IntRange(1, 4), default=1, show_default=True, help="They share the lists.")
@click.option("--kill", is_flag=True, help="Kill one of several half way.")
@_log_options
@_json_option
def freshness_command(
    rate: float,
    seconds: float,
    after: int,
    workers: int,
    kill: bool,
    log: Path | None,
    min_rating: float | None,
    exclude_consumed: bool,
    as_json: bool,
) -> None:
    """From a producer's send to the first read, by another process, of a list that contains the event.

    The baseline is the floor: the same events through a bare consumer that only stores.

    \b
    Examples:
      millstream bench freshness
      millstream bench freshness --log clicks.jsonl.gz --rate 2000 --seconds 60 --json
      millstream bench freshness --workers 3 --kill
    """
    if kill and workers < 2:
        raise click.UsageError("--kill needs --workers 2 or more: somebody has to go on")
    from millstream.agents.bench.freshness import freshness
    from millstream.agents.bench.place import place

    def run() -> Report:
        name, columns = _log(log, min_rating, limit=after + max(1, int(rate * seconds)))
        if len(columns) <= after:
            raise click.UsageError(f"--after {after}: {name} has {len(columns):,} events, none is left to measure")
        with place(_say, with_kafka=True, exclude_consumed=exclude_consumed) as where:
            return _stoppable(
                freshness(where, name, columns, rate=rate, after=after, workers=workers, kill=kill, say=_say)
            )

    _report(run, as_json)


@command.command("learn")
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Turns of all; the lowest counts.")
@click.option("--limit", type=click.IntRange(min=1), help="Take the first N events only; of shoppers, 50,000.")
@click.option("--first-only", is_flag=True, help="Keep the first event of each user and item only.")
@click.option("--items", type=_FILE, help="The catalogue of the log.")
@_log_options
@_json_option
def learn_command(
    log: Path | None,
    items: Path | None,
    min_rating: float | None,
    exclude_consumed: bool,
    first_only: bool,
    limit: int | None,
    runs: int,
    as_json: bool,
) -> None:
    """The learner alone: events a second as `evaluate` learns, with a fresh list after each, and the time by stage.

    At full effort, nothing skipped, in `evaluate`'s settings. The baseline counts popularity and does no more.

    \b
    Examples:
      millstream bench learn
      millstream bench learn --log ratings.csv --min-rating 4 --exclude-consumed --json
    """
    from millstream.agents.bench.learn import learn

    def run() -> Report:
        config = _learning(exclude_consumed)
        if log is None:
            from millstream.agents.bench.shoppers import shoppers_log

            made = LoadedTask(shoppers_log(limit or _SHOPPERS_EVENTS), {})
            return learn("simulated shoppers", made, 0.0, config, runs=runs, say=_say)
        task = Task(log, items, min_rating, exclude_consumed, first_only, limit)
        began_s = time.perf_counter()
        loaded = task.load()
        read_s = time.perf_counter() - began_s
        if not len(loaded.columns):
            raise Problem(f"{log.name}: no event in it; see its rejects above, and --min-rating")
        return learn(log.name, loaded, read_s, config, runs=runs, say=_say)

    _report(run, as_json)


@command.command("read")
@click.option(
    "--events", type=click.IntRange(1_000), default=20_000, show_default=True, help="Events to make lists of."
)
@click.option("--seconds", type=click.FloatRange(0.1), default=5.0, show_default=True, help="For each side of a turn.")
@click.option("--rate", type=click.FloatRange(1), default=500.0, show_default=True, help="Requests/s, open loop.")
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Turns of both; the lowest counts.")
@click.option("--loop-rate", type=click.FloatRange(0), default=0.0, help="Events/s that a worker learns beside it.")
@_json_option
def read_command(events: int, seconds: float, rate: float, runs: int, loop_rate: float, as_json: bool) -> None:
    """The reader against redis-py's GET, the cache, and `serve` against a bare FastAPI handler.

    \b
    Examples:
      millstream bench read --json
      millstream bench read --loop-rate 1000
    """
    from millstream.agents.bench.place import place
    from millstream.agents.bench.read import read

    def run() -> Report:
        with place(_say, with_kafka=loop_rate > 0) as where:
            return _stoppable(
                read(where, events=events, seconds=seconds, rate=rate, runs=runs, loop_rate=loop_rate, say=_say)
            )

    _report(run, as_json)


@command.command("rank")
@click.option(
    "--items", "sizes", default="10000,100000,1000000", show_default=True, help="Catalogues, with commas between."
)
@click.option("--users", type=click.IntRange(1), default=1_000, show_default=True, help="Users to rank.")
@click.option(
    "--events", type=click.IntRange(1_000), default=500_000, show_default=True, help="Events to learn beforehand."
)
@_json_option
def rank_command(sizes: str, users: int, events: int, as_json: bool) -> None:
    """µs to rank one user as the catalogue grows, and how much of an exhaustive scoring's top the shortlist finds.

    100,000 simulated shoppers. The baseline scores every item of the catalogue, for fewer users where that takes long.
    A million items take some 4 GB.

    \b
    Examples:
      millstream bench rank
      millstream bench rank --items 10000,100000 --json
    """
    from millstream.agents.bench.rank import rank

    catalogues = _sizes(sizes)
    _report(lambda: rank(catalogues, _learning(False), users=users, events=events, say=_say), as_json)


@command.command("recovery")
@click.option("--users", type=click.IntRange(100), default=1_000_000, show_default=True)
@click.option("--items", type=click.IntRange(100), default=100_000, show_default=True)
@click.option("--events-per-user", type=click.IntRange(1), default=20, show_default=True, help="Learned beforehand.")
@click.option("--waiting", type=click.IntRange(1), default=30_000, show_default=True, help="Events to catch up with.")
@_json_option
def recovery_command(users: int, items: int, events_per_user: int, waiting: int, as_json: bool) -> None:
    """Snapshots of a large state beside 1,000 events a second, and how soon a killed worker goes on with it.

    The state of a million users is learned first, which takes some ten minutes, and some 4 GB.

    \b
    Examples:
      millstream bench recovery
      millstream bench recovery --users 100000 --items 10000 --json
    """
    from millstream.agents.bench.place import place
    from millstream.agents.bench.recovery import recovery

    def run() -> Report:
        with place(_say, with_kafka=True) as where:
            return _stoppable(
                recovery(where, users=users, items=items, events_per_user=events_per_user, waiting=waiting, say=_say)
            )

    _report(run, as_json)


def _sizes(written: str) -> list[int]:
    """Return catalogue sizes in rising order. Raises `BadParameter` for what is none."""
    from millstream.agents.bench.shoppers import LEAST_ITEMS

    parts = [part.strip() for part in written.split(",")]
    wrong = [part for part in parts if not (part.isdecimal() and int(part) >= LEAST_ITEMS)]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is no number from {LEAST_ITEMS} on", param_hint="--items")
    return sorted({int(part) for part in parts})


@command.command("search")
@click.option("--items", type=_FILE, help="A catalogue (JSONL; .gz) instead of simulated things.")
@click.option("--catalogue", type=click.IntRange(120), default=5_000, show_default=True, help="How many of its items.")
@click.option("--vectors", type=click.IntRange(2_000), default=200_000, show_default=True, help="For the first half.")
@click.option("--width", type=click.IntRange(2), default=64, show_default=True, help="Elements of each vector.")
@click.option("--queries", type=click.IntRange(10), default=300, show_default=True, help="Of each kind.")
@click.option("--puts", type=click.IntRange(1), default=50, show_default=True, help="New items to wait for.")
@_json_option
def search_command(
    items: Path | None, catalogue: int, vectors: int, width: int, queries: int, puts: int, as_json: bool
) -> None:
    """Approximate against exact search while vectors drift; then searches over HTTP, and how soon new items are found.

    The encoder is the settings' `content.encoder`.

    \b
    Examples:
      millstream bench search --items items.jsonl.gz
      MILLSTREAM_CONTENT__ENCODER=light millstream bench search --json
    """
    from millstream.agents.bench.place import place
    from millstream.agents.bench.search import search
    from millstream.online_learning.simulated_catalogue import Catalogue, CatalogueConfig
    from millstream.schemas.recorded import read_items

    if items is None:
        name, found = (
            "the simulated shop",
            Catalogue(CatalogueConfig(items=catalogue), seed=1, start_ms=0).describe(),
        )
    else:
        name, found = items.name, list(read_items(items).values())[:catalogue]

    def run() -> Report:
        with place(_say, with_kafka=True) as where:
            return _stoppable(
                search(where, found, name, vectors=vectors, width=width, queries=queries, puts=puts, say=_say)
            )

    _report(run, as_json)


def _learning(exclude_consumed: bool) -> LearningConfig:
    learning = load_settings().learning
    return dataclasses.replace(learning, exclude_consumed=learning.exclude_consumed or exclude_consumed)


def _log(path: Path | None, min_rating: float | None, *, limit: int) -> tuple[str, InteractionColumns]:
    """Return the name and the first events of a log, or of simulated shoppers."""
    if path is None:
        from millstream.agents.bench.shoppers import shoppers_log

        return "simulated shoppers", shoppers_log(limit)
    from millstream.schemas.log_files import UnreadableLog
    from millstream.schemas.recorded import read_events

    try:
        found = read_events(path, min_rating=min_rating, limit=limit)
    except UnreadableLog as error:
        raise Problem(str(error)) from error
    if not len(found.columns):
        raise Problem(
            f"{path.name}: no event in it ({len(found.rejects):,} lines rejected, the rest below --min-rating)"
        )
    # every event is waited for, so none may be passed over
    return path.name, dataclasses.replace(found.columns, event_ids=None)


def _say(line: str) -> None:
    """Progress goes to standard error, so that standard output is the result alone."""
    click.echo(line, err=True)


def _stoppable(work: Coroutine[Any, Any, Report]) -> Report:
    async def until_told() -> Report:
        cancel_once_on_signals()
        return await work

    try:
        return uvloop.run(until_told())
    finally:
        ignore_signals()


def _report(run: Callable[[], Report], as_json: bool) -> None:
    """Print what `run` returns, kernels compiled before. Ctrl-C stops what it started; the exit status is then 130."""
    from millstream.agents.warm_up import compile_kernels_saying_so

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        compile_kernels_saying_so()
        report = run()
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("\nstopped, with all it had started", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    except WrongResult as error:
        raise Problem(f"the measurement is void: {error}") from error
    console = Console(stderr=as_json, highlight=False)
    console.print(report.table())
    for fact in report.facts:
        console.print(fact, markup=False, soft_wrap=True)
    if as_json:
        click.echo(json.dumps(report.as_json()))
