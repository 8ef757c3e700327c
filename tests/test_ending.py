"""Tasks are ended, also those that lose a cancellation or hold on to what they do."""

from __future__ import annotations

import asyncio

from millstream.streams.ending import end_tasks


async def test_a_task_that_misses_its_cancellation_ends_all_the_same() -> None:
    """As `asyncio.wait_for` does, where what it waits for is done at the same time."""
    heard = []

    async def deaf() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                heard.append(1)
                if len(heard) == 3:
                    raise

    async def failing() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("on the way out")

    async def done() -> None:
        pass

    tasks = [asyncio.create_task(each) for each in (deaf(), failing(), done())]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end_tasks(tasks)
    assert all(task.done() for task in tasks)
    assert len(heard) == 3
    await end_tasks([])
