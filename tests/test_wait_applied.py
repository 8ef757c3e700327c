"""`wait=applied`: an answer that comes when the lists know of the events, by a real worker; and what comes without."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from running import Pipeline
from serving import served, settings

from millstream.agents.serving.applied import AppliedPositions
from millstream.agents.status import FreshnessMs, WorkerStatus, write_status
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.redis_connection import connect
from millstream.streams.settings import Settings
from millstream.streams.topics import ensure_topics

EVENT = {"user_id": "u", "item_id": "a"}


def status(**positions: int) -> WorkerStatus:
    return WorkerStatus(
        state="running",
        pid=1,
        uptime_s=1.0,
        events=0,
        events_per_s=0.0,
        lag=0,
        seq=0,
        effort=1.0,
        slates=0,
        dead_letters=0,
        freshness_ms=FreshnessMs(),
        quality={},
        popularity={},
        positions={"t": {partition.removeprefix("p"): offset for partition, offset in positions.items()}},
    )


@pytest.fixture
def found(kafka: LocalKafka, redis_url: str, prefix: str, topic_name: str) -> Settings:
    found = settings(redis_url, prefix, bootstrap=kafka.bootstrap, topic=topic_name, wait_s=0.2)
    ensure_topics(found)
    return found


async def test_the_list_of_the_user_holds_the_event_when_the_answer_comes(
    kafka: LocalKafka, redis_url: str, prefix: str, topic_name: str, pipeline: Pipeline
) -> None:
    """Ten events one after another: with each answer the user's list is one that was made after it."""
    found = settings(redis_url, prefix, bootstrap=kafka.bootstrap, topic=topic_name, wait_s=10)
    ensure_topics(found)
    with pipeline.worker() as worker:
        await worker.running()
        async with served(found) as web:
            for number in range(10):
                answer = await web.post("/v1/interactions?wait=applied", json={"user_id": "u", "item_id": f"i{number}"})
                assert answer.status_code == 200, answer.text
                slate = pipeline.slate("u")
                assert slate is not None
                assert slate.version.position > number


async def test_without_a_worker_it_is_accepted_after_a_while(found: Settings) -> None:
    """202 after `serve.wait_s`: what was promised of a 202 holds. Without `wait` nobody waits."""
    async with served(found) as web:
        began_s = time.monotonic()
        assert (await web.post("/v1/interactions?wait=applied", json=EVENT)).status_code == 202
        assert time.monotonic() - began_s >= 0.2
        assert (await web.post("/v1/interactions?wait=applied", json={"item_id": "a"})).status_code == 422


async def test_another_value_is_refused(found: Settings) -> None:
    """The refusal names the parameter, and nothing is written."""
    async with served(found) as web:
        answer: httpx.Response = await web.post("/v1/interactions?wait=forever", json=EVENT)
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "query.wait"


async def test_every_partition_must_be_there(redis_url: str, prefix: str) -> None:
    """Who waits for two partitions is answered when the later one is applied, who waits for one before that."""
    async with connect(redis_url) as client:
        applied = AppliedPositions(client, prefix)
        await write_status(client, prefix, status(p0=5, p1=2))
        both = asyncio.create_task(applied.reached("t", {0: 5, 1: 3}, 5.0))
        assert await applied.reached("t", {0: 5}, 5.0)
        assert not await applied.reached("t", {1: 3}, 0.1)
        assert not await applied.reached("another", {0: 1}, 0.1)
        assert not both.done()
        await write_status(client, prefix, status(p0=5, p1=3))
        assert await both
        await applied.close()


async def test_while_redis_is_away_nothing_is_known() -> None:
    """No error, no answer before its time."""
    async with connect("redis://127.0.0.1:1/0", timeout_s=0.05, reconnects=0) as client:
        applied = AppliedPositions(client)
        assert not await applied.reached("t", {0: 1}, 0.2)
        await applied.close()
