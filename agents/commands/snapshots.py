"""`millstream snapshots`: what is stored, whether it is whole, and going back to an older one."""

from __future__ import annotations

import dataclasses
import json

import click
from rich.console import Console
from rich.table import Table

from millstream.agents.errors import Problem
from millstream.agents.running_worker import refuse_if_running
from millstream.agents.stored_snapshots import Entry, entries, restore, verify
from millstream.agents.warm_up import compile_kernels_saying_so
from millstream.online_learning.snapshot_file import UnreadableSnapshot
from millstream.online_learning.snapshot_remote import open_store
from millstream.online_learning.snapshot_store import Store
from millstream.streams.settings import load_settings


@click.command("snapshots")
@click.option("--verify", "verifying", is_flag=True, help="Read each whole, and compare the state's hash.")
@click.option("--restore", "name", metavar="FILE", help="Make this one the newest; the worker must have stopped.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
def command(verifying: bool, name: str | None, as_json: bool) -> None:
    """List the snapshots in the settings' folder, verify them, or go back to one.

    The next start goes on from the newest that can be read. To go back writes the older state once more, as the newest;
    nothing is removed, and what came since is learned again from Kafka, as far as Kafka still has it.

    \b
    Examples:
      millstream snapshots
      millstream snapshots --verify --json
      millstream snapshots --restore state-0000000000100000-000007.snapshot
    """
    settings = load_settings()
    store = open_store(settings.snapshots.directory)
    found = entries(store)
    if not found:
        raise Problem(
            f"snapshots.directory = {store.address!r}: no snapshot there; run `millstream worker`, which takes one "
            "every few seconds"
        )
    restored = None
    if name is not None:
        if name not in {entry.name for entry in found}:
            raise Problem(f"{store.address}/{name}: no such snapshot; `millstream snapshots` lists those there are")
        refuse_if_running(settings)
        compile_kernels_saying_so()
        try:
            restored = restore(store, name)
        except (UnreadableSnapshot, ValueError, OSError) as error:
            raise Problem(str(error)) from error
        found = entries(store)
    if verifying:
        compile_kernels_saying_so()
        found = [_verified(store, entry, number, len(found)) for number, entry in enumerate(found, 1)]
    if as_json:
        shown = {"directory": store.address, "restored": restored, "verified": verifying}
        click.echo(json.dumps({**shown, "snapshots": [dataclasses.asdict(entry) for entry in found]}))
    else:
        Console().print(_table(found, verifying))
        for entry in found:
            if entry.problem:
                click.echo(entry.problem)
        if restored:
            click.echo(f"the next start goes on from {restored}, which holds what {name} does")
    if any(entry.problem for entry in found):
        raise SystemExit(1)


def _verified(store: Store, entry: Entry, number: int, of: int) -> Entry:
    if entry.problem:
        return entry
    click.echo(f"reading {entry.name}, {number} of {of}", err=True)
    try:
        return dataclasses.replace(entry, state_hash=verify(store, entry.name))
    except (UnreadableSnapshot, ValueError) as error:
        return dataclasses.replace(entry, problem=str(error))


def _table(found: list[Entry], verified: bool) -> Table:
    table = Table("file", "events", "MB", "holds", "positions", "state hash", "is whole" if verified else "readable")
    for entry in found:
        holds = "all" if entry.after is None else "changes"
        positions = ", ".join(f"{place}@{offset:,}" for place, offset in (entry.positions or {}).items())
        shown = ["?", "", "", "no"] if entry.problem else [holds, positions, entry.state_hash or "", "yes"]
        table.add_row(entry.name, f"{entry.events:,}", f"{entry.bytes / 1e6:,.1f}", *shown)
    return table
