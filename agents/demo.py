"""The demo: one log through the whole loop, watched.

    log ──▶ route (Kafka and a worker process, or the step itself) ──▶ Redis ──▶ follower (a process of its own)
              └─ send times ──▶ freshness meter ◀── reads ──┘

`watch` drives it to its end and returns what it came to; what it looks like is `demo_display`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping

from millstream.schemas.columns import InteractionColumns
from millstream.streams.errors import Unavailable
from millstream.streams.reader import AsyncReader
from millstream.streams.settings import Settings

from .demo_display import Place, Summary, View, Watched, places
from .demo_log import DemoLog
from .demo_route import Route, Standing
from .freshness import FeedFollower, FreshnessMeter

_REFRESH_S = 0.25
_PATIENCE_S = 60.0
"""Without any progress for so long after the last event was sent, the run is given up: something is stuck."""
_RATE_OVER_S = 3.0
_LOOKED_AT = 20
_SHOWN_EVENTS = 3


class DemoStuck(Unavailable):
    """All events were sent and something stopped answering for them; the message says how far it came."""


async def watch(
    log: DemoLog,
    settings: Settings,
    through: str,
    route: Route,
    meter: FreshnessMeter,
    *,
    watch_user: str | None,
    show: Callable[[View], None],
) -> Summary:
    """Run `log` through `route` (entered already) until every list is out; show the moment again and again.

    Raises `DemoStuck`, and whatever ended the route.
    """
    prefix = settings.redis.prefix
    shown = None if watch_user is None else _WatchedUser(watch_user, log.columns, log.titles)
    async with (
        FeedFollower(settings.redis.url, prefix, meter.listed),
        AsyncReader(settings.redis.url, prefix) as reader,
    ):
        pace = _Pace()
        offering = asyncio.create_task(route.offer())
        try:
            while True:
                await asyncio.sleep(_REFRESH_S)
                if offering.done():
                    offering.result()
                standing = await route.standing()
                pace.note(standing, meter)
                watched = None if shown is None else await shown.look(reader, route.sent)
                show(_view(log, through, route, standing, meter, pace, watched))
                if not offering.done():
                    continue
                # a dead letter makes no list: its event waits in the meter for ever
                settled = standing.learned + standing.dead_letters
                if settled >= route.sent and meter.waiting <= standing.dead_letters:
                    break
                if pace.still_s > _PATIENCE_S:
                    raise DemoStuck(
                        f"all {route.sent:,} events were sent, {standing.learned:,} were learned, {meter.waiting:,} "
                        f"are on no list yet, and nothing has moved for {_PATIENCE_S:g} s; `millstream doctor` may say "
                        "why"
                    )
        finally:
            offering.cancel()
        elapsed_s = pace.elapsed_s
        end = await route.finish()
    return Summary(
        kafka=through,
        events=end.learned,
        events_per_s=end.learned / elapsed_s if elapsed_s else 0.0,
        users=len(set(log.columns.user_ids)),
        slates=end.lists,
        dead_letters=end.dead_letters,
        freshness=meter.overall(),
        effort=end.effort,
        state_hash=end.state_hash,
        quality=end.quality,
        popularity=end.popularity,
        drifts=end.drifts,
        last_drift=end.last_drift,
    )


class _Pace:
    """How fast it goes: events learned over the last seconds, and since when nothing moved."""

    def __init__(self) -> None:
        self._began_s = self._moved_s = time.monotonic()
        self._seen: deque[tuple[float, int]] = deque([(self._began_s, 0)])
        self._last = (0, 0)

    def note(self, standing: Standing, meter: FreshnessMeter) -> None:
        now_s = time.monotonic()
        self._seen.append((now_s, standing.learned))
        while len(self._seen) > 2 and self._seen[1][0] < now_s - _RATE_OVER_S:
            self._seen.popleft()
        if (moved := (standing.learned + standing.dead_letters, len(meter.fresh_ms))) != self._last:
            self._last, self._moved_s = moved, now_s

    @property
    def events_per_s(self) -> float:
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else float("nan")

    @property
    def elapsed_s(self) -> float:
        """Seconds from the start to the last time anything moved."""
        return self._moved_s - self._began_s

    @property
    def still_s(self) -> float:
        return time.monotonic() - self._moved_s


class _WatchedUser:
    """Remembers what the watched list was, so that what came onto it can be marked until it changes again."""

    def __init__(self, user_id: str, columns: InteractionColumns, titles: Mapping[str, str]) -> None:
        self._user_id = user_id
        self._titles = titles
        self._events = [
            (row, titles.get(item, item))
            for row, (user, item) in enumerate(zip(columns.user_ids, columns.item_ids, strict=True))
            if user == user_id
        ]
        self._items: tuple[str, ...] = ()
        self._places: tuple[Place, ...] = ()

    async def look(self, reader: AsyncReader, sent: int) -> Watched:
        answer = await reader.top(self._user_id, _LOOKED_AT)
        items = tuple(item.item_id for item in answer.items)
        if items and (items != self._items or not self._places):
            self._places = places(answer.items, frozenset(self._items or items), self._titles)
            self._items = items
        did = [title for row, title in self._events if row < sent][-_SHOWN_EVENTS:]
        return Watched(self._user_id, tuple(reversed(did)), self._places)


def _view(
    log: DemoLog,
    through: str,
    route: Route,
    standing: Standing,
    meter: FreshnessMeter,
    pace: _Pace,
    watched: Watched | None,
) -> View:
    return View(
        log=log.name,
        through=through,
        total=len(log.columns),
        sent=route.sent,
        learned=standing.learned,
        elapsed_s=pace.elapsed_s,
        events_per_s=pace.events_per_s,
        lists=standing.lists,
        dead_letters=standing.dead_letters,
        freshness=meter.recent(),
        quality=standing.quality,
        popularity=standing.popularity,
        drifts=standing.drifts,
        last_drift=standing.last_drift,
        watched=watched,
    )
