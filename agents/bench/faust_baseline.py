"""The baseline of `bench loop`: a Faust agent as the manual writes it, which decodes JSON, counts, and does no more.

    python -m millstream.agents.bench.faust_baseline BROKERS TOPIC EVENTS FOLDER

Reads the topic from its beginning in a group of its own. Writes one JSON object, `{"events", "elapsed_s"}`, from the
first event to the last of `EVENTS`, and ends; also when its stdin does.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid

import faust
import orjson
import uvloop
from faust.app import BootStrategy

from millstream.agents.leash import end_with_starter


class _WithoutWeb(BootStrategy):
    enable_web = False


class _App(faust.App):
    BootStrategy = _WithoutWeb


async def count(brokers: str, topic: str, events: int, folder: str) -> float:
    """Return the seconds from the first to the last of so many events, one by one through a Faust stream."""
    app = _App(
        f"bench-faust-{uuid.uuid4().hex[:8]}",
        broker=[f"kafka://{address}" for address in brokers.split(",")],
        datadir=folder,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        # these only shorten the join, before the first event
        broker_session_timeout=6,
        broker_heartbeat_interval=1,
        broker_rebalance_timeout=8,
    )
    source = app.topic(topic, value_type=bytes, value_serializer="raw", key_type=bytes, key_serializer="raw")
    told: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    @app.agent(source)
    async def counting(stream: faust.StreamT[bytes]) -> None:
        counted, began_s = 0, 0.0
        async for event in stream:
            record = orjson.loads(event)
            if record:
                counted += 1
            if counted == 1:
                began_s = time.perf_counter()
            elif counted == events and not told.done():
                told.set_result(time.perf_counter() - began_s)

    await app.start()
    elapsed_s = await told
    await app.stop()
    return elapsed_s


if __name__ == "__main__":
    end_with_starter()
    _brokers, _topic, _events, _folder = sys.argv[1:]
    print(json.dumps({"events": int(_events), "elapsed_s": uvloop.run(count(_brokers, _topic, int(_events), _folder))}))
