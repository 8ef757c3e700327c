"""Snapshots elsewhere: a bucket of an S3 that runs on this machine, and what a driver's errors become."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest
from fsspec.registry import known_implementations  # type: ignore[import-untyped]
from logs import chunk_of, simulated
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem  # type: ignore[import-untyped]

from millstream.agents.resume import resume
from millstream.agents.seat import seats_of
from millstream.agents.stored_snapshots import entries, restore, verify
from millstream.online_learning.config import LearningConfig
from millstream.online_learning.live_copy import write_whole
from millstream.online_learning.snapshot import forget, points
from millstream.online_learning.snapshot_file import UnreadableSnapshot
from millstream.online_learning.snapshot_remote import Remote, open_store
from millstream.online_learning.snapshot_store import Folder
from millstream.online_learning.step import Step
from millstream.streams.settings import WrongSettings, load_settings

CONFIG = LearningConfig(max_users=2_000, max_items=1_000)
SHOP = simulated(1_000)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An empty bucket's address; the drivers find its server, and who they are, in their environment."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patched.setenv(name, "testing")
        patched.setenv("AWS_DEFAULT_REGION", "us-east-1")
        S3FileSystem.clear_instance_cache()
        S3FileSystem().mkdir("millstream")
        yield "s3://millstream/snapshots"
        S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(params=["bucket", "folder"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Either place, empty."""
    if request.param == "folder":
        return str(tmp_path / "snapshots")
    found: str = request.getfixturevalue("bucket")
    return f"{found}/{tmp_path.name}"


def _learned(events: int) -> Step:
    step = Step(CONFIG)
    step.apply(chunk_of(SHOP.cut(0, events)), lists=False)
    return step


def test_what_is_kept_in_one_place_works_in_the_other(address: str) -> None:
    """Listed, verified, gone back to, gone on from; the older ones are removed."""
    store = open_store(address)
    assert points(store) == []
    store.check()
    steps = [_learned(400), _learned(800)]
    for step in steps:
        write_whole(step, store, {"state_hash": step.state_hash()})
    found = entries(store)
    assert [(each.events, each.problem) for each in found] == [(400, None), (800, None)]
    assert all(each.bytes > 10_000 for each in found)
    assert [verify(store, each.name) for each in found] == [step.state_hash() for step in steps]
    assert resume(CONFIG, store).step.state_hash() == steps[1].state_hash()
    restore(store, found[0].name)
    resumed = resume(CONFIG, store)
    assert (resumed.step.state_hash(), resumed.path) == (steps[0].state_hash(), f"{address}/{entries(store)[-1].name}")
    forget(store, keep=1)
    assert len(points(store)) == 1


def test_a_file_is_there_whole_or_not_at_all(address: str) -> None:
    """One that is given up leaves nothing, and no name is taken twice."""
    store = open_store(address)
    given_up = store.create()
    given_up.file.write(b"half")
    assert store.names() == []
    given_up.give_up()
    assert store.names() == []
    for name in ("a", "b"):
        made = store.create()
        made.file.write(name.encode())
        made.finish(name)
    late = store.create()
    with pytest.raises(FileExistsError, match="a is there already"):
        late.finish("a")
    late.finish("c")
    assert sorted(store.names()) == ["a", "b", "c"]
    assert (store.open("b").read(), store.size("c")) == (b"b", 0)
    store.remove("b")
    store.remove("b")
    assert sorted(store.names()) == ["a", "c"]


def test_what_is_half_there_is_refused(bucket: str, tmp_path: Path) -> None:
    """As in a folder: named, and the one before is used."""
    store = open_store(f"{bucket}/{tmp_path.name}")
    whole = write_whole(_learned(300), store, {})
    later = write_whole(_learned(400), store, {})
    content = store.open(later.name).read()
    store.remove(later.name)
    made = store.create()
    made.file.write(content[: len(content) // 2])
    made.finish(later.name)
    with pytest.raises(UnreadableSnapshot, match=f"{later.name}: damaged"):
        verify(store, later.name)
    assert resume(CONFIG, store).path == f"{store.address}/{whole.name}"


def test_what_a_driver_raises_is_an_error_with_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has errors of its own; to whoever writes or reads a snapshot they are all `OSError`."""
    store = Remote("memory://there")
    made = store.create()
    made.finish("file")
    file = store.open("file")
    files = fsspec.filesystem("memory")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the line is down")

    for name in ("ls", "pipe_file", "size", "rm_file", "open", "put_file"):
        monkeypatch.setattr(type(files), name, broken)
    monkeypatch.setattr(type(files.store["/there/file"]), "read", broken)
    again = store.create()
    for ask in (
        store.names,
        store.check,
        lambda: store.size("file"),
        lambda: store.open("file"),
        lambda: store.remove("file"),
        lambda: again.finish("other"),
        file.read,
    ):
        with pytest.raises(OSError, match="memory://there: the line is down"):
            ask()


def test_an_address_without_a_driver_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named with its value and what could stand there."""
    with pytest.raises(WrongSettings, match=r"snapshots.directory = 'nowhere://x': .*must be a folder or an address"):
        load_settings(snapshots={"directory": "nowhere://x"})
    monkeypatch.setitem(known_implementations, "far", {"class": "no.Such", "err": "Install far"})
    with pytest.raises(WrongSettings, match=r"snapshots.directory = 'far://x': Install far beside Millstream"):
        load_settings(snapshots={"directory": "far://x"})
    assert load_settings(snapshots={"directory": "memory://x"}).snapshots.directory == "memory://x"


def test_seats_are_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the snapshots in a folder; for an address with what this machine keeps, by address."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert seats_of(Folder(tmp_path / "here")) == tmp_path / "here"
    one, other = seats_of(Remote("memory://a")), seats_of(Remote("memory://b"))
    assert one != other
    assert one.parent == tmp_path / "millstream"
