"""What the benches' commands share: options, a log to run on, progress, and how a report is printed."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click
import uvloop
from rich.console import Console

from millstream.agents.errors import Problem
from millstream.agents.interrupt import INTERRUPTED, cancel_once_on_signals, ignore_signals
from millstream.online_learning.config import LearningConfig
from millstream.schemas.columns import InteractionColumns
from millstream.streams.settings import load_settings

from .report import Report, WrongResult

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(function: Command) -> Command:
    """Give a command the option `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")(function)


def log_options(function: Command) -> Command:
    """Give a command the options that name a log."""
    for option in (
        click.option("--exclude-consumed", is_flag=True, help="Recommend to nobody what they had already."),
        click.option("--min-rating", type=float, help="Leave out ratings below this."),
        click.option("--log", type=FILE, help="A recorded log (JSONL, CSV, Avro; .gz) instead of simulated shoppers."),
    ):
        function = option(function)
    return function


def learning_of(exclude_consumed: bool) -> LearningConfig:
    """Return the settings of the learner."""
    learning = load_settings().learning
    return dataclasses.replace(learning, exclude_consumed=learning.exclude_consumed or exclude_consumed)


def log_of(path: Path | None, min_rating: float | None, *, limit: int) -> tuple[str, InteractionColumns]:
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


def say(line: str) -> None:
    """Progress goes to standard error, so that standard output is the result alone."""
    click.echo(line, err=True)


def stoppable(work: Coroutine[Any, Any, Report]) -> Report:
    """Return what `work` comes to; Ctrl-C ends it in its turn."""

    async def until_told() -> Report:
        cancel_once_on_signals()
        return await work

    try:
        return uvloop.run(until_told())
    finally:
        ignore_signals()


def report(run: Callable[[], Report], as_json: bool) -> None:
    """Print what `run` returns, kernels compiled before. Ctrl-C stops what it started; the exit status is then 130."""
    from millstream.agents.warm_up import compile_kernels_saying_so

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        compile_kernels_saying_so()
        found = run()
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("\nstopped, with all it had started", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    except WrongResult as error:
        raise Problem(f"the measurement is void: {error}") from error
    console = Console(stderr=as_json, highlight=False)
    console.print(found.table())
    for fact in found.facts:
        console.print(fact, markup=False, soft_wrap=True)
    if as_json:
        click.echo(json.dumps(found.as_json()))
