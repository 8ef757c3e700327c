"""How a worker comes to its roles: it catches up with the order, joins the group, and does what it is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from millstream.online_learning.order import Place
from millstream.streams.membership import Membership, Roles
from millstream.streams.outage import Outage

from .ordering import Ordering
from .step_thread import StepThread
from .upkeep import Upkeep

_LOOK_EVERY_S = 0.01
_WATCH_EVERY_S = 0.5

_log = logging.getLogger(__name__)


class TakingPart:
    """Hands the roles that the group deals to those who play them. One event loop owns it."""

    def __init__(
        self,
        ordering: Ordering,
        thread: StepThread[Any],
        upkeep: Upkeep,
        membership: Callable[[Callable[[Roles], None]], Membership],
        kafka: Outage,
        *,
        may_lead: bool,
    ) -> None:
        self.roles: Roles | None = None
        """What this worker was told last."""
        self._ordering = ordering
        self._thread = thread
        self._upkeep = upkeep
        self.membership = membership(self._told)
        self._kafka = kafka
        self._may_lead = may_lead
        self._positions: Mapping[Place, int] = {}
        self._topic_ids: Mapping[str, str] = {}
        self._has_roles = asyncio.Event()

    async def begin(self, name: str, positions: Mapping[Place, int], topic_ids: Mapping[str, str]) -> None:
        """Return when this worker has applied what stood in the log at first, and has its roles.

        `positions` are where its inputs begin, and `topic_ids` what they are; it says so if it comes to lead.
        """
        self._positions, self._topic_ids = positions, topic_ids
        end = self._ordering.next_record
        while self._ordering.taken < end or not self._thread.is_idle:
            await asyncio.sleep(_LOOK_EVERY_S)
        await self.membership.join(name)
        await self._has_roles.wait()

    async def run(self) -> None:
        """Join again whenever Kafka was gone, until cancelled."""
        was_lost = False
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            if was_lost and not self._kafka.is_lost:
                await self.membership.join_anew()
            was_lost = self._kafka.is_lost

    def _told(self, roles: Roles) -> None:
        roles = roles if self._may_lead else roles._replace(leads=False)
        if roles != self.roles:
            numbers = ", ".join(map(str, sorted(roles.partitions))) or "none"
            _log.info(
                "this worker publishes the lists of partitions %s%s", numbers, ", and leads" if roles.leads else ""
            )
        self.roles = roles
        self._upkeep.assign(roles.partitions)
        if roles.leads:
            self._ordering.lead(self._positions, self._topic_ids)
        else:
            self._ordering.follow()
        self._has_roles.set()
