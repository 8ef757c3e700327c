"""`millstream tune`: the few settings that matter, searched on the beginning of a log and judged on the rest."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import click
from rich.console import Console

from millstream.agents.errors import Problem
from millstream.agents.evaluate_progress import progress
from millstream.agents.evaluate_report import comparison_table
from millstream.agents.evaluate_task import LoadedTask, Task, takes_task
from millstream.agents.interrupt import INTERRUPTED
from millstream.agents.tune_report import (
    SEARCHED_SHARE,
    Rest,
    changed,
    on_rest,
    report_json,
    report_table,
    toml_lines,
    verdict,
)
from millstream.agents.tune_search import Found, new_study, search
from millstream.agents.warm_up import compile_kernels_saying_so, load_training
from millstream.online_learning.bootstrap import compare
from millstream.online_learning.config import LearningConfig
from millstream.online_learning.evaluation import Evaluation, evaluate
from millstream.online_learning.quality import figures
from millstream.online_learning.step import INTERACTIONS

if TYPE_CHECKING:
    import optuna


@click.command("tune")
@takes_task
@click.option("--trials", type=click.IntRange(min=1), default=30, show_default=True, help="Settings to try.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=1, show_default=True, help="Of the proposals.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
def command(task: Task, trials: int, seed: int, as_json: bool) -> None:
    """Search settings on the first quarter of LOG, and report on the rest beside the present settings.

    Each trial runs the first quarter through a fresh model. It is judged by MRR@20 over the quarter's last half, users
    and items both known: every place in the first twenty counts, so it tells settings apart with fewer events than
    hit@10 does; the half before is the start. The present settings, those of millstream.toml, and the best found then
    run the whole log, and are compared on its last three quarters, which no trial saw.

    Ctrl-C ends the search and goes on with the best so far; a second one leaves the report out.

    \b
    Examples:
      millstream tune clicks.jsonl.gz
      millstream tune ratings.csv --min-rating 4 --exclude-consumed --trials 100 --json
    """
    study = new_study(seed)
    present = task.config()
    compile_kernels_saying_so()
    load_training()
    loaded = task.load()
    events = len(loaded.columns)
    try:
        found = _search(task, loaded, study, present, trials)
    except KeyboardInterrupt:
        click.echo("\nstopped before anything was measured", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    if found.interrupted:
        click.echo(
            f"\nstopped after {found.trials} of {trials} trials; on the rest now, Ctrl-C leaves it out", err=True
        )
    try:
        rest: Rest | None = _on_the_rest(loaded, found)
    except KeyboardInterrupt:
        rest = None
    if as_json:
        click.echo(json.dumps(report_json(found, rest, events=events, seed=seed)))
    else:
        _show(found, rest, events)
    if rest is None:
        raise click.exceptions.Exit(INTERRUPTED)


def _search(task: Task, loaded: LoadedTask, study: optuna.Study, present: LearningConfig, trials: int) -> Found:
    """Search on the first quarter. Raises `Problem` where it has nothing to judge settings by."""
    quarter = loaded.columns.cut(0, len(loaded.columns) // SEARCHED_SHARE)
    values: dict[LearningConfig, float] = {}
    arrivals = loaded.arrivals()
    with progress(1 + trials, len(quarter)) as on_run:

        def objective(config: LearningConfig, label: str) -> float:
            on_progress = on_run(label)
            if config not in values:  # the sampler comes back to what it likes
                step = loaded.step(config)
                result = evaluate(quarter, step, topic=INTERACTIONS, arrivals=arrivals, on_progress=on_progress)
                values[config] = result.half.mrr_at_20
            if math.isnan(values[config]):
                raise Problem(
                    f"{task.log}: nobody comes back for a known item in the last half of its first {len(quarter):,} "
                    "events, so there is nothing to judge settings by; take a longer log"
                )
            return values[config]

        return search(study, present, objective, trials=trials)


def _on_the_rest(loaded: LoadedTask, found: Found) -> Rest:
    """Run the whole log with the present settings and with the best, once where they are the same."""
    different, arrivals = bool(changed(found)), loaded.arrivals()
    with progress(1 + different, len(loaded.columns)) as on_run:

        def run(config: LearningConfig, label: str) -> Evaluation:
            step, heard = loaded.step(config), on_run(label)
            return evaluate(loaded.columns, step, topic=INTERACTIONS, arrivals=arrivals, on_progress=heard)

        present = run(found.present.config, "present settings, whole log")
        best = run(found.best.config, "best settings, whole log") if different else present
    rest = on_rest(present)
    return Rest(
        present=figures(present.rank[rest]),
        best=figures(best.rank[rest]),
        compared=compare(best.rank[rest], present.rank[rest]),
    )


def _show(found: Found, rest: Rest | None, events: int) -> None:
    console = Console()
    settings = changed(found)
    if rest is not None:
        console.print(report_table(found, rest, events=events))
    if not settings:
        click.echo(f"None of {found.trials} trials did better than the present settings: nothing to change.")
        return
    if rest is not None:
        console.print(comparison_table("best found less present", "the rest", rest.compared))
        click.echo(verdict(rest))
    click.echo("\nThe settings found, for millstream.toml (a worker then has to learn anew from the log):\n")
    click.echo(toml_lines(settings))
