"""The order log: order records in local files beside the snapshots, one file from each snapshot to the next.

A line is a JSON array. A line is with the operating system before the lists that depend on it are published, so a
killed process loses none of them (power loss may). A torn last line belongs to a slice of which nothing was published.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import msgspec

from millstream.online_learning.order import OrderRecord

_NAME = re.compile(r"order-(\d{16})\.jsonl")
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(OrderRecord)


class OrderLog:
    """Written by the step's thread alone. `begin` opens a file for what follows event `seq`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: BinaryIO | None = None

    def begin(self, seq: int, unfollowed: Iterable[OrderRecord] = ()) -> None:
        """Write what comes from now on into the file of `seq`; one that is there already is continued.

        `unfollowed` are records of an earlier file that are still to be followed: they go first.
        """
        self.close()
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / f"order-{seq:016d}.jsonl"
        whole = _whole_lines(path) if path.exists() else b""
        self._file = path.open("r+b" if path.exists() else "wb")
        self._file.truncate(len(whole))
        self._file.seek(len(whole))
        self.append(unfollowed)

    def append(self, records: Iterable[OrderRecord]) -> None:
        """Add records; when this returns, they outlive the process."""
        if self._file is None:
            raise RuntimeError("the order log has no file yet; call `begin` first")
        self._file.write(b"".join(_encoder.encode(record) + b"\n" for record in records))
        self._file.flush()

    def forget_before(self, seq: int) -> None:
        """Delete the files that no snapshot from event `seq` on needs."""
        for first, path in _files(self._directory):
            if first < seq:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_order(directory: Path, seq: int) -> list[OrderRecord]:
    """Return the records of all that was applied after the snapshot of event `seq`, in order."""
    return [
        _decoder.decode(line)
        for first, path in _files(directory)
        if first >= seq
        for line in _whole_lines(path).splitlines()
    ]


def _files(directory: Path) -> list[tuple[int, Path]]:
    found = ((_NAME.fullmatch(path.name), path) for path in directory.glob("order-*.jsonl"))
    return sorted((int(match[1]), path) for match, path in found if match)


def _whole_lines(path: Path) -> bytes:
    written = path.read_bytes()
    return written[: written.rfind(b"\n") + 1]
