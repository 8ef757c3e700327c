"""The way through real Kafka: events produced here, a worker in a process of its own, its status read from Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec

from millstream.schemas.columns import InteractionColumns
from millstream.schemas.records import Item
from millstream.streams.acked_producer import AckedProducer, Record
from millstream.streams.settings import Settings

from .demo_route import Standing
from .freshness import FreshnessMeter
from .replay import replay
from .worker_process import WorkerProcess

_LOOK_EVERY_S = 0.05
_encoder = msgspec.json.Encoder()


class ThroughKafka:
    """A route of two processes: this one produces, `millstream worker` learns and publishes.

    An event's send is the moment the producer is given it. The topics exist already.
    """

    def __init__(
        self,
        settings: Settings,
        columns: InteractionColumns,
        rate: float,
        meter: FreshnessMeter,
        folder: Path,
        catalogue: Sequence[Item] = (),
    ) -> None:
        self._settings = settings
        self._columns = columns
        self._catalogue = catalogue
        self._rate = rate
        self._meter = meter
        self._worker = WorkerProcess(settings, folder)
        self.sent = 0

    async def __aenter__(self) -> Self:
        await self._worker.__aenter__()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._worker.__aexit__(*failure)

    @property
    def worker(self) -> WorkerProcess:
        """The worker's process."""
        return self._worker

    async def offer(self) -> None:
        """Produce the catalogue, then the log at the rate offered; return when the broker has acknowledged it all."""
        await self._offer_catalogue()
        users = self._columns.user_ids

        def on_event(row: int, partition: int, offset: int, sent_ns: int) -> None:
            self._meter.sent(users[row], offset, sent_ns)
            self.sent += 1

        await replay(
            self._columns,
            bootstrap=self._settings.kafka.bootstrap_servers,
            topic=self._settings.inputs[0].topic,
            rate=self._rate,
            on_event=on_event,
        )

    async def _offer_catalogue(self) -> None:
        """Produce an item a record, and return when the worker knows them all: so the first event meets them known."""
        if not self._catalogue:
            return
        topic = AckedProducer(self._settings.kafka.bootstrap_servers, self._settings.topics.items)
        try:
            await topic.send([Record(item.item_id.encode(), _encoder.encode(item)) for item in self._catalogue])
        finally:
            await topic.close()
        while (status := await self._worker.look()) is None or status.items < len(self._catalogue):
            await asyncio.sleep(_LOOK_EVERY_S)

    async def standing(self) -> Standing:
        """Return what the worker last said of itself. Raises `WorkerEnded` when it has ended."""
        status = await self._worker.look() or self._worker.status
        if status is None:
            return Standing()
        return Standing(
            learned=status.events,
            lists=status.slates,
            dead_letters=status.dead_letters + status.duplicates,
            quality=status.quality,
            popularity=status.popularity,
            drifts=status.drifts,
            last_drift=status.last_drift,
            effort="full",
        )

    async def finish(self) -> Standing:
        """Stop the worker in order and return its own last word. Raises `WorkerEnded` if it had none."""
        standing = await self.standing()
        last = await self._worker.finish()
        return Standing(
            learned=last.get("events", standing.learned),
            lists=last.get("slates", standing.lists),
            dead_letters=last["dead_letters"] + last["duplicates"] if last else standing.dead_letters,
            quality=last.get("quality", standing.quality),
            popularity=last.get("popularity", standing.popularity),
            drifts=standing.drifts,
            last_drift=standing.last_drift,
            effort=standing.effort,
            state_hash=last.get("state_hash", ""),
        )
