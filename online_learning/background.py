"""A thread of a trainer's own, which takes its jobs in order: what is learned in torch is waited for there.

The work itself is done by `torch_process`, or here where torch is loaded already.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")

Jobs = SimpleQueue[Callable[[], None] | None]

_ENDS_WITHIN_S = 60.0
"""A block takes milliseconds; loading torch some seconds, from a cold disk on a busy machine many."""


class Background:
    """Begins its thread with the first job, and ends it when it is no longer needed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: Jobs = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Return what the job will return, or raise."""
        if self._thread is None:
            # a daemon, and awaited for a while at the end: what hangs in torch must not keep a worker alive
            self._thread = threading.Thread(target=_work, args=(self._jobs,), name=self._name, daemon=True)
            self._thread.start()
            _threads[self._thread] = self._jobs
            weakref.finalize(self, _end, self._jobs)
        future: Future[T] = Future()
        self._jobs.put(lambda: _settle(future, job))
        return future


_threads: weakref.WeakKeyDictionary[threading.Thread, Jobs] = weakref.WeakKeyDictionary()


def _work(jobs: Jobs) -> None:
    while (job := jobs.get()) is not None:
        job()


def _end(jobs: Jobs) -> None:
    """Let it end after the job under way; nobody asks any more for those behind it.

    Without waiting: the collector may call this from any thread, with the lock of an import that the job waits for.
    """
    with suppress(Empty):
        while True:
            jobs.get_nowait()
    jobs.put(None)


@atexit.register
def _await_all() -> None:
    """A thread that is in torch when the interpreter ends aborts the process."""
    for thread, jobs in list(_threads.items()):
        _end(jobs)
        thread.join(_ENDS_WITHIN_S)


def _settle(future: Future[T], job: Callable[[], T]) -> None:
    try:
        future.set_result(job())
    except BaseException as error:  # the step's to raise, when it asks
        future.set_exception(error)
