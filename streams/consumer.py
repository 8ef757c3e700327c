"""The Kafka client that the source reads with: how it is made, what it raises when it is lost, how it is ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer  # type: ignore[import-untyped]  # it ships no types
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]

from .settings import Kafka

LOST = (KafkaError, TimeoutError, RuntimeError)
"""What a connection that is gone raises; the last is uvloop's, where a lost one is written to."""
STOP_WITHIN_S = 1.0
METADATA_EVERY_MS = 10_000
"""How soon partitions that are added to a topic are noticed."""


def make_consumer(kafka: Kafka) -> Any:
    """Return a consumer that reads what is committed, and nothing of itself; it is not connected yet."""
    return AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers,
        client_id="millstream-source",
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        metadata_max_age_ms=METADATA_EVERY_MS,
    )


async def end_consumer(made: Any) -> None:
    """Close it; leaving politely takes an answer, which a broker that is gone will not give."""
    with suppress(*LOST):
        await asyncio.wait_for(made.stop(), STOP_WITHIN_S)
