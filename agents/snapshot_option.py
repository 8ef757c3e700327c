"""Which snapshot a command reads: the newest in the settings' folder, or a file given by `--snapshot`.

A running worker is not disturbed: what it learned since its last snapshot is not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

import click

from millstream.online_learning.snapshot import Dump, list_snapshots, read_snapshot
from millstream.online_learning.snapshot_file import UnreadableSnapshot
from millstream.streams.settings import load_settings

from .errors import Problem

T = TypeVar("T")

snapshot_option = click.option(
    "--snapshot",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read this file in place of the newest snapshot.",
)


def read_out(file: Path | None, tables: Collection[str], readout: Callable[[Dump], T]) -> tuple[Path, T]:
    """Return the file that was read and what `readout` makes of its `tables`. Raises `Problem`, and `WrongSettings`."""
    path = file or _newest()
    try:
        return path, readout(read_snapshot(path, tables))
    except UnreadableSnapshot as error:
        raise Problem(str(error)) from error
    except ValueError as error:
        raise Problem(f"{path}: {error} (or read it with the version that wrote it)") from error


def _newest() -> Path:
    directory = load_settings().snapshots.directory
    paths = list_snapshots(directory)
    if not paths:
        raise Problem(
            f"snapshots.directory = {str(directory)!r}: no snapshot there; run `millstream worker`, which takes one "
            "every few seconds, or name a file with --snapshot"
        )
    return paths[-1]
