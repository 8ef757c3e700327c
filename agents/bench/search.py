"""`bench search`: approximate against exact search while vectors drift, then whole searches over HTTP, one by one.

The second half runs all of it: Kafka, Redis, a worker that scores for users, `encode`, `understand` and `serve`, each
a process of its own. Texts are asked for that nobody asked before, so each is encoded; then the same ones again. Items
are PUT, and searched for until they are found by their words, and by their meaning.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import numpy as np

from millstream.agents.demo_servers import Say
from millstream.agents.worker_process import WorkerProcess
from millstream.schemas.records import Item
from millstream.streams.acked_producer import AckedProducer, Record
from millstream.streams.asking import Asking
from millstream.streams.catalogue_hash import encode_item
from millstream.streams.errors import NoAnswer, Unavailable
from millstream.streams.settings import Settings

from .child import our_command
from .nearest import NearestFigures, nearest_figures
from .place import Place
from .report import Report, WrongResult

_CLICKS = 2_000
_USERS = 50
_WARM = 20
"""Searches before any counts."""
_READY_WITHIN_S = 300.0
_FOUND_WITHIN_S = 20.0
_LOOK_EVERY_S = 0.01
_BETWEEN_S = 0.02
"""After each answer, so that each search finds all processes asleep; without it they are at work all the time."""


async def search(
    where: Place, items: Sequence[Item], name: str, *, vectors: int, width: int, queries: int, puts: int, say: Say
) -> Report:
    """Return the figures of both halves over these items. Raises `WrongResult` for an item that is not found."""
    near = await asyncio.to_thread(
        lambda: nearest_figures(vectors=vectors, width=width, queries=queries, moves=100, latent=True, say=say)
    )
    alike = await asyncio.to_thread(
        lambda: nearest_figures(
            vectors=vectors, width=width, queries=max(10, queries // 5), moves=100, latent=False, say=say
        )
    )
    say(f"recall {near.recall:.3f} at {near.approximate_ms:.2f} ms, exact {near.exact_ms:.2f} ms")
    figures = await _whole(where, items, queries, puts, say)
    encoder = figures.pop("encoder")
    least_ms = figures.pop("popular_p50_ms")
    most_ms = "≤ 10" if encoder == "light" else "≤ 60"
    return Report(
        name="search",
        figures={
            "ann_recall_at_50": near.recall,
            "ann_recall_at_50_at_the_end": near.recall_after,
            "ann_ms": near.approximate_ms,
            "ann_p99_ms": near.p99_ms,
            "ann_update_us": near.update_us,
            "ann_moved": near.moved,
            "ann_build_s": near.build_s,
            "ann_recall_at_50_all_directions": alike.recall,
            "items": len(items),
            **figures,
        },
        baseline={"ann_ms": near.exact_ms, "search_p50_ms": least_ms},
        ratios={
            "ann_speed_over_exact": near.exact_ms / near.approximate_ms,
            "ann_speed_over_own_exact": near.own_exact_ms / near.approximate_ms,
            "ann_speed_over_exact_all_directions": alike.exact_ms / alike.approximate_ms,
        },
        targets={
            "ann_recall_at_50": "≥ .95",
            "ann_speed_over_exact": "≥ 10",
            "search_p99_ms": most_ms,
            "search_in_a_row_p99_ms": most_ms,
            "say_p99_ms": most_ms,
            "say_in_a_row_p99_ms": most_ms,
            "put_to_found_p99_ms": "≤ 1,000",
        },
        facts=(
            _said(near, vectors, width),
            f"searches over HTTP, one at a time, {1_000 * _BETWEEN_S:g} ms after the answer before, and in a row "
            f"without that; each of a text nobody asked before, for a known user, among the items of {name} with the "
            f"encoder {encoder}; beside a worker, `encode` and `understand`; so with what is said, until Kafka has it",
            "from the answer to PUT until a search finds the item by its title's words, and by its vector; "
            "baseline: the popular list from the same server",
        ),
    )


def _said(near: NearestFigures, vectors: int, width: int) -> str:
    return (
        f"{vectors:,} vectors of {width} elements, most of each in 16 directions, one query at a time on one thread, "
        f"in turn with numpy's product and argpartition; {near.moved:,} moves on the way, 100 between two queries"
    )


async def _whole(where: Place, items: Sequence[Item], queries: int, puts: int, say: Say) -> dict[str, Any]:
    settings = where.settings
    producer = AckedProducer(settings.kafka.bootstrap_servers, settings.topics.items)
    await producer.send([Record(item.item_id.encode(), encode_item(item)) for item in items])
    await producer.close()
    rng = np.random.default_rng(5)
    clicks = AckedProducer(settings.kafka.bootstrap_servers, settings.inputs[0].topic)
    users = [f"u{number}" for number in range(_USERS)]
    chosen = rng.integers(0, len(items), _CLICKS).tolist()
    await clicks.send([_click(users[n % _USERS], items[at].item_id) for n, at in enumerate(chosen)])
    await clicks.close()
    async with AsyncExitStack() as stack:
        worker = await stack.enter_async_context(WorkerProcess(settings, where.folder))
        await stack.enter_async_context(our_command(settings, where.folder, "encode"))
        await stack.enter_async_context(our_command(settings, where.folder, "understand"))
        serve = await stack.enter_async_context(our_command(settings, where.folder, "serve", "--port", "0"))
        assert serve.stdout is not None
        line = (await asyncio.wait_for(serve.stdout.readline(), _READY_WITHIN_S)).decode()
        client = await stack.enter_async_context(aiohttp.ClientSession(line.split()[2].rstrip(",")))
        encoder = await _ready(settings, items, say)
        async with asyncio.timeout(_READY_WITHIN_S):
            while (status := await worker.look()) is None or status.seq < _CLICKS:
                await asyncio.sleep(_LOOK_EVERY_S)
        texts, unsaid = _texts(items, 2 * queries + _WARM), _texts(items, 2 * queries, seed=4)
        texts, in_a_row = texts[: queries + _WARM], texts[queries + _WARM :]
        for text in texts[:_WARM]:
            await _asked(client, text, users[0])
        once = [await _asked(client, text, users[n % _USERS]) for n, text in enumerate(texts[_WARM:])]
        again = [await _asked(client, text, users[n % _USERS]) for n, text in enumerate(texts[_WARM:])]
        at_once = [await _asked(client, text, users[n % _USERS], 0.0) for n, text in enumerate(in_a_row)]
        said = [await _said_by(client, text, users[n % _USERS]) for n, text in enumerate(unsaid[:queries])]
        said_at_once = [await _said_by(client, text, users[n % _USERS], 0.0) for n, text in enumerate(unsaid[queries:])]
        popular = [await _popular(client) for _ in range(queries)]
        say(f"{len(once):,} searches: {np.median([ms for ms, _ in once]):.1f} ms")
        found = [await _put(client, number) for number in range(puts)]
    personal = np.mean([answer["personal"] for _, answer in once])
    ms, again_ms = [ms for ms, _ in once], [ms for ms, _ in again]
    return {
        "encoder": encoder,
        "search_p50_ms": float(np.median(ms)),
        "search_p99_ms": float(np.quantile(ms, 0.99)),
        "search_encode_p50_ms": float(np.median([answer["took_ms"]["encode"] for _, answer in once])),
        "search_match_p50_ms": float(np.median([answer["took_ms"]["match"] for _, answer in once])),
        "search_personal_p50_ms": float(np.median([answer["took_ms"]["personal"] for _, answer in once])),
        "search_personal_share": float(personal),
        "search_known_text_p50_ms": float(np.median(again_ms)),
        "search_known_text_p99_ms": float(np.quantile(again_ms, 0.99)),
        "search_in_a_row_p50_ms": float(np.median([ms for ms, _ in at_once])),
        "search_in_a_row_p99_ms": float(np.quantile([ms for ms, _ in at_once], 0.99)),
        "say_p50_ms": float(np.median(said)),
        "say_p99_ms": float(np.quantile(said, 0.99)),
        "say_in_a_row_p50_ms": float(np.median(said_at_once)),
        "say_in_a_row_p99_ms": float(np.quantile(said_at_once, 0.99)),
        "popular_p50_ms": float(np.median(popular)),
        "put_to_found_p50_ms": float(np.median([by_words for by_words, _ in found])),
        "put_to_found_p99_ms": float(np.quantile([by_words for by_words, _ in found], 0.99)),
        "put_to_meant_p50_ms": float(np.median([by_vector for _, by_vector in found])),
        "put_to_meant_p99_ms": float(np.quantile([by_vector for _, by_vector in found], 0.99)),
    }


async def _ready(settings: Settings, items: Sequence[Item], say: Say) -> str:
    """Return the encoder's name once every item is found, by its vector where there is an encoder."""
    asking = Asking(settings.redis.url, settings.redis.prefix)
    began_s = time.monotonic()
    try:
        while time.monotonic() - began_s < _READY_WITHIN_S:
            await asyncio.sleep(1.0)
            try:
                answer = await asking.text("ready", encode=False)
                alike = [
                    (await asking.alike(item.item_id, 1)).items
                    for item in (items[0], items[-1], items[len(items) // 2])
                ]
            except NoAnswer:
                continue
            if answer.encoder is None or all(alike):
                await asyncio.sleep(2.0)
                say(f"ready after {time.monotonic() - began_s:.0f} s, encoder {answer.encoder}")
                return answer.encoder or "words alone"
    finally:
        await asking.close()
    raise Unavailable(
        f"`millstream understand` was not ready within {_READY_WITHIN_S:g} s; is `millstream[search,text]` installed?"
    )


def _texts(items: Sequence[Item], count: int, *, seed: int = 3) -> list[str]:
    """Return different texts of some of the words of two items each."""
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        one, other = (items[at] for at in rng.integers(0, len(items), 2).tolist())
        words = f"{one.title} {' '.join(other.categories)} {other.title}".split()
        found[" ".join(rng.permutation(words)[: rng.integers(1, 7)].tolist())] = None
        if len(found) < count and len(items) < 4:
            found[f"text {len(found)}"] = None
    return list(found)


async def _asked(
    client: aiohttp.ClientSession, text: str, user: str, between_s: float = _BETWEEN_S
) -> tuple[float, dict[str, Any]]:
    await asyncio.sleep(between_s)
    began_s = time.perf_counter()
    answer = await _got(client, "/v1/search", q=text, user=user)
    return 1_000 * (time.perf_counter() - began_s), answer


async def _said_by(client: aiohttp.ClientSession, text: str, user: str, between_s: float = _BETWEEN_S) -> float:
    await asyncio.sleep(between_s)
    began_s = time.perf_counter()
    async with client.post(f"/v1/users/{user}/say", json={"text": text}) as answer:
        said = await answer.json()
    if answer.status != 202 or said["because"] not in (None, "no_encoder"):
        raise WrongResult(f"saying {text!r} was answered with {answer.status}: {said}")
    return 1_000 * (time.perf_counter() - began_s)


async def _popular(client: aiohttp.ClientSession) -> float:
    await asyncio.sleep(_BETWEEN_S)
    began_s = time.perf_counter()
    await _got(client, "/v1/popular")
    return 1_000 * (time.perf_counter() - began_s)


async def _got(client: aiohttp.ClientSession, path: str, **params: str) -> dict[str, Any]:
    async with client.get(path, params=params) as answer:
        if answer.status != 200:
            raise WrongResult(f"{path} {params} was answered with {answer.status}: {await answer.text()}")
        found: dict[str, Any] = await answer.json()
        return found


async def _put(client: aiohttp.ClientSession, number: int) -> tuple[float, float]:
    """Return after how many ms a new item is found by its words, and by its vector."""
    title = f"Zanzibar{number:04} lantern"
    async with client.put(f"/v1/items/new-{number}", json={"title": title}) as done:
        await done.read()
    began_s = time.perf_counter()
    by_words: float | None = None
    while time.perf_counter() - began_s < _FOUND_WITHIN_S:
        answer = await _got(client, "/v1/search", q=title)
        mine = [item for item in answer["items"] if item["item_id"] == f"new-{number}"]
        now_ms = 1_000 * (time.perf_counter() - began_s)
        if by_words is None and mine and mine[0]["lexical_rank"]:
            by_words = now_ms
        if by_words is not None and (answer["encoder"] is None or (mine and mine[0]["vector_rank"])):
            return by_words, now_ms
        await asyncio.sleep(_LOOK_EVERY_S)
    raise WrongResult(f"the item new-{number} was not found within {_FOUND_WITHIN_S:g} s of its PUT")


def _click(user: str, item: str) -> Record:
    return Record(user.encode(), f'{{"user_id":"{user}","item_id":"{item}"}}'.encode())
