"""Where the files of snapshots lie: a folder. A file is there whole or not at all.

Other places than folders of this machine: `snapshot_remote`.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

_PARTIAL = "partial"


class Store(Protocol):
    """Files by name. Any method may raise `OSError`."""

    @property
    def address(self) -> str:
        """What people know it by."""

    def check(self) -> None:
        """Raise `OSError` if no file can be made here."""

    def names(self) -> list[str]:
        """Return the names of all files that are whole."""

    def size(self, name: str) -> int:
        """Return the bytes of a file."""

    def open(self, name: str) -> BinaryIO:
        """Open a file to read and to seek in."""

    def create(self) -> Writing:
        """Begin a file, which is not there before `Writing.finish`."""

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""


class Writing(Protocol):
    """A file in the making."""

    file: BinaryIO

    def finish(self, name: str) -> None:
        """Make it last, and give it its name. Raises `FileExistsError` if there is one of that name: try another."""

    def give_up(self) -> None:
        """Leave nothing of it, as far as that can be done."""


class Folder:
    """A folder of this machine."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def address(self) -> str:
        """The folder's path."""
        return str(self._directory)

    def check(self) -> None:
        """Raise `OSError` if no file can be made here."""
        probe = self._directory / ".writable"
        self._directory.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()

    def names(self) -> list[str]:
        """Return the names of all files that are whole."""
        if not self._directory.is_dir():
            return []
        return [entry.name for entry in os.scandir(self._directory) if not entry.name.endswith(f".{_PARTIAL}")]

    def size(self, name: str) -> int:
        """Return the bytes of a file."""
        return (self._directory / name).stat().st_size

    def open(self, name: str) -> BinaryIO:
        """Open a file to read and to seek in."""
        return (self._directory / name).open("rb")

    def create(self) -> PartialFile:
        """Begin a file."""
        self._directory.mkdir(parents=True, exist_ok=True)
        return PartialFile(self._directory)

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""
        (self._directory / name).unlink(missing_ok=True)


class PartialFile:
    """A file in the making, under another name.

    What processes of this machine that have ended left half made is removed once this one is whole.
    """

    def __init__(self, directory: Path) -> None:
        self._partial = directory / f"state-{platform.node()}-{os.getpid()}.{_PARTIAL}"
        self.file: BinaryIO = self._partial.open("wb")

    def finish(self, name: str) -> None:
        """Flush it to disk, then rename it: after a power cut it is there whole or not at all."""
        directory = self._partial.parent
        if (directory / name).exists():
            raise FileExistsError(f"{directory / name} is there already")
        if not self.file.closed:
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
        self._partial.rename(directory / name)
        _sync(directory)
        for stray in directory.glob(f"state-{platform.node()}-*.{_PARTIAL}"):
            if not _is_alive(stray.stem.rpartition("-")[2]):
                stray.unlink(missing_ok=True)

    def give_up(self) -> None:
        """Remove it."""
        self.file.close()
        self._partial.unlink(missing_ok=True)


@contextmanager
def writing(store: Store, name: str) -> Iterator[BinaryIO]:
    """Yield a new file to write; it gets its name at the end, unless something was raised."""
    made = store.create()
    try:
        yield made.file
        made.finish(name)
    except BaseException:
        made.give_up()
        raise


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
