"""The floor of `bench freshness`: consume, SET, point at it, and do no more: the least any worker could take.

    python -m millstream.agents.bench.bare_consumer BROKERS TOPIC REDIS_URL PREFIX

Reads the topic from its beginning and stores, for each event, an empty list whose position contains it. Writes
`"ready"` to stdout once it reads; ends when its stdin does.
"""

from __future__ import annotations

import sys

import uvloop
from aiokafka import AIOKafkaConsumer  # type: ignore[import-untyped]  # it ships no types

from millstream.agents.leash import end_with_starter
from millstream.schemas.records import Slate, Version
from millstream.schemas.slates import encode_slate
from millstream.streams.redis_connection import connect
from millstream.streams.redis_keys import feed_key, list_key

_MAIN = "main"


async def consume(brokers: str, topic: str, url: str, prefix: str) -> None:
    """Store lists until cancelled."""
    # without a group it reads every partition
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=brokers, group_id=None, auto_offset_reset="earliest")
    client = connect(url)
    await consumer.start()
    try:
        print('"ready"', flush=True)
        feed = feed_key(prefix)
        while True:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                pipeline = client.pipeline(transaction=False)
                for record in records:
                    user = record.key.decode()
                    version = Version(1, record.offset + 1, 0)
                    pipeline.set(list_key(prefix, _MAIN, user), _empty(user, version))
                    pipeline.xadd(feed, {b"k": f"{_MAIN}:{user}", b"v": version.pack()})
                await pipeline.execute()
    finally:
        await consumer.stop()
        await client.aclose()


def _empty(user: str, version: Version) -> bytes:
    slate = Slate(slate_id="", list=_MAIN, user_id=user, items=(), version=version, as_of_ms=0, generated_ts_ms=0)
    return encode_slate(slate).stored


if __name__ == "__main__":
    end_with_starter()
    uvloop.run(consume(*sys.argv[1:]))
