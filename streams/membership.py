"""Which worker has which role: a consumer group in which nothing is consumed.

Kafka's group coordinator knows who is there and notices who is gone; the assignor below deals partition numbers, the
same of every input to the same worker, and the order's one partition to the first. Roles are hints: what is learned is
decided by the claims in the log, and whose list is newer inside Redis, so two workers that think they have the same
role for a moment do no harm.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition  # type: ignore[import-untyped]
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor  # type: ignore[import-untyped]
from aiokafka.coordinator.protocol import (  # type: ignore[import-untyped]
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)

from .consumer import LOST, METADATA_EVERY_MS, end_consumer
from .settings import Kafka

_HEARTBEATS = 6
"""In one session time-out."""
_NEVER_MS = 2**31 - 1
_COMMIT_WITHIN_S = 2.0
_JOIN_WITHIN_S = 30.0
_AGAIN_S = 1.0

_log = logging.getLogger(__name__)


class Roles(NamedTuple):
    """What a worker is to do."""

    partitions: frozenset[int]
    """Whose users' lists it makes."""
    leads: bool
    """Whether it decides the order."""


class ByNumber(AbstractPartitionAssignor):  # type: ignore[misc]  # untyped
    """Deals partitions by their number, so that one worker has the same of each topic."""

    name = "millstream"
    version = 0

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:
        """Return by member what it gets."""
        ids = sorted(members)
        dealt: dict[str, list[tuple[str, list[int]]]] = {member: [] for member in ids}
        for topic in sorted({topic for each in members.values() for topic in each.subscription}):
            numbers = sorted(cluster.partitions_for_topic(topic) or ())
            for turn, member in enumerate(ids):
                dealt[member].append((topic, [number for number in numbers if number % len(ids) == turn]))
        return {member: ConsumerProtocolMemberAssignment(cls.version, dealt[member], b"") for member in ids}

    @classmethod
    def metadata(cls, topics: Sequence[str]) -> Any:
        """Return what a member says of itself."""
        return ConsumerProtocolMemberMetadata(cls.version, list(topics), b"")

    @classmethod
    def on_assignment(cls, assignment: Any) -> None:
        """Nothing is kept."""


class Membership:
    """Joins the group, tells what the roles are, and commits offsets for people to watch lag by.

    `told` hears each time that roles are dealt. Roles last until the next time, also while no broker answers.
    """

    def __init__(
        self,
        kafka: Kafka,
        inputs: Sequence[str],
        order: str,
        *,
        told: Callable[[Roles], None],
    ) -> None:
        self._kafka = kafka
        self._inputs = tuple(dict.fromkeys(inputs))
        self._order = order
        self._instance_id = ""
        self._told = told
        self._consumer: Any = None

    async def join(self, instance_id: str) -> None:
        """Become a member, and be told soon; tries until a broker answers."""
        self._instance_id = instance_id
        while True:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._kafka.bootstrap_servers,
                client_id="millstream-worker",
                group_id=self._kafka.group_id,
                group_instance_id=self._instance_id,
                enable_auto_commit=False,
                auto_offset_reset="latest",
                session_timeout_ms=self._kafka.session_timeout_ms,
                heartbeat_interval_ms=max(1, self._kafka.session_timeout_ms // _HEARTBEATS),
                max_poll_interval_ms=_NEVER_MS,
                metadata_max_age_ms=METADATA_EVERY_MS,
                partition_assignment_strategy=(ByNumber,),
            )
            try:
                consumer.subscribe([*self._inputs, self._order], listener=_Listener(consumer, self._assigned))
                await asyncio.wait_for(consumer.start(), _JOIN_WITHIN_S)
            except LOST as error:
                _log.debug("group %s not joined: %s", self._kafka.group_id, error)
                await end_consumer(consumer)
                await asyncio.sleep(_AGAIN_S)
            except BaseException:
                await end_consumer(consumer)
                raise
            else:
                self._consumer = consumer
                return

    async def join_anew(self) -> None:
        """Join with another client: one that lost its broker may never find back to it."""
        await self.leave()
        await self.join(self._instance_id)

    async def leave(self) -> None:
        """End the membership; others take the roles over when its session has timed out."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await end_consumer(consumer)

    async def commit(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Commit what of the positions is ours. Failures are passed over: nothing needs it."""
        consumer = self._consumer
        if consumer is None:
            return
        ours = {
            place: offset
            for key, offset in positions.items()
            if (place := TopicPartition(*key)) in consumer.assignment()
        }
        if ours:
            with suppress(*LOST):
                await asyncio.wait_for(consumer.commit(ours), _COMMIT_WITHIN_S)

    def _assigned(self, places: Sequence[Any]) -> None:
        numbers = frozenset(place.partition for place in places if place.topic in self._inputs)
        self._told(Roles(numbers, any(place.topic == self._order for place in places)))


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # untyped
    def __init__(self, consumer: Any, assigned: Callable[[Sequence[Any]], None]) -> None:
        self._consumer = consumer
        self._assigned = assigned

    def on_partitions_revoked(self, revoked: Sequence[Any]) -> None:
        """Go on until others have them: newer wins."""

    def on_partitions_assigned(self, assigned: Sequence[Any]) -> None:
        """Fetch nothing, and tell."""
        self._consumer.pause(*assigned)
        self._assigned(assigned)
