"""Snapshots: state and the positions it contains, in one file that is whole or not there.

A file is an uncompressed zip of `.npy` arrays (its CRC-32 guards every member) with a JSON header, written beside its
place, flushed to disk, then renamed. Its name holds the event number it was made at, so the newest sorts last.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arena import Arena

FORMAT = 1
HEADER = "header.json"
_DAMAGE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    RuntimeError,
    EOFError,
    ArithmeticError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)
"""What `zipfile` and `numpy` raise on bytes that are not what was written: a flipped flag reads as encryption, a
version as one they do not know."""


class UnreadableSnapshot(ValueError):
    """A snapshot file that is damaged, or of a newer format."""


@dataclass(frozen=True, slots=True)
class Dump:
    """A copy of all state: arrays by `table/array`, the ids of both vocabularies by row, and the header."""

    header: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    users: list[str]
    items: list[str]

    @property
    def seq(self) -> int:
        """Events the state contains."""
        return int(self.header["seq"])

    def fill(self, arena: Arena) -> None:
        """Fill the tables that a fresh `arena` declares; others are left out. Raises `ValueError` as `Arena.load`."""
        arena.load({name: array for name, array in self.arrays.items() if _table(name) in arena.tables})


def write_snapshot(dump: Dump, directory: Path, keep: int) -> Path:
    """Write `dump` so that it is there whole or not at all; afterwards the `keep` newest remain. Return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"state-{dump.seq:016d}.snapshot"
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            ids = {"users": dump.users, "items": dump.items}
            header = {"format": FORMAT, **dump.header, **ids, "arrays": list(dump.arrays)}
            archive.writestr(HEADER, json.dumps(header, ensure_ascii=True))
            for name, array in dump.arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    _sync(directory)
    for old in [*list_snapshots(directory)[:-keep], *directory.glob("state-*.partial")]:
        old.unlink(missing_ok=True)
    return path


def list_snapshots(directory: Path) -> list[Path]:
    """Return the snapshot files of a directory, oldest first."""
    return sorted(directory.glob("state-*.snapshot"))


def snapshot_seq(path: Path) -> int:
    """Return the event number in a snapshot file's name."""
    return int(path.stem.removeprefix("state-"))


def read_snapshot(path: Path, tables: Collection[str] | None = None) -> Dump:
    """Read one snapshot back, with `tables` only the arrays of these. Raises `UnreadableSnapshot` with what to do."""
    try:
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read(HEADER))
            if header["format"] > FORMAT:
                raise UnreadableSnapshot(
                    f"{path}: format {header['format']}, this version reads up to {FORMAT}; "
                    "run the version that wrote it"
                )
            users, items, names = header.pop("users"), header.pop("items"), header.pop("arrays")
            found = [name.removesuffix(".npy") for name in archive.namelist() if name != HEADER]
            if found != names:  # the archive's table of contents has no checksum of its own
                raise ValueError("arrays are missing")
            arrays = {}
            for name in names:
                if tables is None or _table(name) in tables:
                    with archive.open(f"{name}.npy") as member:
                        arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
    except _DAMAGE as error:
        if isinstance(error, UnreadableSnapshot):
            raise
        raise UnreadableSnapshot(f"{path}: damaged ({error}); delete it to start from the one before") from error
    return Dump(header, arrays, users, items)


def read_newest(directory: Path) -> Dump | None:
    """Return the newest snapshot, or None where there is none. Raises `UnreadableSnapshot` if it cannot be read."""
    paths = list_snapshots(directory)
    return read_snapshot(paths[-1]) if paths else None


def _table(name: str) -> str:
    """Return the table that the array `table/array` is of."""
    return name.partition("/")[0]


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
