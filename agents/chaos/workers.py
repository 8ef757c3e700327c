"""The workers of a run: real processes of `millstream worker`, killed, stopped and started again by their pids."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from redis.exceptions import RedisError

from millstream.agents.demo_servers import environment
from millstream.agents.forked import Forked
from millstream.agents.status import WorkerStatus, read_workers, workers_key
from millstream.streams.errors import Unavailable
from millstream.streams.settings import Settings

_LOOK_EVERY_S = 0.02
_READY_WITHIN_S = 240.0
_END_WITHIN_S = 20.0


class RunStuck(Unavailable):
    """Something that should come does not; the message says what."""


class Worker:
    """One process and its log. It has ended, or ends with `kill`."""

    def __init__(self, settings: Settings, folder: Path, number: int, broken: str) -> None:
        self.log = folder / f"worker-{number}.log"
        self.out = folder / f"worker-{number}.json"
        self._process = Forked(
            ("millstream.agents.chaos.broken", broken or "none"),
            environment=environment(settings),
            cwd=folder,
            out=self.out,
            log=self.log,
        )
        self.pid = self._process.pid

    @property
    def said(self) -> str:
        """What it has logged."""
        return self.log.read_text(errors="replace")

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    @property
    def found_nobody(self) -> bool:
        """Whether it ended at its start, since Kafka or Redis did not answer; it had done nothing yet."""
        return any(words in self.said for words in ("no Kafka broker answers", "no Redis answers"))

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def kill_children(self) -> int:
        """End at once what it has started; return how many processes that was."""
        children = [
            int(pid)
            for listed in Path(f"/proc/{self.pid}/task").glob("*/children")
            for pid in listed.read_text().split()
        ]
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        return len(children)

    async def finish(self) -> dict[str, Any]:
        """Stop it in order; return what it says last. Raises `RunStuck` when it fails or does not end."""
        if not self.ended:
            self.signal(signal.SIGINT)
        try:
            await asyncio.to_thread(self._process.wait, _END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RunStuck(f"worker {self.pid} did not end within {_END_WITHIN_S:g} s; see {self.log}") from None
        try:
            last: dict[str, Any] = json.loads(self.out.read_text().splitlines()[-1])
        except (IndexError, ValueError):
            tail = "\n  ".join(self.said.splitlines()[-8:])
            raise RunStuck(f"worker {self.pid} ended with status {self._process.returncode}:\n  {tail}") from None
        return last


class Workers:
    """All workers of a run. One event loop owns it."""

    def __init__(self, settings: Settings, folder: Path, broken: str) -> None:
        self.running: list[Worker] = []
        self._settings = settings
        self._folder = folder
        self._broken = broken
        self._started = 0
        self.started_again = 0
        """How often one was started again that had found no Kafka or no Redis: as whoever supervises workers does."""
        self._client = redis.Redis.from_url(settings.redis.url, socket_timeout=1.0, socket_connect_timeout=1.0)

    def start(self) -> Worker:
        """Start one more."""
        self._started += 1
        worker = Worker(self._settings, self._folder, self._started, self._broken)
        self.running.append(worker)
        return worker

    def kill(self, worker: Worker) -> None:
        """Kill it; it is no longer among the running ones."""
        worker.kill()
        self.running.remove(worker)

    def end(self) -> None:
        """Kill all that are left."""
        for worker in list(self.running):
            self.kill(worker)
        self._client.close()

    def statuses(self) -> list[WorkerStatus]:
        """Return the statuses of the running ones, as far as they are in Redis."""
        try:
            values: Any = self._client.hvals(workers_key(self._settings.redis.prefix))
        except RedisError:
            return []
        pids = {worker.pid for worker in self.running if not worker.ended}
        return [status for status in read_workers(values, time.time_ns() // 1_000_000) if status.pid in pids]

    async def ready(self, count: int) -> None:
        """Return when so many are running, with all partitions among them and one in the lead."""
        partitions = list(range(self._settings.topics.partitions))

        def are_ready() -> bool:
            live = [status for status in self.statuses() if status.state == "running"]
            dealt = sorted(number for status in live for number in status.partitions)
            return len(live) == count and dealt == partitions and sum(status.leads for status in live) == 1

        await self.until(are_ready, f"{count} workers with all partitions and one leader", _READY_WITHIN_S)

    async def leader(self) -> Worker:
        """Return the one that leads, as soon as there is one."""
        found: list[Worker] = []

        def is_there() -> bool:
            leads = {status.pid for status in self.statuses() if status.leads and status.state == "running"}
            found[:] = [worker for worker in self.running if worker.pid in leads]
            return bool(found)

        await self.until(is_there, "a worker that leads")
        return found[0]

    async def follower(self) -> Worker:
        """Return one that does not lead; the leader where it is alone."""
        leader = await self.leader()
        return next((worker for worker in self.running if worker is not leader), leader)

    async def running_follower(self) -> Worker:
        """Return one that does not lead and is past its start, once there is one; the leader where it is alone."""
        found: list[Worker] = []

        def is_there() -> bool:
            follows = {status.pid for status in self.statuses() if not status.leads and status.state == "running"}
            found[:] = [worker for worker in self.running if worker.pid in follows or len(self.running) == 1]
            return bool(found)

        await self.until(is_there, "a worker that follows")
        return found[0]

    async def until(self, holds: Callable[[], bool], what: str, within_s: float = 60.0) -> None:
        """Return when it holds. Raises `RunStuck` when it does not, or when a worker ended by itself."""
        deadline_s = time.monotonic() + within_s
        while not holds():
            for worker in [each for each in self.running if each.ended]:
                if not worker.found_nobody:
                    tail = "\n  ".join(worker.said.splitlines()[-8:])
                    raise RunStuck(f"worker {worker.pid} ended by itself:\n  {tail}")
                self.running.remove(worker)
                self.start()
                self.started_again += 1
            if time.monotonic() > deadline_s:
                raise RunStuck(f"not within {within_s:g} s: {what}")
            await asyncio.sleep(_LOOK_EVERY_S)
