"""The demo through real Kafka: events produced here, a worker in a process of its own, its status read from Redis."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import IO, Any, Self

import msgspec
from redis.exceptions import RedisError

from millstream.schemas.columns import InteractionColumns
from millstream.streams.errors import Unavailable
from millstream.streams.redis_connection import connect
from millstream.streams.settings import Settings

from .demo_route import Standing
from .demo_servers import environment
from .freshness import FreshnessMeter
from .replay import replay
from .status import WorkerStatus, read_status, status_key

_READY_WITHIN_S = 240.0
"""The first worker on a machine compiles its kernels: some half a minute, more where others are at work."""
_STOP_WITHIN_S = 20.0
_LOOK_EVERY_S = 0.1
_SHOWN_LINES = 12


class WorkerEnded(Unavailable):
    """The demo's worker ended by itself, or never became ready; the message has the last lines it wrote."""


class ThroughKafka:
    """A route of two processes: this one produces, `millstream worker` learns and publishes.

    The topics exist already. The worker gets `settings` whole by its environment, writes its log to `folder`, and is
    told to stop by its process id. An event's send is the moment the producer is given it.
    """

    def __init__(
        self, settings: Settings, columns: InteractionColumns, rate: float, meter: FreshnessMeter, folder: Path
    ) -> None:
        self._settings = settings
        self._columns = columns
        self._rate = rate
        self._meter = meter
        self._log_path = folder / "worker.log"
        self._log: IO[bytes] | None = None
        self._worker: asyncio.subprocess.Process | None = None
        self._said: asyncio.Task[bytes] | None = None
        self._client = connect(settings.redis.url)
        self._status: WorkerStatus | None = None
        self.sent = 0

    async def __aenter__(self) -> Self:
        self._log = self._log_path.open("wb")
        self._worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "millstream.agents.cli", "worker", "--json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
            env=environment(self._settings),
            start_new_session=True,  # Ctrl-C in the terminal is ours to act on: the worker ends in its turn
        )
        assert self._worker.stdout is not None
        self._said = asyncio.create_task(self._worker.stdout.read())
        try:
            async with asyncio.timeout(_READY_WITHIN_S):
                while (status := await self._look()) is None or status.state == "starting":
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

    async def offer(self) -> None:
        """Produce the log at the rate offered; return when the broker has acknowledged it all."""
        users = self._columns.user_ids

        def on_event(row: int, partition: int, offset: int, sent_ns: int) -> None:
            self._meter.sent(users[row], offset, sent_ns)
            self.sent += 1

        await replay(
            self._columns,
            bootstrap=self._settings.kafka.bootstrap_servers,
            topic=self._settings.inputs[0].topic,
            rate=self._rate,
            on_event=on_event,
        )

    async def standing(self) -> Standing:
        """Return what the worker last said of itself. Raises `WorkerEnded` when it has ended."""
        status = await self._look() or self._status
        if status is None:
            return Standing()
        return Standing(
            learned=status.events,
            lists=status.slates,
            dead_letters=status.dead_letters,
            quality=status.quality,
            popularity=status.popularity,
            effort="full",
        )

    async def finish(self) -> Standing:
        """Stop the worker in order and return its own last word. Raises `WorkerEnded` if it had none."""
        standing = await self.standing()
        said = await self._stop()
        try:
            last: dict[str, Any] = json.loads(said.splitlines()[-1])
        except (IndexError, ValueError):
            raise WorkerEnded(self._tail("the worker stopped without its summary")) from None
        return Standing(
            learned=last.get("events", standing.learned),
            lists=last.get("slates", standing.lists),
            dead_letters=last.get("dead_letters", standing.dead_letters),
            quality=last.get("quality", standing.quality),
            popularity=last.get("popularity", standing.popularity),
            effort=standing.effort,
            state_hash=last.get("state_hash", ""),
        )

    async def _look(self) -> WorkerStatus | None:
        """Return the worker's status, or None while there is none to be read."""
        if self._worker is None or self._worker.returncode is not None:
            raise WorkerEnded(self._tail(f"the worker ended with status {self._worker and self._worker.returncode}"))
        try:
            value: Any = await self._client.get(status_key(self._settings.redis.prefix))
        except RedisError:
            return None
        try:
            status = None if value is None else read_status(value)
        except msgspec.MsgspecError:
            return None
        if status is not None and status.pid == self._worker.pid:
            self._status = status
            return status
        return None

    async def _stop(self) -> bytes:
        """Ask the worker to stop, insist after a while, and return what it wrote to stdout."""
        if self._worker is None or self._said is None:
            return b""
        if self._worker.returncode is None:
            self._worker.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._worker.wait(), _STOP_WITHIN_S)
            except TimeoutError:
                self._worker.kill()
        await self._worker.wait()
        return await self._said

    async def _end(self) -> None:
        await self._stop()
        await self._client.aclose()
        if self._log is not None:
            self._log.close()

    def _tail(self, what: str) -> str:
        written = self._log_path.read_text(errors="replace").splitlines()[-_SHOWN_LINES:]
        return "\n".join([f"{what}; the last lines it wrote:", *(f"  {line}" for line in written)])
