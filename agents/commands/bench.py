"""`millstream bench`: speed and freshness, each beside a baseline measured in the same run."""

from __future__ import annotations

import time
from pathlib import Path

import click

from millstream.agents.bench.commands import FILE, json_option, learning_of, log_of, log_options, report, say, stoppable
from millstream.agents.bench.report import Report
from millstream.agents.bench.text_commands import encode_command, search_command
from millstream.agents.errors import Problem
from millstream.agents.evaluate_task import LoadedTask, Task

_SHOPPERS_EVENTS = 50_000


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


@command.command("loop")
@click.option("--events", type=click.IntRange(1_000), default=300_000, show_default=True, help="Events to learn.")
@click.option("--baseline-events", type=click.IntRange(2), help="Events for the baseline; half as many by default.")
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Turns of both; the lowest counts.")
@json_option
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
        with place(say, with_kafka=True) as where:
            return stoppable(
                loop(where, events=events, baseline_events=baseline_events or events // 2, runs=runs, say=say)
            )

    report(run, as_json)


@command.command("publish")
@click.option(
    "--events", type=click.IntRange(1_000), default=20_000, show_default=True, help="Events to make lists of."
)
@click.option("--seconds", type=click.FloatRange(0.1), default=5.0, show_default=True, help="For each side of a run.")
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Turns of both; the lowest counts.")
@json_option
def publish_command(events: int, seconds: float, runs: int, as_json: bool) -> None:
    """Lists a second through the Redis topic against plain pipelined SETs of the same bytes.

    \b
    Example:
      millstream bench publish --seconds 10
    """
    from millstream.agents.bench.place import place
    from millstream.agents.bench.publish import publish

    def run() -> Report:
        with place(say, with_kafka=False) as where:
            return stoppable(publish(where, events=events, seconds=seconds, runs=runs, say=say))

    report(run, as_json)


@command.command("freshness")
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=1_000.0, show_default=True, help="Events/s.")
@click.option("--seconds", type=click.FloatRange(1), default=30.0, show_default=True, help="How long to offer them.")
@click.option("--after", type=click.IntRange(0), default=0, show_default=True, help="Learn so many events before.")
@click.option("--workers", type=click.IntRange(1, 4), default=1, show_default=True, help="They share the lists.")
@click.option("--kill", is_flag=True, help="Kill one of several half way.")
@log_options
@json_option
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
        name, columns = log_of(log, min_rating, limit=after + max(1, int(rate * seconds)))
        if len(columns) <= after:
            raise click.UsageError(f"--after {after}: {name} has {len(columns):,} events, none is left to measure")
        with place(say, with_kafka=True, exclude_consumed=exclude_consumed) as where:
            return stoppable(
                freshness(where, name, columns, rate=rate, after=after, workers=workers, kill=kill, say=say)
            )

    report(run, as_json)


@command.command("learn")
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Turns of all; the lowest counts.")
@click.option("--limit", type=click.IntRange(min=1), help="Take the first N events only; of shoppers, 50,000.")
@click.option("--first-only", is_flag=True, help="Keep the first event of each user and item only.")
@click.option("--items", type=FILE, help="The catalogue of the log.")
@log_options
@json_option
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
        config = learning_of(exclude_consumed)
        if log is None:
            from millstream.agents.bench.shoppers import shoppers_log

            made = LoadedTask(shoppers_log(limit or _SHOPPERS_EVENTS), {})
            return learn("simulated shoppers", made, 0.0, config, runs=runs, say=say)
        task = Task(log, items, min_rating, exclude_consumed, first_only, limit)
        began_s = time.perf_counter()
        loaded = task.load()
        read_s = time.perf_counter() - began_s
        if not len(loaded.columns):
            raise Problem(f"{log.name}: no event in it; see its rejects above, and --min-rating")
        return learn(log.name, loaded, read_s, config, runs=runs, say=say)

    report(run, as_json)


@command.command("read")
@click.option(
    "--events", type=click.IntRange(1_000), default=20_000, show_default=True, help="Events to make lists of."
)
@click.option("--seconds", type=click.FloatRange(0.1), default=5.0, show_default=True, help="For each side of a turn.")
@click.option("--rate", type=click.FloatRange(1), default=500.0, show_default=True, help="Requests/s, open loop.")
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Turns of both; the lowest counts.")
@click.option("--loop-rate", type=click.FloatRange(0), default=0.0, help="Events/s that a worker learns beside it.")
@json_option
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
        with place(say, with_kafka=loop_rate > 0) as where:
            return stoppable(
                read(where, events=events, seconds=seconds, rate=rate, runs=runs, loop_rate=loop_rate, say=say)
            )

    report(run, as_json)


@command.command("rank")
@click.option(
    "--items", "sizes", default="10000,100000,1000000", show_default=True, help="Catalogues, with commas between."
)
@click.option("--users", type=click.IntRange(1), default=1_000, show_default=True, help="Users to rank.")
@click.option(
    "--events", type=click.IntRange(1_000), default=500_000, show_default=True, help="Events to learn beforehand."
)
@json_option
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
    report(lambda: rank(catalogues, learning_of(False), users=users, events=events, say=say), as_json)


@command.command("recovery")
@click.option("--users", type=click.IntRange(100), default=1_000_000, show_default=True)
@click.option("--items", type=click.IntRange(100), default=100_000, show_default=True)
@click.option("--events-per-user", type=click.IntRange(1), default=20, show_default=True, help="Learned beforehand.")
@click.option("--waiting", type=click.IntRange(1), default=30_000, show_default=True, help="Events to catch up with.")
@json_option
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
        with place(say, with_kafka=True) as where:
            return stoppable(
                recovery(where, users=users, items=items, events_per_user=events_per_user, waiting=waiting, say=say)
            )

    report(run, as_json)


def _sizes(written: str) -> list[int]:
    """Return catalogue sizes in rising order. Raises `BadParameter` for what is none."""
    from millstream.agents.bench.shoppers import LEAST_ITEMS

    parts = [part.strip() for part in written.split(",")]
    wrong = [part for part in parts if not (part.isdecimal() and int(part) >= LEAST_ITEMS)]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is no number from {LEAST_ITEMS} on", param_hint="--items")
    return sorted({int(part) for part in parts})


command.add_command(search_command)
command.add_command(encode_command)
