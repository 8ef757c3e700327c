"""`millstream weights`: what each signal of the learned blend counts for, by context."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from millstream.agents.snapshot_option import read_out, snapshot_option
from millstream.agents.weights_report import contexts_table, weights_json, weights_table
from millstream.online_learning.blend_readout import TABLES, read_weights
from millstream.online_learning.signals import PARTS


@click.command("weights")
@snapshot_option
@click.option("--signals", "parts", type=click.Choice(tuple(PARTS)), multiple=True, help="Of this part; repeatable.")
@click.option("--top", type=click.IntRange(min=1), help="Only the N that count most.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(file: Path | None, parts: tuple[str, ...], top: int | None, as_json: bool) -> None:
    """Show what each signal counts for in the score of an item, those that count most first.

    Weights are read from the newest snapshot in the settings' folder. A signal's weight is a shared one, plus one for
    how many events the user has, plus one for how long ago the last of them was.

    \b
    Examples:
      millstream weights --top 10
      millstream weights --signals together --signals interest
      millstream weights --snapshot snapshots/state-0000000000100000-000007.snapshot --json
    """
    path, weights = read_out(file, TABLES, read_weights)
    signals = [each for each in weights.signals if not parts or each.part in parts][:top]
    if as_json:
        click.echo(json.dumps(weights_json(path, weights, signals)))
        return
    console = Console()
    console.print(weights_table(f"{weights.trained:,} of {weights.seq:,} events trained the blend", signals))
    console.print()
    console.print(contexts_table(signals))
