"""Chaos: what a seed says, what is counted, and what guards are worth: a run without one finds something."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from millstream.agents.chaos.events import Events
from millstream.agents.chaos.ledger import append, read, total
from millstream.agents.chaos.run import Outcome, Servers, run_once
from millstream.agents.chaos.schedule import FAULTS, Fault, schedule
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.local_redis import LocalRedis

SHOWS: dict[str, tuple[int, Fault, int, int]] = {
    "fence": (31, "stop_leader", 2, 12_000),
    "position": (15, "kill_leader", 1, 3_000),
    "newer-wins": (31, "stop_leader", 2, 6_000),
    "dedupe": (31, "join", 1, 2_000),
    "rename": (31, "kill_in_snapshot", 1, 3_000),
}
"""By guard: a seed, a fault that the guard holds off, workers, and events with which that shows."""


@pytest.fixture
def servers(kafka: LocalKafka, tmp_path: Path) -> Iterator[Servers]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with LocalRedis(folder, append_only=True) as redis:
        yield Servers(kafka, redis, folder)


def outcome(seed: int, **found: int) -> Outcome:
    nothing = dict.fromkeys(
        ("lost", "doubled", "hash_mismatches", "went_backwards", "stale_lists", "void", "claims", "looks"), 0
    )
    return Outcome(
        seed=seed,
        events=1_000,
        broken="",
        took_s=2.0,
        records=1_020,
        faults={"join": 1, "duplicates": 1},
        proven={"in_order": 1},
        **(nothing | found),
    )


def test_a_seed_says_all_and_kinds_take_turns() -> None:
    """The same again for the same seed; over thirteen in a row each kind three times; in the course of the events."""
    assert schedule(5, 1_000) == schedule(5, 1_000) != schedule(6, 1_000)
    for first in (0, 10):
        planned = [each for seed in range(first * 13, first * 13 + 13) for each in schedule(seed, 1_000)]
        assert Counter(each.fault for each in planned) == dict.fromkeys(FAULTS, 3)
    for seed in range(20):
        at = [each.at for each in schedule(seed, 1_000)]
        assert at == sorted(at)
        assert at[0] > 100
        assert at[-1] < 900
    assert [each.fault for each in schedule(1, 1_000, ("join", "leave"))] == ["join", "leave"]


def test_events_are_the_same_for_a_seed_some_twice_some_late() -> None:
    """One in two has an id; only those come twice."""
    events = [json.loads(record.value or b"") for record in Events(3, 2_000).records]
    again = [json.loads(record.value or b"") for record in Events(3, 2_000).records]
    for each in (*events, *again):
        del each["ts_ms"]
    assert events == again
    ids = Counter(event["event_id"] for event in events if "event_id" in event)
    assert len(ids) == 1_000
    assert len(events) - 2_000 == sum(ids.values()) - 1_000 > 10
    times = [json.loads(record.value or b"")["ts_ms"] for record in Events(3, 2_000).records]
    assert sum(after < before for before, after in itertools.pairwise(times)) > 50


def test_sittings_add_up_in_the_ledger(tmp_path: Path) -> None:
    """A line that a crash cut short is passed over; sums are over all runs."""
    path = tmp_path / "sub" / "ledger.jsonl"
    append(path, outcome(0))
    append(path, outcome(1, lost=2, claims=3))
    path.write_text(path.read_text() + json.dumps(dataclasses.asdict(outcome(2)))[:50])
    runs = read(path)
    assert [run.seed for run in runs] == [0, 1]
    assert [run.bad for run in runs] == [0, 2]
    found = total(runs)
    assert (found["runs"], found["seeds"], found["events"]) == (2, [0, 1], 2_000)
    assert found["faults"] == {"duplicates": 2, "join": 2}
    assert (found["lost"], found["claims"], found["proven"]) == (2, 3, {"in_order": 2})


@pytest.mark.parametrize(
    "guard", [guard if guard == "rename" else pytest.param(guard, marks=pytest.mark.long) for guard in SHOWS]
)
async def test_a_guard_that_is_turned_off_shows(servers: Servers, tmp_path: Path, guard: str) -> None:
    """A run without it finds something."""
    seed, fault, workers, events = SHOWS[guard]
    run = await run_once(
        seed, servers, tmp_path, events=events, rate=600.0, workers=workers, only=[fault], broken=guard
    )
    assert run.lost + run.doubled + run.hash_mismatches + run.went_backwards + run.stale_lists > 0, run


async def test_a_short_run_finds_nothing(servers: Servers, tmp_path: Path) -> None:
    """Killed within an append to the order and a recovery; its trainer, too; and the lead stopped past its session."""
    faults: list[Fault] = ["kill_in_order", "kill_trainer", "kill_in_recovery", "stop_leader"]
    run = await run_once(1, servers, tmp_path, events=4_000, rate=400.0, only=faults)
    assert run.bad == 0, run
    assert run.faults == dict.fromkeys((*faults, "duplicates", "out_of_order"), 1)
    assert run.proven["in_recovery"] == run.proven["of_trainer"] == 1
    assert run.claims >= 3
    assert run.looks > 20
