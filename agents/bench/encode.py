"""`bench encode`: what a language model in the loop costs the click, and how soon a new item can be recommended.

1. The encoder alone, in this process, before what follows and after: so many items a second it can do on one thread.
2. The same items put into the catalogue at once: until `encode` has written a vector of each.
3. Single items put, one after the other: until a worker scores them as candidates, before anybody has chosen them.
4. Freshness of clicks while `encode` has more than it can do, beside the same without it, in turns.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
from kafka import TopicPartition  # type: ignore[import-untyped]  # kafka-python ships no types

from millstream.agents.demo_servers import Say
from millstream.agents.encoders import TextEncoder, load_encoder
from millstream.agents.freshness import Percentiles
from millstream.agents.item_contents import contents
from millstream.agents.status import read_status, status_key
from millstream.agents.worker_process import WorkerProcess
from millstream.schemas.columns import InteractionColumns
from millstream.schemas.records import Item
from millstream.streams.acked_producer import AckedProducer, Record
from millstream.streams.asking import Asking
from millstream.streams.catalogue_hash import encode_item
from millstream.streams.errors import NoAnswer, Unavailable
from millstream.streams.redis_connection import connect
from millstream.streams.settings import Settings
from millstream.streams.topic_reading import consuming

from .child import our_command
from .freshness import through_workers
from .place import Place
from .report import Report, WrongResult

WARM = 10_000
"""Events of the log learned before any counts."""
_ALONE = 2_048
"""Items that the encoder's own rate is taken from."""
_AT_ONCE = 64
_WITHIN_S = 300.0
_LOOK_EVERY_S = 0.01
_COUNT_EVERY_S = 0.1
_BETWEEN_S = 0.2
_CLICKED = 20


async def encode(
    where: Place,
    items: Sequence[Item],
    log: InteractionColumns,
    name: str,
    *,
    rate: float,
    puts: int,
    turns: int,
    say: Say,
) -> Report:
    """Return the figures. Raises `WrongResult` where the encoder was done before the clicks were."""
    settings = where.settings
    encoder = await asyncio.to_thread(load_encoder, settings.content.encoder, threads=settings.content.threads)
    before_s = await asyncio.to_thread(_alone, encoder, items[:_ALONE])
    say(f"the encoder {settings.content.encoder} alone: {len(items[:_ALONE]) / before_s:,.0f} items a second")
    took_s, recommendable_ms = await _catalogue(where, items, puts, say)
    after_s = await asyncio.to_thread(_alone, encoder, items[:_ALONE])
    per_s = 2 * len(items[:_ALONE]) / (before_s + after_s)
    say(f"alone again: {len(items[:_ALONE]) / after_s:,.0f} items a second")
    say(f"{len(items):,} items in {took_s:.1f} s; a single one after {np.median(recommendable_ms):.0f} ms")
    quiet: list[Percentiles] = []
    busy: list[Percentiles] = []
    for turn in range(turns):
        quiet.append(await _freshness(where, f"quiet{turn}", items, log, rate, say, encoding=False))
        busy.append(await _freshness(where, f"busy{turn}", items, log, rate, say, encoding=True))
    pairs = list(zip(busy, quiet, strict=True))
    return Report(
        name="encode",
        figures={
            "encoder_items_per_s": per_s,
            "items": len(items),
            "items_encoded_s": took_s,
            "put_to_recommendable_p50_ms": float(np.median(recommendable_ms)),
            "put_to_recommendable_p99_ms": float(np.quantile(recommendable_ms, 0.99)),
            "freshness_p50_ms": [each.p50 for each in busy],
            "freshness_p99_ms": [each.p99 for each in busy],
        },
        baseline={
            "items_encoded_s": len(items) / per_s,
            "freshness_p50_ms": [each.p50 for each in quiet],
            "freshness_p99_ms": [each.p99 for each in quiet],
        },
        ratios={
            "items_encoded_over_alone": took_s * per_s / len(items),
            "freshness_p50_encoding_over_quiet": float(np.median([one.p50 / other.p50 for one, other in pairs])),
            "freshness_p99_encoding_over_quiet": float(np.median([one.p99 / other.p99 for one, other in pairs])),
        },
        targets={
            "put_to_recommendable_p99_ms": "≤ 1,000",
            "items_encoded_over_alone": "≤ 1.2",
            "freshness_p50_encoding_over_quiet": "≤ 1.3",
            "freshness_p99_encoding_over_quiet": "≤ 2",
        },
        facts=(
            f"encoder {settings.content.encoder}, {settings.content.threads} thread(s), nice {settings.content.nice}; "
            f"its own rate without the others, from {min(len(items), _ALONE):,} items, once before and once after",
            f"{puts} items put one by one, from the send until the worker says of each that it is a candidate",
            f"freshness: {len(log) - WARM:,} events of {name} at {rate:,.0f} a second, {turns} turns of both; the "
            "median of the turns' ratios; every item is put before, so that the encoder is at it all the while",
        ),
    )


def _alone(encoder: TextEncoder, items: Sequence[Item]) -> float:
    """Return the seconds that the encoder takes for the items, as `encode` hands them over."""
    contents(items[:_AT_ONCE], encoder)
    began_s = time.perf_counter()
    for first in range(0, len(items), _AT_ONCE):
        contents(items[first : first + _AT_ONCE], encoder)
    return time.perf_counter() - began_s


async def _catalogue(where: Place, items: Sequence[Item], puts: int, say: Say) -> tuple[float, list[float]]:
    """Return the seconds that all items took, and the milliseconds that each of some single ones took."""
    async with AsyncExitStack() as stack:
        settings = await stack.enter_async_context(where.topics_apart("catalogue"))
        await _put(settings, [Item(item_id="first", title="the first")])
        await stack.enter_async_context(WorkerProcess(settings, where.folder))
        await stack.enter_async_context(our_command(settings, where.folder, "encode"))
        await _encoded(settings, 1)  # loaded
        began_s = time.monotonic()
        await _put(settings, items)
        await _encoded(settings, 1 + len(items))
        took_s = time.monotonic() - began_s
        say("all encoded; now one by one")
        asking = Asking(settings.redis.url, settings.redis.prefix)
        stack.push_async_callback(asking.close)
        await _click(settings, [item.item_id for item in items[:_CLICKED]])
        return took_s, [await _recommendable(settings, asking, items[number], number) for number in range(puts)]


async def _recommendable(settings: Settings, asking: Asking, like: Item, number: int) -> float:
    """Return after how many ms a new item is a candidate for somebody who chose the like."""
    await asyncio.sleep(_BETWEEN_S)
    item_id = f"new-{number}"
    began_s = time.perf_counter()
    await _put(settings, [Item(item_id=item_id, title=f"New: {like.title}", categories=like.categories)])
    while time.perf_counter() - began_s < _WITHIN_S:
        try:
            answer = await asking.why("somebody", item_id)
        except NoAnswer:
            continue
        if not {"unknown_item", "never_chosen"} & set(answer.kept_off):
            return 1_000 * (time.perf_counter() - began_s)
        await asyncio.sleep(_LOOK_EVERY_S)
    raise WrongResult(f"{item_id} was no candidate within {_WITHIN_S:g} s of being put")


async def _freshness(
    where: Place, name: str, items: Sequence[Item], log: InteractionColumns, rate: float, say: Say, *, encoding: bool
) -> Percentiles:
    async with where.topics_apart(name) as settings:
        await _put(settings, items)
        say(f"{len(log) - WARM:,} events at {rate:,.0f} a second, the encoder {'busy' if encoding else 'away'}")
        beside = partial(_knowing, settings, where, len(items), encoding=encoding)
        before, offered = log.cut(0, WARM), log.cut(WARM, len(log))
        run = await through_workers(where.folder, settings, before, offered, rate, beside=beside, say=say)
        return run.fresh


@asynccontextmanager
async def _knowing(settings: Settings, where: Place, items: int, *, encoding: bool) -> AsyncIterator[None]:
    """Begin the block when the worker knows all items, with the encoder at work on them or without."""
    async with connect(settings.redis.url) as client:
        while True:
            value: Any = await client.get(status_key(settings.redis.prefix))
            if value is not None and read_status(value).items >= items:
                break
            await asyncio.sleep(_LOOK_EVERY_S)
    async with _busy(settings, where, items) if encoding else nullcontext():
        yield


@asynccontextmanager
async def _busy(settings: Settings, where: Place, items: int) -> AsyncIterator[None]:
    """Have the encoder at work in the block. Raises `WrongResult` if it was done before the end."""
    async with our_command(settings, where.folder, "encode"):
        await _encoded(settings, 1)
        yield
        with consuming(settings.kafka.bootstrap_servers) as consumer:
            if _vectors(consumer, settings.topics.item_vectors) >= items:
                raise WrongResult(f"the encoder was done with {items:,} items before the clicks were; give it more")


async def _put(settings: Settings, items: Sequence[Item]) -> None:
    producer = AckedProducer(settings.kafka.bootstrap_servers, settings.topics.items)
    try:
        await producer.send([Record(item.item_id.encode(), encode_item(item)) for item in items])
    finally:
        await producer.close()


async def _click(settings: Settings, item_ids: Sequence[str]) -> None:
    producer = AckedProducer(settings.kafka.bootstrap_servers, settings.inputs[0].topic)
    try:
        events = (f'{{"user_id":"somebody","item_id":"{item_id}"}}' for item_id in item_ids)
        await producer.send([Record(b"somebody", event.encode()) for event in events])
    finally:
        await producer.close()


async def _encoded(settings: Settings, count: int) -> None:
    """Return when so many vectors are written."""
    began_s = time.monotonic()
    with consuming(settings.kafka.bootstrap_servers) as consumer:
        while await asyncio.to_thread(_vectors, consumer, settings.topics.item_vectors) < count:
            if time.monotonic() - began_s > _WITHIN_S:
                raise Unavailable(
                    f"{count:,} items were not encoded within {_WITHIN_S:g} s; is `millstream[text]` installed?"
                )
            await asyncio.sleep(_COUNT_EVERY_S)


def _vectors(consumer: Any, topic: str) -> int:
    """Return how many records the topic of vectors has had."""
    places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
    return sum(consumer.end_offsets(places).values())
