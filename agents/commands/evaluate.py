"""`millstream evaluate`: how well lists predict what happened next in a recorded log."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
from rich.console import Console

from millstream.agents.evaluate_progress import progress
from millstream.agents.evaluate_ranks import ranks_by_event, read_ranks, save_ranks
from millstream.agents.evaluate_report import (
    comparison_json,
    comparison_table,
    parts_json,
    parts_table,
    result_json,
    result_table,
)
from millstream.agents.evaluate_task import Task, takes_task
from millstream.agents.warm_up import compile_kernels_saying_so, load_training
from millstream.online_learning.ablation import ablate
from millstream.online_learning.bootstrap import compare
from millstream.online_learning.evaluation import evaluate
from millstream.online_learning.signals import PARTS
from millstream.online_learning.step import INTERACTIONS


@click.command("evaluate")
@takes_task
@click.option("--save", type=click.Path(dir_okay=False, path_type=Path), help="Write each target's rank, a JSON line.")
@click.option(
    "--compare",
    "saved",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Say how sure the difference to a run's --save file is.",
)
@click.option("--parts", "with_parts", is_flag=True, help="Also run with each part of the signals alone, and without.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
def command(task: Task, save: Path | None, saved: Path | None, with_parts: bool, as_json: bool) -> None:
    """Rank before learning, event by event, and report hit@10, NDCG@10 and MRR@20.

    The options say what the task is; all else is the settings' `learning`, the same as the worker's. Intervals are
    those of a paired block bootstrap: 2,000 resamples of blocks of √n neighbouring events, always the same ones.

    \b
    Examples:
      millstream evaluate clicks.jsonl.gz
      millstream evaluate ratings.csv --min-rating 4 --exclude-consumed --save ranks.jsonl
      millstream evaluate ratings.csv --min-rating 4 --exclude-consumed --compare ranks.jsonl
      millstream evaluate ratings.csv --items films.csv --encoder minilm
      millstream evaluate clicks.jsonl.gz --parts --limit 50000
    """
    config = task.config()
    ranks = read_ranks(saved) if saved else None
    compile_kernels_saying_so()
    load_training()
    began_s = time.perf_counter()
    loaded = task.load()
    columns = loaded.columns
    others = None if saved is None or ranks is None else ranks_by_event(saved, ranks, columns)
    parts = tuple(PARTS) if with_parts else ()
    with progress(1 + 2 * len(parts), len(columns)) as on_run:
        on_progress = on_run("evaluating")
        arrivals = loaded.arrivals()
        result = evaluate(columns, loaded.step(config), topic=INTERACTIONS, arrivals=arrivals, on_progress=on_progress)
        events_per_s = len(columns) / (time.perf_counter() - began_s)
        if save:
            save_ranks(save, columns, result)
        worths = ablate(columns, result, parts, lambda off: loaded.step(config, off), arrivals=arrivals, on_run=on_run)
    compared = {}
    if others is not None:
        of = {"half": result.is_half, "cold": result.is_cold}
        compared = {name: compare(result.rank[rows], others[rows]) for name, rows in of.items()}
    if as_json:
        answer = result_json(result, len(columns), events_per_s)
        if compared:
            answer["compare"] = comparison_json(compared["half"], "half")
            answer["compare_cold"] = comparison_json(compared["cold"], "cold")
        if with_parts:
            answer["parts"] = parts_json(worths)
        click.echo(json.dumps(answer))
        return
    console = Console()
    console.print(result_table(result, len(columns), events_per_s))
    for name, each in compared.items():
        console.print(comparison_table(f"this run less {saved.name if saved else ''}", name, each))
    if with_parts:
        console.print(parts_table(result.half, worths))
    click.echo(f"state hash {result.state_hash}")
    if result.hash_apart is not None:
        click.echo(f"hash of what an accelerator learned {result.hash_apart}")
