"""A server run as a child process on this machine: started until it answers, stopped, killed, paused.

`LocalKafka` and `LocalRedis` say which program and what "answers" means; the life of the process is here.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

POLL_S = 0.03


def last_lines(text: str, lines: int = 15) -> str:
    """Return the end of a log, indented, without Java's stack frames, which bury the line that says what happened."""
    telling = [line for line in text.splitlines() if line.strip() and not line.startswith("\tat ")]
    return "\n".join(f"  {line}" for line in telling[-lines:])


class DidNotStart(RuntimeError):
    """The child ended, or did not answer in time; `tail` holds the last lines it wrote."""

    def __init__(self, what: str, tail: str) -> None:
        super().__init__(f"{what}; the last lines of its log:\n{tail}")
        self.tail = tail


def free_ports(count: int) -> tuple[int, ...]:
    """Return `count` different ports of 127.0.0.1 that nothing listened on a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return tuple(int(each.getsockname()[1]) for each in sockets)
    finally:
        for each in sockets:
            each.close()


def is_free(port: int) -> bool:
    """Whether a server could listen on that port of 127.0.0.1 now."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a closed connection is no obstacle
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class LocalProcess:
    """One child process. Used by one thread.

    It gets a session of its own, so that Ctrl-C in a terminal reaches only us and we stop it in order; leaving the
    interpreter kills it. What it writes is appended to `log`.
    """

    def __init__(
        self, command: Sequence[str], *, log: Path, answers: Callable[[], bool], start_within_s: float
    ) -> None:
        self._command = list(command)
        self._program = Path(self._command[0]).name
        self._log = log
        self._answers = answers
        self._start_within_s = start_within_s
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id, or None while it is not running."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def start(self) -> None:
        """Run the child and return once it answers; raise `DidNotStart` (nothing is left running) if it does not."""
        if self.pid is not None:
            return
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        atexit.register(self.kill)
        try:
            self._wait_until_it_answers(self._child)
        except BaseException:  # Ctrl-C while waiting must not leave the child behind either
            self.kill()
            raise

    def _wait_until_it_answers(self, child: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self._start_within_s
        while not self._answers():
            if child.poll() is not None:
                raise DidNotStart(f"{self._program} ended with status {child.returncode} while starting", self._tail())
            if time.monotonic() > deadline:
                raise DidNotStart(f"{self._program} did not answer within {self._start_within_s:g} s", self._tail())
            time.sleep(POLL_S)

    def stop(self, within_s: float) -> None:
        """End the child with SIGTERM, and with SIGKILL if it is still there after `within_s`. Idempotent."""
        if self._child is not None and self.pid is not None:
            self.resume()  # a stopped process cannot act on SIGTERM
            self._child.terminate()
            try:
                self._child.wait(within_s)
            except subprocess.TimeoutExpired:
                self._child.kill()
        self._forget()

    def kill(self) -> None:
        """End the child at once with SIGKILL, as a crash would. Idempotent."""
        if self._child is not None and self.pid is not None:
            self._child.kill()
        self._forget()

    def pause(self) -> None:
        """Freeze the child (SIGSTOP): connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused child go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if (pid := self.pid) is not None:
            os.kill(pid, number)

    def _forget(self) -> None:
        if self._child is not None:
            self._child.wait()
            self._child = None
        atexit.unregister(self.kill)

    def _tail(self) -> str:
        return last_lines(self._log.read_text(errors="replace"))
