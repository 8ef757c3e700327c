"""Load for `bench read`, from a process of its own: as much as 64 connections carry, or at a rate that does not wait.

    python -m millstream.agents.bench.http_load PORT USERS CONNECTIONS SECONDS RATE

RATE 0 is the closed loop: each connection asks again as soon as it is answered. Any other is the open one: requests are
due at fixed times, whatever became of those before, and a latency counts from when a request was due, so that a server
which stops for a second is charged for all it kept waiting. Asks for users `u0` … by turns; writes one JSON object,
`{"answers", "per_s", "p50_ms", "p99_ms", "errors"}`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque

from .http_server import KEY

_ANSWER_WITHIN_S = 5.0


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request on it at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._due_s = 0.0
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready for a request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._load.free(self)

    def ask(self, request: bytes, due_s: float) -> None:
        """Send a request that was due at a time of the clock."""
        assert self._transport is not None
        self._due_s = due_s
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take part of an answer; when it is whole, be free again."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) >= length:
            self._received = b""
            self._load.answered(self._due_s, head.startswith(b"HTTP/1.1 200"))
            self._load.free(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Count a connection that should have stayed."""
        self._load.errors += 1


class Load:
    """The requests of one run, and what came of them. One event loop."""

    def __init__(self, users: int, seconds: float, rate: float) -> None:
        self.latencies_s: list[float] = []
        self.errors = 0
        self._requests = [
            f"GET /v1/users/u{user}/recommendations?k=10 HTTP/1.1\r\nHost: bench\r\n"
            f"Authorization: Bearer {KEY}\r\n\r\n".encode()
            for user in range(users)
        ]
        self._seconds = seconds
        self._rate = rate
        self._sent = 0
        self._idle: deque[Connection] = deque()
        self._due: deque[float] = deque()
        self._ends_s = float("inf")

    def free(self, connection: Connection) -> None:
        """Give a connection its next request, or let it rest."""
        if self._ends_s == float("inf"):
            self._idle.append(connection)
        elif self._rate == 0:
            now_s = time.perf_counter()
            if now_s < self._ends_s:
                self._ask(connection, now_s)
        elif self._due:
            self._ask(connection, self._due.popleft())
        else:
            self._idle.append(connection)

    def answered(self, due_s: float, well: bool) -> None:
        """Take the time of an answer."""
        self.latencies_s.append(time.perf_counter() - due_s)
        self.errors += not well

    async def run(self) -> None:
        """Return when every request is answered, or too late to be."""
        began_s = time.perf_counter()
        self._ends_s = began_s + self._seconds
        if self._rate == 0:
            while self._idle:
                self._ask(self._idle.popleft(), time.perf_counter())
            await asyncio.sleep(self._seconds)
        else:
            planned = int(self._seconds * self._rate)
            for number in range(planned):
                due_s = began_s + number / self._rate
                if (wait_s := due_s - time.perf_counter()) > 0:
                    await asyncio.sleep(wait_s)
                if self._idle:
                    self._ask(self._idle.popleft(), due_s)
                else:
                    self._due.append(due_s)
        gives_up_s = time.perf_counter() + _ANSWER_WITHIN_S
        while len(self.latencies_s) < self._sent and time.perf_counter() < gives_up_s:
            await asyncio.sleep(0.01)
        self.errors += self._sent - len(self.latencies_s)

    def _ask(self, connection: Connection, due_s: float) -> None:
        connection.ask(self._requests[self._sent % len(self._requests)], due_s)
        self._sent += 1


async def load(port: int, users: int, connections: int, seconds: float, rate: float) -> dict[str, float]:
    """Return what one run came to."""
    running = Load(users, seconds, rate)
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: Connection(running), "127.0.0.1", port)
    await running.run()
    found = sorted(running.latencies_s)
    return {
        "answers": len(found),
        "per_s": len(found) / seconds,
        "p50_ms": 1e3 * found[len(found) // 2],
        "p99_ms": 1e3 * found[int(len(found) * 0.99)],
        "errors": running.errors,
    }


if __name__ == "__main__":
    _port, _users, _connections, _seconds, _rate = sys.argv[1:]
    print(json.dumps(asyncio.run(load(int(_port), int(_users), int(_connections), float(_seconds), float(_rate)))))
