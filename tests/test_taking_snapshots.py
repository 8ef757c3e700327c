"""Snapshots of a running step, and what a start goes on from: changes behind a whole one, or the one before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from logs import chunk_of, simulated

from millstream.agents.made_with import made_with
from millstream.agents.resume import Resumed, SnapshotUnusable, resume
from millstream.agents.snapshots import SnapshotRefused, Snapshots
from millstream.agents.step_thread import StepThread
from millstream.online_learning.config import LearningConfig
from millstream.online_learning.order import OrderPosition, Part
from millstream.online_learning.snapshot import Chain, list_snapshots, read_snapshot
from millstream.online_learning.snapshot_file import SnapshotFile, SnapshotWriter
from millstream.online_learning.snapshot_store import Folder
from millstream.online_learning.step import Step

CONFIG = LearningConfig(max_users=2_000, max_items=1_000)
SHOP = simulated(3_000)


class Running:
    """A step on its thread, with a folder of snapshots."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.resumed: Resumed = resume(CONFIG, Folder(directory))
        self.learned = self.resumed.step.seq
        self.raised: list[BaseException] = []
        self.thread: StepThread[Step] = StepThread(slice_ms=10, done=lambda _: None, failed=self.raised.append)
        self.snapshots = Snapshots(
            self.thread,
            Folder(directory),
            every_s=60,
            keep=2,
        )
        self.snapshots.follow(self.resumed.copy, self.resumed.chain)
        self.thread.start(self.resumed.step, self.resumed.order_position)

    async def learn(self, events: int) -> str:
        """Learn the next events of the shop; return the state hash."""
        part = SHOP.cut(self.learned, self.learned + events)
        self.learned += events
        self.thread.submit([Part(chunk_of(part), events, 1, OrderPosition(self.learned, 3, "a"), 0)])
        while await self.thread.call(lambda step: step.seq) < self.learned:
            await asyncio.sleep(0.01)
        return await self.thread.call(lambda step: step.state_hash())


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """A new step and an empty folder."""
    it = Running(tmp_path / "snapshots")
    yield it
    await it.thread.stop()
    assert not it.raised


async def test_the_first_is_whole_and_the_next_hold_what_changed(running: Running) -> None:
    """Each names the state it is, by its hash, and what computed it; a start goes on behind the last."""
    hashes = [await running.learn(2_000)]
    await running.snapshots.take()
    for _ in range(2):
        hashes.append(await running.learn(10))
        await running.snapshots.take()
    store = Folder(running.directory)
    files = [SnapshotFile(store, path.name) for path in list_snapshots(running.directory)]
    assert [file.header["state_hash"] for file in files] == hashes
    assert [file.after is None for file in files] == [True, False, False]
    assert files[1].bytes < files[0].bytes / 2
    assert files[0].header["made_with"] == made_with()
    again = Running(running.directory)
    try:
        assert again.resumed.step.state_hash() == hashes[-1]
        assert again.resumed.order_position == OrderPosition(2_020, 3, "a")
        hashes.append(await again.learn(10))
        await again.snapshots.take()
    finally:
        await again.thread.stop()
    last = SnapshotFile(store, list_snapshots(running.directory)[-1].name)
    assert last.after == (files[-1].name, files[-1].crc)
    assert last.header["state_hash"] == hashes[-1] == resume(CONFIG, Folder(running.directory)).step.state_hash()


async def test_one_that_cannot_be_read_is_named_and_the_one_before_is_used(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """Half written, or its bytes not what they were: a line says so; with none left the start is refused."""
    before = await running.learn(500)
    await running.snapshots.take()
    await running.learn(5)
    await running.snapshots.take()
    first, last = list_snapshots(running.directory)
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        resumed = resume(CONFIG, Folder(running.directory))
    assert resumed.step.state_hash() == before
    assert resumed.path == str(first)
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        f"{last}: damaged (a checksum is wrong, at byte {_frame_at(content):,})",
        f"going on from {first} in its place",
    ]
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(SnapshotUnusable, match=f"no snapshot in it can be read, the oldest: {first}: damaged"):
        resume(CONFIG, Folder(running.directory))


def _frame_at(content: bytes | bytearray) -> int:
    """Where the frame with the middle byte begins: the last head before it, less its lengths."""
    return content.rindex(b'{"table"', 0, len(content) // 2) - 20


async def test_after_a_full_disk_the_next_is_whole(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken in for a file that did not come to be is not lost: no later file leaves it out."""
    await running.learn(500)
    await running.snapshots.take()
    await running.learn(50)
    with monkeypatch.context() as patched:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        patched.setattr(SnapshotWriter, "end", full)
        with pytest.raises(SnapshotRefused, match=r"No space left on device.*with room"):
            await running.snapshots.take()
    assert len(list(running.directory.glob("*.snapshot"))) == 1
    assert not list(running.directory.glob("*.partial"))
    now = await running.learn(5)
    name = await running.snapshots.take()
    assert name is not None
    assert SnapshotFile(Folder(running.directory), name).after is None
    assert read_snapshot(running.directory / name).header["state_hash"] == now
    assert resume(CONFIG, Folder(running.directory)).step.state_hash() == now


async def test_after_another_worker_has_removed_what_it_would_follow_the_next_is_whole(running: Running) -> None:
    """A worker that led before and stops writes nothing that hangs in the air."""
    await running.learn(500)
    await running.snapshots.take()
    other = Running(running.directory)
    other.snapshots.follow(other.resumed.copy, Chain())
    try:
        for _ in range(2):
            await other.learn(10)
            await other.snapshots.take()
            other.snapshots.follow(other.resumed.copy, Chain())
    finally:
        await other.thread.stop()
    now = await running.learn(10)
    await running.snapshots.take()
    store = Folder(running.directory)
    assert [SnapshotFile(store, path.name).after for path in list_snapshots(running.directory)] == [None, None]
    assert resume(CONFIG, store).step.state_hash() == now
