"""Snapshots: whole or not there, refused when damaged, and the newest few kept."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from logs import chunk_of, columns_of, random_log

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.snapshot import (
    FORMAT,
    HEADER,
    Dump,
    UnreadableSnapshot,
    list_snapshots,
    read_newest,
    read_snapshot,
    write_snapshot,
)
from millstream.online_learning.step import Step

CONFIG = LearningConfig(max_users=200, max_items=100)


def dump_at(seq: int, fill: int = 1) -> Dump:
    """A small dump with arrays of several kinds."""
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "part/value": np.full((3, 2), fill, np.float32),
        "part/when": np.arange(5, dtype=np.int64) * fill,
        "other/empty": np.zeros((0, 4), np.int32),
    }
    return Dump({"seq": seq, "config": {}, "positions": [["t", 0, seq]], "meta": {}}, arrays, ["ü", "u/2"], ["i"])


def same(one: Dump, other: Dump) -> bool:
    return (
        one.header == {key: value for key, value in other.header.items() if key != "format"}
        and (one.users, one.items) == (other.users, other.items)
        and one.arrays.keys() == other.arrays.keys()
        and all(
            one.arrays[name].dtype == other.arrays[name].dtype
            and one.arrays[name].shape == other.arrays[name].shape
            and one.arrays[name].tobytes() == other.arrays[name].tobytes()
            for name in one.arrays
        )
    )


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    """Header, ids and every array, type and shape included."""
    dump = dump_at(7)
    path = write_snapshot(dump, tmp_path / "deep" / "folder", keep=3)
    assert same(dump, read_snapshot(path))
    newest = read_newest(path.parent)
    assert newest is not None
    assert same(dump, newest)
    assert newest.seq == 7


def test_a_step_goes_through_a_file_unchanged(tmp_path: Path) -> None:
    """The step that comes back has the hash of the one that went, odd ids included."""
    step = Step(CONFIG)
    step.apply(chunk_of(random_log(500, users=50, items=40, seed=1)), lists=False)
    odd = columns_of(["ü\n", "名", '"'], ["a b", "i/0", "\\"], offsets=range(500, 503))
    step.apply(chunk_of(odd))
    write_snapshot(step.dump({"topic_ids": {"interactions": "x"}}), tmp_path, keep=1)
    dump = read_newest(tmp_path)
    assert dump is not None
    assert dump.header["meta"] == {"topic_ids": {"interactions": "x"}}
    assert Step.load(CONFIG, dump).state_hash() == step.state_hash()


def test_only_the_tables_asked_for_are_read(tmp_path: Path) -> None:
    """Header and ids are there all the same; a table that the file does not have is no error here."""
    path = write_snapshot(dump_at(7), tmp_path, keep=3)
    dump = read_snapshot(path, tables=("other", "absent"))
    assert dump.arrays.keys() == {"other/empty"}
    assert (dump.seq, dump.users, dump.items) == (7, ["ü", "u/2"], ["i"])


def test_there_is_none_in_an_empty_or_absent_folder(tmp_path: Path) -> None:
    """No snapshot is None, not an error."""
    assert read_newest(tmp_path) is None
    assert read_newest(tmp_path / "absent") is None


def test_a_write_that_was_cut_off_is_ignored(tmp_path: Path) -> None:
    """A `.partial` left over by a crash is no snapshot, whatever it holds and however new."""
    path = write_snapshot(dump_at(5), tmp_path, keep=2)
    (tmp_path / "state-0000000000000009.123.partial").write_bytes(path.read_bytes()[:100])
    newest = read_newest(tmp_path)
    assert newest is not None
    assert newest.seq == 5
    assert list_snapshots(tmp_path) == [path]


def test_a_write_that_fails_leaves_the_old_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new name appears only after everything is on disk: a full disk half-way changes nothing."""
    path = write_snapshot(dump_at(5), tmp_path, keep=1)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(OSError, match="No space"):
        write_snapshot(dump_at(6), tmp_path, keep=1)
    assert list_snapshots(tmp_path) == [path]
    assert same(dump_at(5), read_snapshot(path))


def test_a_snapshot_at_the_same_event_replaces_the_older_one(tmp_path: Path) -> None:
    """Positions can move without an event: the later copy counts."""
    write_snapshot(dump_at(5, fill=1), tmp_path, keep=3)
    path = write_snapshot(dump_at(5, fill=2), tmp_path, keep=3)
    assert list_snapshots(tmp_path) == [path]
    assert same(dump_at(5, fill=2), read_snapshot(path))


def test_the_newest_few_are_kept(tmp_path: Path) -> None:
    """By event number, not by name length or time of writing."""
    for seq in (5, 900, 1_000, 20, 10**15):
        write_snapshot(dump_at(seq), tmp_path, keep=3)
    assert [read_snapshot(path).seq for path in list_snapshots(tmp_path)] == [900, 1_000, 10**15]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a good snapshot."""
    return write_snapshot(dump_at(3), tmp_path_factory.mktemp("good"), keep=1).read_bytes()


def read_bytes(folder: Path, content: bytes) -> Dump:
    path = folder / "state-0000000000000003.snapshot"
    path.write_bytes(content)
    return read_snapshot(path)


in_one_folder = settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])


@in_one_folder
@given(place=st.integers(0, 2**20), flip=st.integers(1, 255))
def test_a_damaged_byte_is_noticed_wherever_it_is(tmp_path: Path, whole: bytes, place: int, flip: int) -> None:
    """Any byte flipped: refused by name with the remedy, or (in the archive's own clock and flags) of no effect."""
    damaged = bytearray(whole)
    damaged[place % len(whole)] ^= flip
    try:
        read = read_bytes(tmp_path, bytes(damaged))
    except UnreadableSnapshot as error:
        refusal = str(error)
    else:
        assert same(dump_at(3), read)
        return
    assert "state-0000000000000003.snapshot" in refusal
    assert "delete it" in refusal or "run the version that wrote it" in refusal


def test_every_byte_of_the_data_is_guarded(tmp_path: Path, whole: bytes) -> None:
    """A flip inside the header or an array is always refused."""
    with zipfile.ZipFile(write_snapshot(dump_at(3), tmp_path / "good", keep=1)) as archive:
        members = archive.infolist()
    for member in members:
        content = whole.index(b"PK\x03\x04", member.header_offset) + 30 + len(member.filename)
        for at in range(content + 24, content + 24 + member.file_size - 24, 7):
            damaged = bytearray(whole)
            damaged[at] ^= 0x10
            with pytest.raises(UnreadableSnapshot):
                read_bytes(tmp_path, bytes(damaged))


@in_one_folder
@given(length=st.integers(0, 2**20))
def test_a_truncated_file_is_refused(tmp_path: Path, whole: bytes, length: int) -> None:
    """A file that ends early is damaged, empty ones included."""
    with pytest.raises(UnreadableSnapshot, match="damaged"):
        read_bytes(tmp_path, whole[: length % len(whole)])


def rewritten(whole: bytes, tmp_path: Path, change: dict[str, Any]) -> Path:
    """The snapshot with other header entries; None removes one."""
    path, source = tmp_path / "state-0000000000000004.snapshot", tmp_path / "source"
    source.write_bytes(whole)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == HEADER:
                header = {**json.loads(content), **change}
                content = json.dumps({key: value for key, value in header.items() if value is not None}).encode()
            new.writestr(name, content)
    return path


def test_a_newer_format_is_refused_with_what_to_run(tmp_path: Path, whole: bytes) -> None:
    """The error names both formats and sends people to the version that wrote it."""
    path = rewritten(whole, tmp_path, {"format": FORMAT + 1})
    with pytest.raises(UnreadableSnapshot, match=f"format {FORMAT + 1}, this version reads up to {FORMAT}; run the"):
        read_snapshot(path)


@pytest.mark.parametrize("key", ["format", "users", "items", "arrays"])
def test_a_header_that_lacks_something_is_damaged(tmp_path: Path, whole: bytes, key: str) -> None:
    """Never a KeyError: the file and the remedy."""
    with pytest.raises(UnreadableSnapshot, match="damaged"):
        read_snapshot(rewritten(whole, tmp_path, {key: None}))


def test_other_settings_are_named_when_a_snapshot_is_loaded(tmp_path: Path) -> None:
    """Each setting that differs, with both values and what to do."""
    write_snapshot(Step(CONFIG).dump(), tmp_path, keep=1)
    dump = read_newest(tmp_path)
    assert dump is not None
    with pytest.raises(ValueError, match=r"learning\.max_users = 300, was 200; put them back, or start without it"):
        Step.load(LearningConfig(max_users=300, max_items=100), dump)
