"""What a run does to its pipeline. Whoever is killed is started again; whatever is taken away comes back."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from millstream.streams.local_kafka import LocalKafka
from millstream.streams.local_redis import LocalRedis

from .schedule import Fault
from .watcher import Watcher
from .workers import Worker, Workers

_AWAY_S = 0.5
_PAST_THE_SESSION_S = 3.0
_IN_FLIGHT_S = 1.0
"""After the broker was stopped: by then the leader has learned what it was at, and proposed what it had read ahead."""
_TAKEN_IN_S = 0.2
"""After the broker goes on: by then it has taken in what a dead leader had sent."""
_FULL_S = 3.0
_FILE_BYTES = 64 * 1024
"""The largest file while the disk is full: logs go on, snapshots do not."""
_LOOK_EVERY_S = 0.001
_WITHIN_S = 20.0


class Faults:
    """Carries faults out, one at a time, and proves of those that need it where they struck."""

    def __init__(
        self,
        workers: Workers,
        kafka: LocalKafka,
        redis: LocalRedis,
        redis_folder: Path,
        snapshots: Path,
        watcher: Watcher,
        session_s: float,
        order_end: Callable[[], Awaitable[int]],
    ) -> None:
        self.struck: Counter[str] = Counter()
        """Faults carried out, by kind."""
        self.proven: Counter[str] = Counter()
        """Of the kills: within a snapshot, an append to the order, a recovery; and of processes that train."""
        self._workers = workers
        self._kafka = kafka
        self._redis = redis
        self._redis_folder = redis_folder
        self._snapshots = snapshots
        self._watcher = watcher
        self._session_s = session_s
        self._order_end = order_end
        self._kinds: dict[Fault, Callable[[], Awaitable[None]]] = {
            "kill_leader": self._kill_leader,
            "kill_follower": self._kill_follower,
            "kill_in_snapshot": self._kill_in_snapshot,
            "kill_in_order": self._kill_in_order,
            "kill_in_recovery": self._kill_in_recovery,
            "kill_trainer": self._kill_trainer,
            "stop_leader": self._stop_leader,
            "join": self._join,
            "leave": self._leave,
            "kafka_restart": self._kafka_restart,
            "redis_restart": self._redis_restart,
            "redis_emptied": self._redis_emptied,
            "disk_full": self._disk_full,
        }

    async def strike(self, fault: Fault) -> None:
        """Carry one out; returns when what was ended has been started again."""
        await self._kinds[fault]()
        self.struck[fault] += 1

    async def _kill_leader(self) -> None:
        await self._kill_and_start(await self._workers.leader())

    async def _kill_follower(self) -> None:
        await self._kill_and_start(await self._workers.follower())

    async def _kill_in_snapshot(self) -> None:
        leader = await self._workers.leader()

        def is_writing() -> bool:
            return any(self._snapshots.glob(f"state-*-{leader.pid}.partial"))

        await self._soon(is_writing)
        self._workers.kill(leader)
        self.proven["in_snapshot"] += is_writing()
        await self._start_again()

    async def _kill_in_order(self) -> None:
        leader = await self._workers.leader()
        before = await self._order_end()
        self._kafka.pause()
        try:
            await asyncio.sleep(_IN_FLIGHT_S)
            self._workers.kill(leader)
        finally:
            self._kafka.resume()
        await asyncio.sleep(_TAKEN_IN_S)
        # nobody else leads before the session has timed out: what came is the dead leader's
        self.proven["in_order"] += await self._order_end() > before
        await self._start_again()

    async def _kill_in_recovery(self) -> None:
        await self._kill_and_start(await self._workers.leader())
        again = self._workers.running[-1]
        await self._soon(lambda: "resumed from" in again.said or "no snapshot" in again.said)
        self._workers.kill(again)
        self.proven["in_recovery"] += "publishes the lists" not in again.said
        await self._start_again()

    async def _kill_trainer(self) -> None:
        """Kill the process that the leader has torch in; the leader is to go on with another."""
        leader = await self._workers.leader()
        self.proven["of_trainer"] += leader.kill_children()

    async def _stop_leader(self) -> None:
        leader = await self._workers.leader()
        leader.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(self._session_s + _PAST_THE_SESSION_S)
        finally:
            leader.signal(signal.SIGCONT)

    async def _join(self) -> None:
        self._workers.start()

    async def _leave(self) -> None:
        follower = await self._workers.running_follower()
        self._workers.running.remove(follower)
        await follower.finish()
        await self._start_again()

    async def _kafka_restart(self) -> None:
        await asyncio.to_thread(self._kafka.restart, hard=True)

    async def _redis_restart(self) -> None:
        await asyncio.to_thread(self._redis.restart, hard=True)

    async def _redis_emptied(self) -> None:
        self._redis.kill()
        self._watcher.forget()
        for kept in self._redis_folder.iterdir():
            if kept.is_dir():
                shutil.rmtree(kept)
            elif kept.suffix != ".log":
                kept.unlink()
        await asyncio.to_thread(self._redis.start)
        self._watcher.forget()

    async def _disk_full(self) -> None:
        leader = await self._workers.leader()
        limits = resource.prlimit(leader.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(leader.pid, resource.RLIMIT_FSIZE, (_FILE_BYTES, limits[1]))
        await asyncio.sleep(_FULL_S)
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(leader.pid, resource.RLIMIT_FSIZE, limits)

    async def _kill_and_start(self, worker: Worker) -> None:
        self._workers.kill(worker)
        await self._start_again()

    async def _start_again(self) -> None:
        await asyncio.sleep(_AWAY_S)
        self._workers.start()

    async def _soon(self, holds: Callable[[], bool]) -> None:
        """Return when it holds, or after a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WITHIN_S):
                while not holds():
                    await asyncio.sleep(_LOOK_EVERY_S)
