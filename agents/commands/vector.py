"""`millstream vector`: the interest vector of one user or item, and the items nearest to it."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from millstream.agents.errors import Problem
from millstream.agents.snapshot_option import read_out, snapshot_option
from millstream.agents.vector_report import NOTE, near_table, vector_json, vector_table
from millstream.agents.warm_up import compile_kernels_saying_so
from millstream.online_learning.interest_readout import TABLES, Interests, NoVector


@click.command("vector")
@click.argument("kind", type=click.Choice(("user", "item")))
@click.argument("id_", metavar="ID")
@snapshot_option
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="How many of the nearest items.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
def command(kind: str, id_: str, file: Path | None, top: int, as_json: bool) -> None:
    """Read out the interest vector of the user or item ID, and the items nearest to it by the model's score.

    It is read from the newest snapshot in the settings' folder. A user's vector is pooled from the newest items of the
    history, as of the snapshot's last event; the user's own items count among the nearest. Near an item is what a user
    who chose only this item is after.

    \b
    Examples:
      millstream vector user 42
      millstream vector item i7 --top 5 --json
    """
    path, interests = read_out(file, TABLES, Interests)
    compile_kernels_saying_so()
    try:
        found = interests.user(id_, top) if kind == "user" else interests.item(id_, top)
    except NoVector as error:
        raise Problem(f"{path}: {error}") from error
    if as_json:
        click.echo(json.dumps(vector_json(path, found)))
        return
    console = Console()
    console.print(vector_table(found))
    console.print()
    console.print(near_table(found))
    click.echo(NOTE)
