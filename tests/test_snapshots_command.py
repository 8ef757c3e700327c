"""`millstream snapshots`: what is stored, whether it is what it says, and going back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result
from logs import SMALL, chunk_of, simulated

from millstream.agents.cli import main
from millstream.agents.resume import resume
from millstream.agents.status import workers_key
from millstream.online_learning.live_copy import write_whole
from millstream.online_learning.snapshot import list_snapshots
from millstream.online_learning.snapshot_store import Folder
from millstream.online_learning.step import Step

DIRECTORY = Path("snapshots")


@pytest.fixture
def hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str) -> Iterator[list[str]]:
    """Two snapshots in the folder of the settings, and the hashes of their states."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILLSTREAM_REDIS__URL", redis_url)
    monkeypatch.setenv("MILLSTREAM_REDIS__PREFIX", f"{tmp_path.name}:")
    shop, step, found = simulated(600), Step(SMALL), []
    for first, last in ((0, 400), (400, 600)):
        step.apply(chunk_of(shop.cut(first, last)), lists=False)
        found.append(step.state_hash())
        write_whole(step, Folder(DIRECTORY), {"state_hash": found[-1]})
    yield found
    with redis.Redis.from_url(redis_url) as client:
        client.delete(workers_key(f"{tmp_path.name}:"))


def run(*options: str) -> Result:
    return CliRunner().invoke(main, ["snapshots", *options])


def answer(*options: str, exit_code: int = 0) -> dict[str, Any]:
    shown = run(*options, "--json")
    assert shown.exit_code == exit_code, shown.output
    found: dict[str, Any] = json.loads(shown.stdout.splitlines()[-1])
    return found


def test_what_is_stored_is_listed(hashes: list[str]) -> None:
    """Oldest first, each with positions, size and hash; the table says the same in words."""
    found = answer()
    first, second = list_snapshots(DIRECTORY)
    assert [each["name"] for each in found["snapshots"]] == [first.name, second.name]
    assert [each["state_hash"] for each in found["snapshots"]] == hashes
    assert [each["positions"] for each in found["snapshots"]] == [{"interactions[0]": 400}, {"interactions[0]": 600}]
    assert [each["bytes"] for each in found["snapshots"]] == [first.stat().st_size, second.stat().st_size]
    assert all(each["problem"] is None and each["after"] is None for each in found["snapshots"])
    assert (found["verified"], found["restored"]) == (False, None)
    assert "readable" in run().output


def test_verifying_finds_what_the_list_does_not(hashes: list[str]) -> None:
    """A flipped byte, and a state that is not the one named: exit status 1, with the file and the reason."""
    assert answer("--verify")["verified"] is True
    first = list_snapshots(DIRECTORY)[0]
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)
    step = Step(SMALL)
    step.apply(chunk_of(simulated(600).cut(0, 10)), lists=False)
    write_whole(step, Folder(DIRECTORY), {"state_hash": hashes[0]})
    assert not any(each["problem"] for each in answer()["snapshots"])
    problems = [each["problem"] for each in answer("--verify", exit_code=1)["snapshots"]]
    assert problems[0].startswith(f"{first}: damaged (a checksum is wrong")
    assert problems[1] is None
    assert problems[2].endswith(f"the state it holds is {step.state_hash()}, it says {hashes[0]}")


def test_going_back_makes_the_older_one_the_newest(hashes: list[str]) -> None:
    """The next start goes on from its state; the others are still there."""
    first = list_snapshots(DIRECTORY)[0]
    assert resume(SMALL, Folder(DIRECTORY)).step.state_hash() == hashes[1]
    restored = answer("--restore", first.name)["restored"]
    assert restored == list_snapshots(DIRECTORY)[-1].name
    assert len(list_snapshots(DIRECTORY)) == 3
    assert resume(SMALL, Folder(DIRECTORY)).step.state_hash() == hashes[0]
    assert not any(each["problem"] for each in answer("--verify")["snapshots"])


def test_there_is_no_going_back_under_a_running_worker(hashes: list[str], redis_url: str, tmp_path: Path) -> None:
    """It would write its own state behind the restored one: the error names its pid and the remedy."""
    status = {
        "state": "running",
        "pid": 4711,
        "written_ms": time.time_ns() // 1_000_000,
        "uptime_s": 1,
        "events": 0,
        "events_per_s": 0,
        "lag": 0,
        "seq": 0,
    }
    status |= {"effort": 1, "slates": 0, "dead_letters": 0, "freshness_ms": {}, "quality": {}, "popularity": {}}
    with redis.Redis.from_url(redis_url) as client:
        client.hset(workers_key(f"{tmp_path.name}:"), "w", json.dumps({**status, "positions": {}}))
    shown = run("--restore", list_snapshots(DIRECTORY)[0].name)
    assert shown.exit_code == 1
    assert "a worker is running (pid 4711); stop it first" in shown.output
    assert len(list_snapshots(DIRECTORY)) == 2


@pytest.mark.parametrize("options", [(), ("--verify",), ("--restore", "state-0000000000000001-000001.snapshot")])
def test_an_empty_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]) -> None:
    """With the setting and the remedy."""
    monkeypatch.chdir(tmp_path)
    shown = run(*options)
    assert shown.exit_code == 1
    assert "snapshots.directory = 'snapshots': no snapshot there; run `millstream worker`" in shown.output


def test_one_that_is_not_there_is_named(hashes: list[str]) -> None:
    """As it was typed."""
    shown = run("--restore", "state-9.snapshot")
    assert shown.exit_code == 1
    assert "snapshots/state-9.snapshot: no such snapshot" in shown.output
