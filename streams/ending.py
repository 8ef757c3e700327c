"""Ending tasks, also those that do not hear of it the first time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_S = 0.05


async def end_tasks(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks until each has ended; what they raise is nobody's concern any more.

    Before Python 3.12 `asyncio.wait_for` loses a cancellation that comes just as what it waits for is done
    (https://github.com/python/cpython/issues/86296), and redis-py sends every command through it.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
