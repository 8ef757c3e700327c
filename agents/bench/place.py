"""Where a bench runs: servers, settings and names of its own, a folder for the while, and nothing left afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from millstream.agents.demo_servers import Say, servers
from millstream.agents.errors import Problem
from millstream.streams.settings import Input, Settings, load_settings
from millstream.streams.topics import admin_client, describe_topics, ensure_topics

PARTITIONS = 4


@dataclass(frozen=True, slots=True)
class Place:
    """The settings a bench runs under (all names in them are its own), and a folder that is removed at the end."""

    settings: Settings
    kafka: str
    """The broker in words; empty where a bench needs none."""
    folder: Path

    def apart(self, name: str) -> Settings:
        """Return the settings with keys, snapshots, group and order of their own: a worker that knows nothing."""
        settings = self.settings
        model_log = f"{settings.topics.model_log}.{name}"
        return settings.model_copy(
            update={
                "redis": settings.redis.model_copy(update={"prefix": f"{settings.redis.prefix}{name}:"}),
                "snapshots": settings.snapshots.model_copy(
                    update={"directory": str(self.folder / f"{name}-snapshots")}
                ),
                "kafka": settings.kafka.model_copy(update={"group_id": f"{settings.kafka.group_id}-{name}"}),
                "topics": settings.topics.model_copy(update={"model_log": model_log}),
            }
        )

    @asynccontextmanager
    async def topics_apart(self, name: str) -> AsyncIterator[Settings]:
        """Yield settings as `apart`, and with topics of their own, which exist for the while."""
        settings = self.apart(name)
        mine = settings.model_copy(
            update={
                "inputs": (Input(topic=f"{settings.inputs[0].topic}.{name}"),),
                "topics": settings.topics.prefixed(f"{name}."),
            }
        )
        try:
            ensure_topics(mine)  # not in a thread, which Ctrl-C would leave creating them when they are deleted
            yield mine
        finally:
            with admin_client(mine.kafka.bootstrap_servers) as client:
                client.delete_topics(sorted(state.spec.name for state in describe_topics(mine) if state.exists))


@contextmanager
def place(say: Say, *, with_kafka: bool, exclude_consumed: bool = False) -> Iterator[Place]:
    """Bring up what the settings name and does not answer; take down and forget at the end what was brought up.

    The topics exist, with four partitions. Raises `Problem` without Kafka where it is needed, `LocalRedisUnavailable`
    without Redis.
    """
    settings = load_settings()
    with (
        tempfile.TemporaryDirectory(prefix="millstream-bench-") as folder,
        servers(
            settings,
            exclude_consumed=exclude_consumed or settings.learning.exclude_consumed,
            with_kafka=with_kafka,
            keep=False,
            snapshots=Path(folder) / "snapshots",
            say=say,
            name="bench",
            partitions=PARTITIONS,
            effort="adaptive",
        ) as found,
    ):
        if with_kafka and found.kafka is None:
            raise Problem(f"this bench needs Kafka: {found.without_kafka_because}")
        if with_kafka:
            ensure_topics(found.settings)
        yield Place(found.settings, found.kafka or "", Path(folder))
