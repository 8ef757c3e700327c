"""A worker at work while something else is measured: real Kafka, real lists, the same two cores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from millstream.agents.demo_kafka import ThroughKafka
from millstream.agents.freshness import FreshnessMeter
from millstream.streams.ending import end_tasks

from .place import Place
from .report import WrongResult
from .shoppers import shoppers_log

_LOOK_EVERY_S = 0.2
_UNDER_WAY_S = 5.0
_LEAST_SHARE = 0.9
"""Of the events that were due, so many must have been learned: else the loop was not at that rate."""


@asynccontextmanager
async def beside_loop(where: Place, *, rate: float, seconds: float) -> AsyncIterator[None]:
    """Run the block while a worker learns `rate` simulated events a second, for at most `seconds`.

    Raises `WrongResult` when the worker fell behind or the events ran out before the block did.
    """
    settings = where.apart("beside")
    columns = await asyncio.to_thread(shoppers_log, int(rate * (seconds + _UNDER_WAY_S)))
    clock = asyncio.get_running_loop().time
    async with ThroughKafka(settings, columns, rate, FreshnessMeter(), where.folder) as route:
        offering = asyncio.create_task(route.offer())
        try:
            while (await route.standing()).learned < rate:
                await asyncio.sleep(_LOOK_EVERY_S)
            began_s, learned = clock(), (await route.standing()).learned
            yield
            elapsed_s, ended = clock() - began_s, offering.done()
            learned = (await route.standing()).learned - learned
        finally:
            await end_tasks([offering])
        if ended or learned < _LEAST_SHARE * rate * elapsed_s:
            raise WrongResult(
                f"the worker beside it learned {learned:,} events in {elapsed_s:.0f} s, not {rate:,.0f} a second"
            )
        await route.finish()
