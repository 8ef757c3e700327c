"""The composition root of the serving side: one application over Redis and Kafka, with all its routes and guards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from millstream.agents.searching import Searching
from millstream.streams.acked_producer import AckedProducer
from millstream.streams.asking import Asking
from millstream.streams.kept_off import KeptOff
from millstream.streams.kept_words import KeptWords
from millstream.streams.pointers import PointerFeed
from millstream.streams.reader import AsyncReader
from millstream.streams.redis_connection import connect
from millstream.streams.settings import Settings, Words
from millstream.streams.words_endpoint import WordsEndpoint

from .applied import AppliedPositions
from .event_writer import EventWriter
from .gate import Gate
from .hub import FeedHub
from .interactions import interactions
from .item_records import ItemRecords
from .items import items
from .keys import ApiKeys
from .metrics import Metrics
from .phrasing import Phrasing
from .quick import Quick
from .rate import RateLimit
from .reads import reads
from .refused import say_no_alike
from .say import Speaking, say
from .search import search
from .state import state
from .stream import stream
from .why import why
from .worded import Worded

_CHANGE_TIMEOUT_S = 1.0


class Serving:
    """One serving process: `app` is the ASGI application, `ending` ends its open streams. One event loop.

    Nothing needs to be there when it starts. Everything is closed when the application ends.
    """

    def __init__(self, settings: Settings, *, reader: AsyncReader | None = None) -> None:
        self.ending = asyncio.Event()
        self.metrics = Metrics()
        serve, url, prefix = settings.serve, settings.redis.url, settings.redis.prefix
        self._reader = reader or AsyncReader(url, prefix, static=serve.static_items, cached=serve.cached)
        self._hub = FeedHub(PointerFeed(url, prefix))
        self._changes = connect(url, timeout_s=_CHANGE_TIMEOUT_S, reconnects=1)
        brokers, target = settings.kafka.bootstrap_servers, settings.inputs[0]
        self._events = EventWriter(
            AckedProducer(brokers, target.topic, client_id="millstream-serve"), within_s=serve.write_timeout_s
        )
        self._items = EventWriter(
            AckedProducer(brokers, settings.topics.items, client_id="millstream-serve"), within_s=serve.write_timeout_s
        )
        kept_off = KeptOff(self._changes, prefix=prefix, rule_ttl_s=settings.redis.list_ttl_s)
        self._applied = AppliedPositions(self._changes, prefix)
        self._asking = Asking(url, prefix)
        self._kept_words = KeptWords(url, prefix)
        self._phrasing = self._phrased(settings.words)
        worded = Worded(self._kept_words, self.metrics, self._phrasing)
        api = FastAPI(
            title="Millstream",
            summary="Fresh top-k recommendations: read them, follow them, send what people do.",
            version="1",
            lifespan=self._lifespan,
            redirect_slashes=False,
        )
        say_no_alike(api)
        api.include_router(reads(self._reader, self._asking, worded, self.metrics))
        api.include_router(why(self._asking, settings.learning.lists, worded))
        searching = Searching(self._asking, self._reader, self._changes, prefix)
        speaking = Speaking(self._asking, self._events, self.metrics, target)
        api.include_router(search(searching, settings.learning.lists, speaking))
        api.include_router(say(speaking, self._applied, target=target, within_s=serve.wait_s))
        api.include_router(stream(self._hub, self._reader, self.metrics, self.ending))
        api.include_router(
            interactions(
                self._events,
                kept_off,
                self._applied,
                self.metrics,
                target=target,
                hide_kinds=serve.hide_kinds,
                most=serve.max_events,
                within_s=serve.wait_s,
            )
        )
        api.include_router(items(self._items, kept_off, ItemRecords(self._changes, prefix)))
        api.include_router(state(self._reader, self.metrics))
        _describe_security(api)
        self._measure()
        self.api = api
        self.app: ASGIApp = Gate(
            Quick(api, self._reader, self.metrics),
            keys=ApiKeys(serve.read_keys, serve.write_keys, serve.admin_keys),
            rate=RateLimit(serve.rate_per_s) if serve.rate_per_s else None,
            metrics=self.metrics,
            max_body_bytes=serve.max_body_bytes,
        )
        if serve.cors_origins:  # outermost, so that a page can read what it was refused for
            self.app = CORSMiddleware(
                self.app,
                allow_origins=serve.cors_origins,
                allow_methods=("GET", "POST"),
                allow_headers=("authorization", "content-type", "last-event-id"),
                max_age=3_600,
            )

    def _phrased(self, words: Words) -> Phrasing | None:
        """Return who asks the endpoint of the settings for better words, if there is one."""
        if not words.endpoint:
            return None
        phrasing = Phrasing(words, WordsEndpoint(words), self._kept_words, self.metrics)
        self.metrics.gauge("words_waiting", "Reasons in line for the endpoint.", lambda: phrasing.waiting)
        self.metrics.gauge("words_lost", "1 while the endpoint does not answer.", lambda: float(phrasing.is_lost))
        return phrasing

    def _measure(self) -> None:
        reader, metrics = self._reader, self.metrics
        metrics.gauge("redis_reads", "MGETs so far; reads that come together share one.", lambda: reader.round_trips)
        metrics.gauge("redis_lost", "1 while the last read of lists failed.", lambda: float(reader.is_lost))
        if (cache := reader.cache) is not None:
            metrics.gauge("cache_hits", "Lists answered from this process.", lambda: cache.hits)
            metrics.gauge("cache_misses", "Lists that had to be read.", lambda: cache.misses)
            metrics.gauge("cache_fresh", "1 while the cache may answer.", lambda: float(cache.fresh))

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        await self._reader.answers()  # so that no reader pays for the first connection; away is no reason not to start
        yield
        self.ending.set()
        await self._hub.close()
        await self._applied.close()
        await self._asking.close()
        if self._phrasing is not None:
            await self._phrasing.close()
        await self._kept_words.close()
        await self._events.close()
        await self._items.close()
        await self._reader.close()
        await self._changes.aclose()


def _describe_security(api: FastAPI) -> None:
    """Say in the API's description that a key goes into the Authorization header, on all but the open routes."""
    describe = api.openapi

    def described() -> dict[str, Any]:
        schema = describe()
        schema.setdefault("components", {})["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, where the server has any."},
            "in query": {"type": "apiKey", "in": "query", "name": "key", "description": "For EventSource."},
        }
        for path, methods in schema["paths"].items():
            if path.startswith(("/v1/", "/metrics")):
                for method in methods.values():
                    method.setdefault("security", [{"bearer": []}])
        return schema

    api.openapi = described  # type: ignore[method-assign]  # FastAPI's documented way to extend the schema
