"""Processes that begin with all imports done: forked from one that did them, by the standard library's forkserver.

A worker takes seconds of CPU to import torch, numba and the rest and to load its kernels. Who starts one
after the other, as `millstream chaos` and the tests do, pays for that once. Apart from that such a process is like any
other: a session, a working folder, an environment and files of its own, killed and stopped by its pid.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path

_PRELOADED = "millstream.agents.preloaded"


class Forked:
    """One process, running from when this is made; it writes to the files `out` and `log`."""

    def __init__(
        self, arguments: Sequence[str], *, environment: Mapping[str, str], cwd: Path, out: Path, log: Path
    ) -> None:
        self._arguments = tuple(arguments)
        for path in (out, log):
            path.touch()
        self._process = _context().Process(
            target=_become,
            args=(self._arguments, dict(environment), str(cwd), str(out), str(log)),
            daemon=True,  # it does not outlive who started it
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """As it ended: its status, or less than 0 the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return how it ended; None while it runs."""
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Return how it ended, once it has. Raises `subprocess.TimeoutExpired` after `timeout` seconds."""
        self._process.join(timeout)
        if (code := self.returncode) is None:
            raise subprocess.TimeoutExpired(self._arguments, timeout or 0.0)
        return code


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_PRELOADED])
    return context


def _become(arguments: Sequence[str], environment: Mapping[str, str], cwd: str, out: str, log: str) -> None:
    """Be `python -m ARGUMENTS` from here on."""
    import runpy

    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, out), (2, log)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(file, number)
        os.close(file)
    module, *rest = arguments
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__")
