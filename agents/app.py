"""The Faust app: two thin agents on channels that the source feeds with micro-batches.

Run it with `millstream worker`, or as any Faust app: `faust -A millstream.agents.app worker -l info`. Both run the same
object; Faust's own consumer, producer, tables and web server stay off, since none of them would be used.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import faust
from faust.app import BootStrategy
from faust.types import ServiceT

from millstream.streams.read_ahead import RawBatch
from millstream.streams.settings import Settings, load_settings

from .pipeline import Pipeline, build


class OnlyAgents(BootStrategy):
    """Starts the sensors, the agents, and last the pipeline; so the pipeline stops first, with its agents still there.

    Faust's own consumer would rebalance, which clears channels without waking who waits on them: a freeze.
    """

    enable_kafka = False
    enable_kafka_consumer = False
    enable_kafka_producer = False
    enable_web = False

    def server(self) -> Iterable[ServiceT]:
        """Return the services to start, in order."""
        return self._chain(self.sensors(), self.agents(), [cast(MillstreamApp, self.app).pipeline])


class MillstreamApp(faust.App):
    """A Faust app around one pipeline."""

    BootStrategy = OnlyAgents
    mundane_level = "debug"
    pipeline: Pipeline

    async def on_first_start(self) -> None:
        """Create no folders: there are no tables."""

    async def on_start(self) -> None:
        """Open the channels, which otherwise wait for a consumer's first assignment."""
        await super().on_start()
        self.flow_control.resume()


def create_app(settings: Settings) -> MillstreamApp:
    """Return an app for `settings`, with nothing connected yet. Faust connects everything when it is started."""
    app = MillstreamApp(
        settings.kafka.group_id,
        broker=[f"kafka://{address}" for address in settings.kafka.bootstrap_servers.split(",")],
        web_enabled=False,
        topic_disable_leader=True,
    )
    # What the step cannot take yet waits at the source, where the next batch takes all of it.
    # A channel carries plain values as well as Faust's events, which its type does not say.
    chunks: Any = app.channel(maxsize=1)
    records: Any = app.channel(maxsize=1)
    app.pipeline = pipeline = build(settings, interactions=chunks.put, items=records.put)

    @app.agent(chunks, name="interactions")
    async def interactions(stream: faust.StreamT[RawBatch]) -> None:
        async for batch in stream:
            await pipeline.parts.intake.take(batch)

    @app.agent(records, name="items")
    async def items(stream: faust.StreamT[RawBatch]) -> None:
        async for batch in stream:
            await pipeline.parts.catalogue.take(batch)

    @app.task  # type: ignore[untyped-decorator]  # Faust leaves it untyped
    async def stop_on_failure() -> None:
        error = await pipeline.failure.wait()
        if app.in_worker:  # Faust's own worker stops when the app crashes; `millstream worker` waits for it itself
            raise error

    return app


app = create_app(load_settings())
