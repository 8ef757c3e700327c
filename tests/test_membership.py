"""Roles as Kafka's group coordinator deals them: shared, taken over, and at once the same after a restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from millstream.agents.seat import Seat
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.membership import ByNumber, Membership, Roles
from millstream.streams.settings import Kafka, Settings, Topics
from millstream.streams.topics import ensure_topics

SESSION_S = 6.0
_WITHIN_S = 30.0


@pytest.fixture
def settings(kafka: LocalKafka, topic_name: str) -> Settings:
    made = Settings(
        kafka=Kafka(bootstrap_servers=kafka.bootstrap, group_id=topic_name, session_timeout_ms=int(SESSION_S * 1000)),
        inputs=({"topic": f"{topic_name}.views"}, {"topic": f"{topic_name}.orders"}),  # type: ignore[arg-type]  # validated
        topics=Topics(partitions=4).prefixed(f"{topic_name}."),
    )
    ensure_topics(made)
    return made


class Member:
    """A worker as far as roles go."""

    def __init__(self, settings: Settings) -> None:
        self.roles: Roles | None = None
        inputs = [each.topic for each in settings.inputs]
        self.membership = Membership(settings.kafka, inputs, settings.topics.model_log, told=self._told)

    def _told(self, roles: Roles) -> None:
        self.roles = roles


@asynccontextmanager
async def member(settings: Settings, name: str) -> AsyncIterator[Member]:
    it = Member(settings)
    await it.membership.join(name)
    try:
        yield it
    finally:
        await it.membership.leave()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(_WITHIN_S):
        while not holds():
            await asyncio.sleep(0.01)


async def test_one_alone_has_all_and_two_share(settings: Settings) -> None:
    """The same numbers of every input, each once; one of the two leads; when one is gone, the other has all again."""
    everything = Roles(frozenset(range(4)), leads=True)
    async with member(settings, "worker-1") as first:
        await until(lambda: first.roles == everything)
        async with member(settings, "worker-2") as second:
            await until(lambda: first.roles == Roles(frozenset({0, 2}), leads=True))
            await until(lambda: second.roles == Roles(frozenset({1, 3}), leads=False))
        began_s = time.monotonic()
        await until(lambda: first.roles == everything)
        assert time.monotonic() - began_s < 2 * SESSION_S


async def test_whoever_comes_back_under_its_name_has_its_roles_at_once(settings: Settings) -> None:
    """Killed and started again: nobody waits for its old session to time out."""
    async with member(settings, "worker-1") as first, member(settings, "worker-2") as other:
        await until(lambda: first.roles is not None and len(first.roles.partitions) == 2)
        await until(lambda: other.roles is not None)
        roles = first.roles
        before = first.membership._consumer
        again = Member(settings)
        began_s = time.monotonic()
        await again.membership.join("worker-1")
        await until(lambda: again.roles is not None)
        assert again.roles == roles
        assert time.monotonic() - began_s < SESSION_S / 2
        await again.membership.leave()
        await before.stop()


def test_partitions_are_dealt_by_number() -> None:
    """Topics of different sizes too: one worker has a number of all of them; more workers than numbers get none."""
    cluster = SimpleNamespace(partitions_for_topic=lambda topic: set(range({"a": 4, "b": 2, "order": 1}[topic])))
    members = {name: ByNumber.metadata(["a", "b", "order"]) for name in ("w2", "w1", "w3", "w5", "w4")}
    dealt = {
        name: {topic: list(numbers) for topic, numbers in given.assignment}
        for name, given in ByNumber.assign(cluster, members).items()
    }
    assert dealt == {
        "w1": {"a": [0], "b": [0], "order": [0]},
        "w2": {"a": [1], "b": [1], "order": []},
        "w3": {"a": [2], "b": [], "order": []},
        "w4": {"a": [3], "b": [], "order": []},
        "w5": {"a": [], "b": [], "order": []},
    }


def test_a_seat_is_one_workers_until_it_ends(tmp_path: Path) -> None:
    """The next worker of the folder has another name; whoever comes after the first has the first's."""
    first, second = Seat(tmp_path), Seat(tmp_path)
    names = first.name, second.name
    assert [name.rpartition("-")[0] for name in names] == ["worker-1", "worker-2"]
    first.leave()
    assert Seat(tmp_path).name == names[0]
    assert Seat(tmp_path / "elsewhere").name != names[0]
