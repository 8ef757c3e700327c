"""Which snapshot a command reads: the newest in the settings' folder, or a file given by `--snapshot`.

A running worker is not disturbed: what it learned since its last snapshot is not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

import click

from millstream.online_learning.snapshot import Dump, points, read_dump
from millstream.online_learning.snapshot_file import UnreadableSnapshot
from millstream.online_learning.snapshot_remote import open_store
from millstream.online_learning.snapshot_store import Folder, Store
from millstream.streams.settings import load_settings

from .errors import Problem

T = TypeVar("T")

snapshot_option = click.option(
    "--snapshot",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read this file in place of the newest snapshot.",
)


def read_out(file: Path | None, tables: Collection[str], readout: Callable[[Dump], T]) -> tuple[str, T]:
    """Return the file that was read and what `readout` makes of its `tables`. Raises `Problem`, and `WrongSettings`."""
    place = "snapshots.directory"
    try:
        store, name = _newest() if file is None else (Folder(file.parent), file.name)
        place = f"{store.address}/{name}"
        return place, readout(read_dump(store, name, tables))
    except Problem:
        raise
    except OSError as error:
        raise Problem(f"{place}: {error}") from error
    except UnreadableSnapshot as error:
        raise Problem(str(error)) from error
    except ValueError as error:
        raise Problem(f"{place}: {error} (or read it with the version that wrote it)") from error


def _newest() -> tuple[Store, str]:
    store = open_store(load_settings().snapshots.directory)
    found = points(store)
    if not found:
        raise Problem(
            f"snapshots.directory = {store.address!r}: no snapshot there; run `millstream worker`, which takes one "
            "every few seconds, or name a file with --snapshot"
        )
    return store, found[-1].name
