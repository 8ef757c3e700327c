"""`millstream worker` in a process of its own, for commands that run a whole pipeline: the demo and the benches."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import IO, Any, Self

from redis.exceptions import RedisError

from millstream.streams.errors import Unavailable
from millstream.streams.redis_connection import connect
from millstream.streams.settings import Settings

from .demo_servers import environment
from .status import WorkerStatus, read_workers, workers_key

_READY_WITHIN_S = 240.0
"""The first worker on a machine compiles its kernels: a minute or two, more where others are at work."""
_STOP_WITHIN_S = 20.0
_LOOK_EVERY_S = 0.1
_SHOWN_LINES = 12


class WorkerEnded(Unavailable):
    """The worker ended by itself, or never became ready; the message has the last lines it wrote."""


class WorkerProcess:
    """A worker that runs from `async with` on, ready to learn, until `finish` or the end of the block.

    It gets `settings` whole by its environment, writes its log to `folder`, and is told to stop by its process id.
    The topics exist already.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._log_path = folder / "worker.log"
        self._log: IO[bytes] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._said: asyncio.Task[bytes] | None = None
        self._client = connect(settings.redis.url)
        self.status: WorkerStatus | None = None
        """What it last said of itself."""

    async def __aenter__(self) -> Self:
        self._log = self._log_path.open("wb")
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "millstream.agents.cli", "worker", "--json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
            env=environment(self._settings),
            start_new_session=True,  # Ctrl-C in the terminal is ours to act on: the worker ends in its turn
        )
        assert self._process.stdout is not None
        self._said = asyncio.create_task(self._process.stdout.read())
        try:
            async with asyncio.timeout(_READY_WITHIN_S):
                while (status := await self.look()) is None or status.state == "starting":
                    await asyncio.sleep(_LOOK_EVERY_S)
        except TimeoutError:
            await self._end()
            raise WorkerEnded(self._tail(f"the worker was not ready within {_READY_WITHIN_S:g} s")) from None
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._end()

    async def look(self) -> WorkerStatus | None:
        """Return its status, or None while there is none to be read. Raises `WorkerEnded` when it has ended."""
        if self._process is None or self._process.returncode is not None:
            raise WorkerEnded(self._tail(f"the worker ended with status {self._process and self._process.returncode}"))
        try:
            values: Any = await self._client.hvals(workers_key(self._settings.redis.prefix))
        except RedisError:
            return None
        own = [each for each in read_workers(values, time.time_ns() // 1_000_000) if each.pid == self._process.pid]
        if not own:
            return None
        self.status = own[0]
        return own[0]

    @property
    def said(self) -> str:
        """What it has logged."""
        return self._log_path.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Its process id. Raises `WorkerEnded` before it is started."""
        if self._process is None:
            raise WorkerEnded("the worker is not started")
        return self._process.pid

    async def kill(self) -> None:
        """End it at once, as a machine that fails does."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def finish(self) -> dict[str, Any]:
        """Stop it in order and return the object that `worker --json` ends with. Raises `WorkerEnded` without one."""
        said = await self._stop()
        try:
            last: dict[str, Any] = json.loads(said.splitlines()[-1])
        except (IndexError, ValueError):
            raise WorkerEnded(self._tail("the worker stopped without its summary")) from None
        return last

    async def _stop(self) -> bytes:
        """Ask it to stop, insist after a while, and return what it wrote to stdout."""
        if self._process is None or self._said is None:
            return b""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), _STOP_WITHIN_S)
            except TimeoutError:
                self._process.kill()
        await self._process.wait()
        return await self._said

    async def _end(self) -> None:
        await self._stop()
        await self._client.aclose()
        if self._log is not None:
            self._log.close()

    def _tail(self, what: str) -> str:
        written = self.said.splitlines()[-_SHOWN_LINES:]
        return "\n".join([f"{what}; the last lines it wrote:", *(f"  {line}" for line in written)])
