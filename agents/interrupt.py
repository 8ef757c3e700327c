"""Ctrl-C for commands that started other processes: the first one stops the work, none breaks off the stopping."""

from __future__ import annotations

import asyncio
import signal

INTERRUPTED = 130
"""The exit status of a command that Ctrl-C stopped."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def cancel_once_on_signals() -> None:
    """Let the first Ctrl-C or SIGTERM cancel the task under way; later ones must not break off the stopping."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    told: list[int] = []

    def on_signal(number: int) -> None:
        if not told:
            task.cancel()
        told.append(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal, number)


def ignore_signals() -> None:
    """Let nothing break off the taking down that follows."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
