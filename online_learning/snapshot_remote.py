"""Where the files of snapshots lie, when that is not a folder here: any address that fsspec knows (`s3://bucket/path`).

A file is written on this machine first and copied when it is whole, under another name, then given its own. Whoever
reads one that a cut connection left half finds no trailer in it and goes on from the one before.
"""

from __future__ import annotations

import contextlib
import io
import posixpath
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec  # type: ignore[import-untyped]  # ships no types

from .snapshot_store import Folder, Store

_PARTIAL = ".partial"
_TEMPORARY = "millstream-snapshot-"
_READ_BYTES = 1 << 20


class Remote:
    """A folder of a file system that fsspec reaches. Options and credentials are those of its driver's environment.

    Raises `ValueError` or `ImportError` where there is no such driver.
    """

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        self._files, self._path = fsspec.url_to_fs(self._address)

    @property
    def address(self) -> str:
        """The address as it was given."""
        return self._address

    def check(self) -> None:
        """Raise `OSError` if no file can be made here."""
        with _named(self._address):
            self._files.makedirs(self._path, exist_ok=True)
            self._files.pipe_file(self._at(".writable"), b"")
            self._files.rm_file(self._at(".writable"))

    def names(self) -> list[str]:
        """Return the names of all files that are whole."""
        with _named(self._address):
            self._files.invalidate_cache()
            try:
                found = self._files.ls(self._path, detail=False)
            except FileNotFoundError:
                return []
        names = (posixpath.basename(path) for path in found)
        return [name for name in names if not name.endswith(_PARTIAL)]

    def size(self, name: str) -> int:
        """Return the bytes of a file."""
        with _named(self._address):
            return int(self._files.size(self._at(name)))

    def open(self, name: str) -> BinaryIO:
        """Open a file to read and to seek in; no more is fetched than what is read, and some to come."""
        with _named(self._address):
            file = self._files.open(self._at(name), "rb", cache_type="readahead")
        return cast("BinaryIO", io.BufferedReader(_Reading(file, self._address), _READ_BYTES))

    def create(self) -> _Copied:
        """Begin a file."""
        return _Copied(self)

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""
        with _named(self._address), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._at(name))

    def put(self, path: str, name: str) -> None:
        """Copy a file of this machine here. Raises `FileExistsError` if there is one of that name."""
        with _named(self._address):
            self._files.invalidate_cache()
            if self._files.exists(self._at(name)):
                raise FileExistsError(f"{self._address}/{name} is there already")
            partial = self._at(name + _PARTIAL)
            self._files.put_file(path, partial)
            self._files.mv(partial, self._at(name))

    def _at(self, name: str) -> str:
        return posixpath.join(self._path, name)


class _Reading(io.RawIOBase):
    """A file of a driver's, whose errors are all `OSError`."""

    def __init__(self, file: Any, address: str) -> None:
        self._file = file
        self._address = address

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        with _named(self._address):
            read: bytes = self._file.read(len(buffer))
        buffer[: len(read)] = read
        return len(read)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


@contextlib.contextmanager
def _named(address: str) -> Iterator[None]:
    """Whatever a driver raises within is an `OSError` with the address."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # each driver has its own
        raise OSError(f"{address}: {error}") from error


class _Copied:
    """A file in the making, on this machine until it is whole."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._file = tempfile.NamedTemporaryFile(prefix=_TEMPORARY)  # noqa: SIM115 - until `finish` or `give_up`
        self.file = cast("BinaryIO", self._file)

    def finish(self, name: str) -> None:
        """Copy it, under its name."""
        self.file.flush()
        self._remote.put(self._file.name, name)
        self.file.close()

    def give_up(self) -> None:
        """Leave nothing of it here."""
        self.file.close()


def open_store(address: str) -> Store:
    """Return the store at a folder of this machine or at an address of fsspec's. Raises as `Remote` does."""
    return Remote(address) if "://" in address else Folder(Path(address))
