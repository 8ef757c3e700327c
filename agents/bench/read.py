"""`bench read`: how long a list takes, each way beside the least it could: redis-py's GET, a bare FastAPI handler.

In this process, turn by turn: GET of one user's key with redis-py alone, `Reader.top` for the same user (MGET with the
popular list, rules and withdrawn items, decoding, filtering), and `Reader.top` from the cache. Then over HTTP, from a
process of its own: what 64 connections carry, and the latencies at a fixed rate, of both servers in turn; these also
beside a worker that learns, if asked for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from statistics import median
from typing import Any

import orjson

from millstream.agents.demo_servers import Say
from millstream.schemas.records import Slate
from millstream.schemas.slates import read_slate
from millstream.streams.errors import Unavailable
from millstream.streams.reader import Reader
from millstream.streams.redis_connection import connect_sync
from millstream.streams.redis_keys import POPULAR, list_key
from millstream.streams.slate_json import answer_json

from .beside_loop import beside_loop
from .child import answer_of, child
from .place import Place
from .publish import newest_slates
from .report import Report, WrongResult

CONNECTIONS = 64
K = 10
USERS = 500
_SERVER, _LOAD = "millstream.agents.bench.http_server", "millstream.agents.bench.http_load"
_BLOCK = 50
"""Reads of one kind in a row: long enough for the clock, short enough that both kinds meet the same neighbours."""
_HIT_BLOCK = 2_000
_READY_WITHIN_S = 60.0
_FRESH_WITHIN_S = 5.0
_BESIDE = ("p50_ms", "p99_ms")
_MORE_S = 60.0
_START_S = 5.0
"""A load's own start, at most."""


async def read(
    where: Place, *, events: int, seconds: float, rate: float, runs: int, loop_rate: float, say: Say
) -> Report:
    """Return the figures of each way; `loop_rate` events a second are learned beside the last ones (0: none).

    Raises `WrongResult` for an answer that is not what was published, and for a worker that fell behind.
    """
    lists = (await asyncio.to_thread(newest_slates, where.settings, events, say))[:USERS]
    url, prefix = where.settings.redis.url, where.settings.redis.prefix
    with connect_sync(url, timeout_s=5.0) as client:
        for number, each in enumerate(lists):
            client.set(list_key(prefix, "main", f"u{number}"), each.stored)
        client.set(list_key(prefix, "main", POPULAR), lists[0].stored)
    size_bytes = sum(len(each.stored) for each in lists) / len(lists)
    slates = [read_slate(each) for each in lists]
    say(f"{len(slates):,} lists of {len(slates[0].items)} items, {size_bytes:,.0f} bytes on average")
    process = await asyncio.to_thread(_in_process, url, prefix, slates, seconds)
    say(
        f"GET {process['get_us']:.0f} µs, reader {process['reader_us']:.0f} µs "
        f"(×{process['ratio']:.2f}), from the cache {process['hit_us']:.2f} µs"
    )
    http = await _over_http(where, len(slates), seconds, rate, runs, loop_rate, say)
    beside = (
        f"; beside the loop: while a worker learned {loop_rate:g} events/s and published their lists"
        if loop_rate
        else ""
    )
    return Report(
        name="read",
        figures={
            **{f"http_beside_loop_{part}": http["ours"][f"beside_{part}"] for part in _BESIDE if loop_rate},
            "reader_us": process["reader_us"],
            "cache_hit_us": process["hit_us"],
            "bytes_per_list": size_bytes,
            "http_per_s": http["ours"]["per_s"],
            "http_p50_ms": http["ours"]["p50_ms"],
            "http_p99_ms": http["ours"]["p99_ms"],
            "http_cached_per_s": http["cached"]["per_s"],
            "http_cached_p99_ms": http["cached"]["p99_ms"],
        },
        baseline={
            **{f"http_beside_loop_{part}": http["bare"][f"beside_{part}"] for part in _BESIDE if loop_rate},
            "reader_us": process["get_us"],
            "http_per_s": http["bare"]["per_s"],
            "http_p50_ms": http["bare"]["p50_ms"],
            "http_p99_ms": http["bare"]["p99_ms"],
        },
        ratios={
            "reader_over_get": process["ratio"],
            "http_over_fastapi": http["ours"]["ratio"],
            "http_p99_over_fastapi": http["ours"]["p99_ms"] / http["bare"]["p99_ms"],
            **(
                {"http_beside_loop_p99_over_fastapi": http["ours"]["beside_p99_ms"] / http["bare"]["beside_p99_ms"]}
                if loop_rate
                else {}
            ),
        },
        targets={
            "reader_over_get": "≤ 1.5",
            "cache_hit_us": "≤ 2",
            "http_over_fastapi": "≥ .7",
            "http_p99_over_fastapi": "≤ 3",
            "http_beside_loop_p99_over_fastapi": "≤ 3",
        },
        facts=(
            f"reader: median over blocks of {_BLOCK} reads, by turns; baseline: redis-py's GET of the same list, "
            "not decoded",
            f"HTTP: {CONNECTIONS} connections for {seconds:g} s a turn, the lowest ratio of {runs}; percentiles of the "
            f"open loop at {rate:g} requests/s, counted from when each was due; k = {K}, with an API key{beside}",
            "baseline: a FastAPI handler of the same path and parameters on the same server, answering ready bytes of "
            "the same length",
        ),
    )


def _in_process(url: str, prefix: str, slates: Sequence[Slate], seconds: float) -> dict[str, float]:
    key, user = list_key(prefix, "main", "u1"), "u1"
    expected = [item.item_id for item in slates[1].items[:K]]
    # patient, so that a pause of the machine is measured and not answered with a fallback
    with (
        connect_sync(url, timeout_s=5.0) as client,
        Reader(url, prefix, timeout_s=5.0) as reader,
        Reader(url, prefix, timeout_s=5.0, cached=True) as cached,
    ):
        for each in (reader, cached):
            if [item.item_id for item in each.top(user, K).items] != expected:
                raise WrongResult(f"the list read of {user!r} is not the one that was published")
        get_us: list[float] = []
        reader_us: list[float] = []
        ends_s = time.perf_counter() + seconds
        while time.perf_counter() < ends_s or not get_us:
            get_us.append(_each_us(lambda: client.get(key), _BLOCK))
            reader_us.append(_each_us(lambda: reader.top(user, K), _BLOCK))
        assert cached.cache is not None
        hit_us: list[float] = []
        ends_s = time.perf_counter() + min(seconds, _FRESH_WITHIN_S)
        while time.perf_counter() < ends_s or not hit_us:
            cached.top(user, K)
            before = cached.cache.misses
            us = _each_us(lambda: cached.top(user, K), _HIT_BLOCK)
            if cached.cache.misses == before:  # the machine paused for 50 ms, so the cache was silent, as it must
                hit_us.append(us)
            elif time.perf_counter() > ends_s + _FRESH_WITHIN_S:
                raise WrongResult("the cache was never fresh for 2,000 reads in a row")
    return {
        "get_us": median(get_us),
        "reader_us": median(reader_us),
        "ratio": median(ours / bare for ours, bare in zip(reader_us, get_us, strict=True)),
        "hit_us": median(hit_us),
    }


def _each_us(call: Callable[[], object], times: int) -> float:
    began_s = time.perf_counter()
    for _ in range(times):
        call()
    return 1e6 * (time.perf_counter() - began_s) / times


async def _over_http(
    where: Place, users: int, seconds: float, rate: float, runs: int, loop_rate: float, say: Say
) -> dict[str, dict[str, float]]:
    url, prefix = where.settings.redis.url, where.settings.redis.prefix
    with Reader(url, prefix, timeout_s=5.0) as reader:
        size_bytes = len(orjson.dumps(answer_json(reader.top("u1", K))))
    async with AsyncExitStack() as stack:
        ports = {
            "bare": await _start(stack, "bare", str(size_bytes)),
            "ours": await _start(stack, "ours", url, prefix, "uncached"),
            "cached": await _start(stack, "ours", url, prefix, "cached"),
        }

        async def load(name: str, rate: float) -> dict[str, Any]:
            arguments = (str(ports[name]), str(users), str(CONNECTIONS), str(seconds), str(rate))
            found: dict[str, Any] = await answer_of(_LOAD, *arguments, within_s=seconds + _MORE_S)
            if found["errors"]:
                raise WrongResult(f"{found['errors']:,} requests to the {name} server were not answered well")
            return found

        for name in ports:  # so that nobody's first requests are counted
            await load(name, rate)
        measured = []
        for number in range(1, runs + 1):
            turn = {name: (await load(name, 0.0))["per_s"] for name in ports}
            measured.append(turn)
            say(
                f"run {number} of {runs}: {turn['ours']:,.0f} requests/s, cached {turn['cached']:,.0f}, bare FastAPI "
                f"{turn['bare']:,.0f}; ratio {turn['ours'] / turn['bare']:.2f}"
            )
        lowest = min(measured, key=lambda turn: turn["ours"] / turn["bare"])
        found = {name: await load(name, rate) for name in ports}
        for name in ports:
            found[name]["per_s"] = lowest[name]
            found[name]["ratio"] = lowest[name] / lowest["bare"]
        if loop_rate:
            say(f"the same at {rate:g} requests/s beside a worker that learns {loop_rate:g} events/s")
            async with beside_loop(where, rate=loop_rate, seconds=(len(ports) + 1) * (seconds + _START_S)):
                for name in ports:
                    beside = await load(name, rate)
                    found[name] |= {f"beside_{part}": beside[part] for part in _BESIDE}
        return found


async def _start(stack: AsyncExitStack, *arguments: str) -> int:
    process = await stack.enter_async_context(child(_SERVER, *arguments))
    assert process.stdout is not None
    try:
        return int(await asyncio.wait_for(process.stdout.readline(), _READY_WITHIN_S))
    except (ValueError, TimeoutError):
        raise Unavailable(f"{_SERVER} {arguments[0]} did not start: is 'millstream[serve]' installed?") from None
