"""A bar over one or several runs of a log, or one way, with the time that all of it will still take."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

OnRun = Callable[[str], Callable[[int], None]]
"""Hears what the next run is; gives what is to hear how many of its events are done."""
_SPEED_OVER_S = 600.0
"""Runs differ in speed, so the time left goes by the pace of many."""


@contextmanager
def progress(runs: int, events: int) -> Iterator[OnRun]:
    """Show `runs` runs of `events` each on a terminal, on standard error; elsewhere say nothing."""
    if not sys.stderr.isatty():
        yield lambda label: lambda done: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, speed_estimate_period=_SPEED_OVER_S) as bar:
        task = bar.add_task("", total=runs * events)
        begun = 0

        def on_run(label: str) -> Callable[[int], None]:
            nonlocal begun
            before = begun * events
            begun += 1
            bar.update(task, description=label, completed=before)
            return lambda done: bar.update(task, completed=before + done)

        yield on_run


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Give what hears how much is done of how much; shown on a terminal, on standard error, and nowhere else."""
    if not sys.stderr.isatty():
        yield lambda done, of: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
