"""Snapshots of format 1, read only: an uncompressed zip of `.npy` arrays with a JSON header, always whole."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Collection
from typing import Any, BinaryIO

import numpy as np

from .snapshot_file import DAMAGE, damaged

FIRST_BYTES = b"PK"
_HEADER = "header.json"
_DAMAGE = (*DAMAGE, RuntimeError, zlib.error, zipfile.BadZipFile)
"""What `zipfile` and `numpy` raise on bytes that are not what was written: a flipped flag reads as encryption, a
version as one they do not know."""


def read_zip(
    name: str, file: BinaryIO, tables: Collection[str] | None
) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]], list[str], list[str], list[str]]:
    """Return header, arrays by `table/array` (of `tables` only), the ids of users, items and categories by row.

    Raises `UnreadableSnapshot`.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            header = json.loads(archive.read(_HEADER))
            if header.pop("format") != 1:
                raise ValueError("a zip of another format")
            users, items, names = header.pop("users"), header.pop("items"), header.pop("arrays")
            categories = header.pop("categories", [])
            found = [each.removesuffix(".npy") for each in archive.namelist() if each != _HEADER]
            if found != names:  # the archive's table of contents has no checksum of its own
                raise ValueError("arrays are missing")
            arrays = {}
            for array in names:
                if tables is None or array.partition("/")[0] in tables:
                    with archive.open(f"{array}.npy") as member:
                        arrays[array] = np.lib.format.read_array(member, allow_pickle=False)
    except _DAMAGE as error:
        raise damaged(name, error) from error
    return header, arrays, users, items, categories
