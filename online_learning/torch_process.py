"""Torch in a process of its own, for those who learn: it takes seconds to load, and holds the interpreter meanwhile.

So a worker is there sooner, holds no more memory than its state, and stops at once whatever torch is doing. What is
asked is a pure function of what it is given; so if the process is lost, another is asked the same. It is there from the
first question on, one for all that ask, and ends with whoever started it. Where torch is loaded already, nothing of
this is needed, and none is started, unless it is asked for.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from typing import IO, Any

_TRIES = 3
_PACKAGE = "millstream.online_learning"

_log = logging.getLogger(__name__)


class TrainerLost(RuntimeError):
    """The process that trains ended over and over; the message has the remedy."""


class TorchProcess:
    """Answers one question at a time, to any thread."""

    def __init__(self) -> None:
        self.always = False
        """Whether it is to be there also where torch is loaded already."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._greeted = False
        self._ended = False

    @property
    def pid(self) -> int | None:
        """The process's id; None where there is none."""
        return None if self._process is None else self._process.pid

    @property
    def is_ready(self) -> bool:
        """Whether torch is loaded, here or there."""
        if self._is_here or self._greeted:
            return True
        answers = None if self._process is None else self._process.stdout
        return answers is not None and bool(select.select([answers], [], [], 0)[0])

    def begin(self) -> None:
        """Start it, if it is needed, so that it is ready sooner."""
        if not self._is_here:
            with self._lock:
                self._started()

    def train(self, module: str, given: Any) -> Any:
        """Return `train(given)` of a module of this package that needs torch; what it raises is raised here.

        Raises `TrainerLost` after three processes that did not answer, and `EOFError` when this one ends.
        """
        if self._is_here:
            return importlib.import_module(f"{_PACKAGE}.{module}").train(given)
        with self._lock:
            for left in reversed(range(_TRIES)):
                try:
                    returned, answer = self._asked(module, given)
                    break
                except (OSError, EOFError, pickle.UnpicklingError) as error:
                    if self._ended:
                        raise
                    if not left:
                        raise TrainerLost(
                            f"the process that trains was lost {_TRIES} times in a row ({error!r}); what it said "
                            f"stands above; {sys.executable} -c 'import torch' shows whether torch can be loaded"
                        ) from error
                    _log.warning("the process that trains was lost (%r); another is asked the same", error)
                    self._lose()
        if not returned:
            raise answer
        return answer

    def end(self) -> None:
        """End it for good, whatever it is doing: who waits for an answer gets `EOFError`."""
        self._ended = True
        process = self._process
        if process is not None:
            process.kill()
            process.wait()

    def forget(self) -> None:
        """In a fork: leave the process to whom it belongs."""
        self._lock = threading.Lock()
        self._process, self._greeted = None, False

    @property
    def _is_here(self) -> bool:
        return "torch" in sys.modules and not self.always

    def _asked(self, module: str, given: Any) -> tuple[bool, Any]:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        pickle.dump((module, given), process.stdin, pickle.HIGHEST_PROTOCOL)
        process.stdin.flush()
        if not self._greeted:
            self._greeted = pickle.load(process.stdout)
        answer: tuple[bool, Any] = pickle.load(process.stdout)
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self._ended:
            raise EOFError("nothing is trained any more: this process ends")
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", f"{_PACKAGE}.torch_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                process_group=0,  # Ctrl-C in the terminal is for who asks
            )
        return self._process

    def _lose(self) -> None:
        process, self._process = self._process, None
        self._greeted = False
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
            process.wait()


TRAINING = TorchProcess()
"""This process's own."""
atexit.register(TRAINING.end)
os.register_at_fork(after_in_child=TRAINING.forget)


def _answer(questions: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until whoever asks is gone."""
    importlib.import_module(f"{_PACKAGE}.interest_loss")  # torch takes seconds to load
    pickle.dump(True, answers)
    answers.flush()
    while True:
        try:
            module, given = pickle.load(questions)
        except EOFError:
            return
        try:
            answer = True, importlib.import_module(f"{_PACKAGE}.{module}").train(given)
        except Exception as error:  # the asker's to raise
            error.add_note(traceback.format_exc())  # which does not travel by itself
            answer = False, error
        pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    with suppress(BrokenPipeError):
        _answer(sys.stdin.buffer, answers)
    os._exit(0)


if __name__ == "__main__":
    _main()
