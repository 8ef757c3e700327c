"""The seat of a worker: a name in the group that is its own while it runs, and the next one's after it.

A worker that was killed is started again under the name it had, so that Kafka knows it at once and nobody waits for a
session to time out. Seats are files beside the snapshots; where those lie elsewhere, with what this machine keeps. The
operating system unlocks one when its process ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from itertools import count
from pathlib import Path
from typing import BinaryIO

from millstream.online_learning.snapshot_store import Folder, Store


def seats_of(store: Store) -> Path:
    """Return the folder of the seats of workers that keep their snapshots there."""
    if isinstance(store, Folder):
        return Path(store.address)
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "millstream" / hashlib.blake2b(store.address.encode(), digest_size=8).hexdigest()


class Seat:
    """The first free seat of a folder, taken until the process ends. Raises `OSError` as files do."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            file = (directory / f"worker-{number}.seat").open("a+b")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                continue
            self.number = number
            self._file: BinaryIO = file
            break

    @property
    def name(self) -> str:
        """Its name in the group: the number, and what tells folders apart."""
        self._file.seek(0)
        kept = self._file.read().decode(errors="replace").strip()
        if not kept.isalnum():
            kept = secrets.token_hex(4)
            self._file.truncate(0)
            self._file.write(kept.encode())
            self._file.flush()
        return f"worker-{self.number}-{kept}"

    def leave(self) -> None:
        """Let the next one have it."""
        self._file.close()
