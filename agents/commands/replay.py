"""`millstream replay`: a recorded log onto a Kafka topic."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import uvloop
from kafka import TopicPartition  # type: ignore[import-untyped]  # kafka-python ships no types
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec  # type: ignore[import-untyped]
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from millstream.schemas.log_files import UnreadableLog
from millstream.schemas.mapping import InputMapping, WrongMapping
from millstream.schemas.recorded import RecordedLog, read_events
from millstream.streams.settings import Settings, load_settings
from millstream.streams.topics import admin_client

from ..errors import Problem
from ..replay import ReplayReport, replay

_LINE_EVERY_S = 5.0
_SHOWN_REJECTS = 5
_INTERRUPTED = 130
"""What a shell gives a command that Ctrl-C ended: a part of a log is no success."""


class Speed(click.ParamType):
    """`max`, or how many times faster than the log's own pace."""

    name = "X|max"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Return the factor, or None for as fast as it goes."""
        if value is None or value == "max":
            return None
        try:
            factor = float(value)
        except ValueError:
            factor = math.nan
        if not 0 < factor < math.inf:
            self.fail(f"{value!r} is neither `max` nor a number above 0", param, ctx)
        return factor


@click.command("replay")
@click.argument("log", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--speed", type=Speed(), default="max", show_default=True, help="The log's own pace, times X.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Offer N events a second instead.")
@click.option("--topic", help="Where to; the first input in the settings if not given.")
@click.option("--min-rating", type=float, help="Leave out ratings below this.")
@click.option("--first-only", is_flag=True, help="Keep the first event of each user and item only.")
@click.option("--limit", type=click.IntRange(min=0), help="Send the first N events only.")
@click.option("--mapped", is_flag=True, help="The log has the topic's own field names and kinds, not the common ones.")
@click.option("--yes", is_flag=True, help="Also onto a topic that is not empty.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
@click.pass_context
def command(
    ctx: click.Context,
    log: Path,
    speed: float | None,
    rate: float | None,
    topic: str | None,
    min_rating: float | None,
    first_only: bool,
    limit: int | None,
    mapped: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Put a recorded log onto Kafka: JSON lines, CSV or Avro, plain or gzipped, in the order of time.

    Events are keyed by user and their records carry the events' times. Ctrl-C stops it and says how many the broker
    has; the exit status is then 130.

    \b
    Examples:
      millstream replay events.jsonl.gz
      millstream replay ratings.csv --min-rating 4 --rate 1000
      millstream replay events.avro --speed 60 --topic interactions
    """
    if speed is not None and rate is not None:
        raise click.UsageError("--speed and --rate both set the pace; give one of them")
    settings = load_settings()
    topic = topic or settings.inputs[0].topic
    mapping = topic_mapping(settings, topic)
    recorded = _read(log, mapping if mapped else InputMapping(), min_rating, first_only, limit)
    for reject in recorded.rejects[:_SHOWN_REJECTS]:
        click.echo(reject.message, err=True)
    if len(recorded.rejects) > _SHOWN_REJECTS:
        click.echo(f"… {len(recorded.rejects):,} lines left out in all", err=True)
    _check_topic(settings.kafka.bootstrap_servers, topic, recorded, yes)
    with _progress(len(recorded.columns)) as on_sent:
        report = uvloop.run(_run(recorded, settings, topic, mapping, rate, speed, on_sent))
    _say(report, recorded, topic, as_json)
    if report.stopped:
        ctx.exit(_INTERRUPTED)


def topic_mapping(settings: Settings, topic: str) -> InputMapping:
    """Return how the worker will read `topic`: by its input's mapping, or by the common names if it is no input.

    Raises `Problem` if that mapping is wrong.
    """
    for each in settings.inputs:
        if each.topic == topic:
            try:
                return InputMapping(each.default_kind, each.fields, each.kinds)
            except WrongMapping as error:
                raise Problem(f"inputs, topic {topic!r}: {error}") from error
    return InputMapping()


def _read(
    log: Path, mapping: InputMapping, min_rating: float | None, first_only: bool, limit: int | None
) -> RecordedLog:
    try:
        return read_events(log, mapping, min_rating=min_rating, first_only=first_only, limit=limit, keep_extras=True)
    except UnreadableLog as error:
        raise Problem(str(error)) from error


def _check_topic(bootstrap: str, topic: str, recorded: RecordedLog, yes: bool) -> None:
    """Raise `Problem` if the topic is missing or, without `yes`, not empty; warn if it would drop old events."""
    with admin_client(bootstrap) as client:
        found = [each for each in client.describe_topics([topic]) if each["error_code"] == 0]
        if not found:
            raise Problem(
                f"there is no topic {topic!r} at {bootstrap}; `millstream topics` creates those of the settings"
            )
        places = [TopicPartition(topic, each["partition_index"]) for each in found[0]["partitions"]]
        starts = client.list_partition_offsets(dict.fromkeys(places, OffsetSpec.EARLIEST))
        ends = client.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST))
        wanted = ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": None})
        configs = client.describe_configs([wanted], config_filter="all")["topic"][topic]
    held = sum(ends[place].offset - starts[place].offset for place in places)
    if held and not yes:
        raise Problem(f"topic {topic!r} is not empty ({held:,} records); --yes adds to it, --topic names another")
    retention_ms = int(configs["retention.ms"]["value"])
    times = recorded.columns.ts_ms
    if len(times) and 0 <= retention_ms < time.time() * 1_000 - int(times[0]):
        click.echo(
            f"careful: {topic!r} keeps records for {retention_ms / 86_400_000:.1f} days (retention.ms) and the log is "
            "older, so the broker may delete it soon",
            err=True,
        )


async def _run(
    recorded: RecordedLog,
    settings: Settings,
    topic: str,
    mapping: InputMapping,
    rate: float | None,
    speed: float | None,
    on_sent: Callable[[int], None],
) -> ReplayReport:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await replay(
        recorded.columns,
        bootstrap=settings.kafka.bootstrap_servers,
        topic=topic,
        rate=rate,
        speed=speed,
        extras=recorded.extras,
        mapping=mapping,
        on_sent=on_sent,
        stop=stop,
    )


@contextlib.contextmanager
def _progress(n: int) -> Iterator[Callable[[int], None]]:
    """Give what shows the number sent, on stderr: a bar on a terminal, else a line now and then."""
    started_s = time.monotonic()
    if sys.stderr.isatty():
        columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
            task = progress.add_task("replaying", total=n, rate="")

            def show(sent: int) -> None:
                rate = sent / max(time.monotonic() - started_s, 1e-9)
                progress.update(task, completed=sent, rate=f"{rate:,.0f} events/s")

            yield show
        return
    next_line_s = started_s + _LINE_EVERY_S

    def print_line(sent: int) -> None:
        nonlocal next_line_s
        now_s = time.monotonic()
        if now_s >= next_line_s:
            next_line_s = now_s + _LINE_EVERY_S
            rate = sent / (now_s - started_s)
            click.echo(f"{sent:,} of {n:,} sent, {rate:,.0f} events/s, {(n - sent) / rate:,.0f} s to go", err=True)

    yield print_line


def _say(report: ReplayReport, recorded: RecordedLog, topic: str, as_json: bool) -> None:
    if as_json:
        click.echo(
            json.dumps(
                {
                    "topic": topic,
                    "events": report.events,
                    "acknowledged": report.acknowledged,
                    "left_out": len(recorded.rejects),
                    "elapsed_s": round(report.elapsed_s, 3),
                    "events_per_s": round(report.events_per_s, 1),
                    "partitions": report.partitions,
                    "stopped": report.stopped,
                }
            )
        )
        return
    click.echo(
        f"{'stopped: ' if report.stopped else ''}{report.acknowledged:,} of {report.events:,} events acknowledged by "
        f"{topic!r} in {report.elapsed_s:.1f} s ({report.events_per_s:,.0f} events/s)"
    )
