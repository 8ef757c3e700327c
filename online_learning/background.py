"""A thread of a trainer's own, which takes its jobs in order: what is learned in torch is learned there.

Torch takes seconds to load, so it is loaded there too, unless it is there already.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")

_ENDS_WITHIN_S = 10.0
"""A block takes milliseconds, loading torch some seconds."""


class Background:
    """Begins its thread with the first job, and ends it when it is no longer needed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Return what the job will return, or raise."""
        if self._thread is None:
            # a daemon, and awaited for a while at the end: what hangs in torch must not keep a worker alive
            self._thread = threading.Thread(target=_work, args=(self._jobs,), name=self._name, daemon=True)
            self._thread.start()
            weakref.finalize(self, _end, self._jobs, self._thread)
        future: Future[T] = Future()
        self._jobs.put(lambda: _settle(future, job))
        return future


def _work(jobs: SimpleQueue[Callable[[], None] | None]) -> None:
    while (job := jobs.get()) is not None:
        job()


def _end(jobs: SimpleQueue[Callable[[], None] | None], thread: threading.Thread) -> None:
    """End the thread, at the latest when the interpreter ends: one that ends within torch aborts the process."""
    jobs.put(None)
    if thread is not threading.current_thread():
        thread.join(_ENDS_WITHIN_S)


def _settle(future: Future[T], job: Callable[[], T]) -> None:
    try:
        future.set_result(job())
    except BaseException as error:  # the step's to raise, when it asks
        future.set_exception(error)
