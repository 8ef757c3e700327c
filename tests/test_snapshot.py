"""Snapshots: whole or not there, refused when damaged, and the newest few kept."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from logs import chunk_of, columns_of, random_log

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.signals import SIGNALS
from millstream.online_learning.snapshot import (
    Dump,
    forget,
    list_snapshots,
    open_snapshot,
    points,
    read_newest,
    read_snapshot,
    write_snapshot,
)
from millstream.online_learning.snapshot_file import FORMAT, MAGIC, SnapshotFile, SnapshotWriter, UnreadableSnapshot
from millstream.online_learning.snapshot_store import Folder, writing
from millstream.online_learning.step import Step

FIXTURES = Path(__file__).parent / "fixtures"
CONFIG = LearningConfig(max_users=200, max_items=100)


def dump_at(seq: int, fill: int = 1) -> Dump:
    """A small dump with arrays of several kinds."""
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "part/value": np.full((3, 2), fill, np.float32),
        "part/when": np.arange(3, dtype=np.int64) * fill,
        "other/empty": np.zeros((0, 4), np.int32),
    }
    header = {"seq": seq, "config": {}, "positions": [["t", 0, seq]], "meta": {}}
    return Dump(header, arrays, ["ü", "u/2"], ["i"], ["film"])


def same(one: Dump, other: Dump) -> bool:
    return (
        one.header == other.header
        and (one.users, one.items, one.categories) == (other.users, other.items, other.categories)
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

    monkeypatch.setattr(SnapshotWriter, "ids", full)
    with pytest.raises(OSError, match="No space"):
        write_snapshot(dump_at(6), tmp_path, keep=1)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert same(dump_at(5), read_snapshot(path))


def test_the_newest_is_the_one_written_last(tmp_path: Path) -> None:
    """Not the one of most events: after going back to an older one, what follows it counts."""
    for seq in (900, 5, 5, 10**15, 20):
        write_snapshot(dump_at(seq), tmp_path, keep=9)
    assert [read_snapshot(path).seq for path in list_snapshots(tmp_path)] == [900, 5, 5, 10**15, 20]
    newest = read_newest(tmp_path)
    assert newest is not None
    assert newest.seq == 20


def add_changes(store: Folder, seq: int, row: int, value: int) -> str:
    """A file that says what one row holds, behind the newest one; return its name."""
    newest = points(store)[-1]
    known = SnapshotFile(store, newest.name)
    name = f"state-{seq:016d}-{newest.turn + 1:06d}.snapshot"
    with writing(store, name) as file:
        out = SnapshotWriter(file)
        arrays = {"value": np.full((1, 2), value, np.float32), "when": np.array([value], np.int64)}
        out.rows("part", np.array([row]), arrays)
        out.ids("users", np.array([row]), [f"new{value}"])
        out.end({**known.header, "seq": seq, "after": [newest.name, known.crc]}, known.layout)
    return name


def test_changes_are_read_behind_what_they_come_after(tmp_path: Path) -> None:
    """Rows and ids of the later file count; each file of the chain can be gone back to."""
    first, store = write_snapshot(dump_at(5), tmp_path, keep=1), Folder(tmp_path)
    add_changes(store, 6, row=1, value=7)
    add_changes(store, 7, row=2, value=8)
    whole, one, both = (read_snapshot(tmp_path / point.name) for point in points(store))
    assert same(whole, dump_at(5)), first
    assert one.arrays["part/when"].tolist() == [0, 7, 2]
    assert both.arrays["part/when"].tolist() == [0, 7, 8]
    assert both.arrays["part/value"].tolist() == [[1, 1], [7, 7], [8, 8]]
    assert (one.users, both.users) == (["ü", "new7"], ["ü", "new7", "new8"])
    assert (both.seq, both.items, both.categories) == (7, ["i"], ["film"])


def test_changes_behind_a_file_that_is_gone_or_another_are_refused(tmp_path: Path) -> None:
    """A chain is whole or it is not used: the error names the file that is not what it was."""
    first, store = write_snapshot(dump_at(5), tmp_path, keep=1), Folder(tmp_path)
    last = tmp_path / add_changes(store, 6, row=1, value=7)
    first.write_bytes(write_snapshot(dump_at(5, fill=3), tmp_path / "other", keep=1).read_bytes())
    with pytest.raises(UnreadableSnapshot, match=f"{last.name}: damaged .*{first.name} is not the file it comes after"):
        read_snapshot(last)
    first.unlink()
    with pytest.raises(UnreadableSnapshot, match=first.name):
        read_snapshot(last)


def test_whole_ones_are_kept_with_what_comes_after_them(tmp_path: Path) -> None:
    """`keep` counts whole snapshots; what came before the oldest kept is removed, a damaged file behind it is not."""
    store, kept = Folder(tmp_path), []
    for seq in (10, 20, 30):
        kept.append(write_snapshot(dump_at(seq), tmp_path, keep=9).name)
        kept.append(add_changes(store, seq + 1, row=1, value=seq))
    (tmp_path / kept[-1]).write_bytes(b"millstream snapshot 2\n")
    forget(store, keep=2)
    assert [point.name for point in points(store)] == kept[2:]
    forget(store, keep=1)
    assert [point.name for point in points(store)] == kept[4:]


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
    """Any byte flipped: refused by name with the remedy."""
    damaged = bytearray(whole)
    damaged[place % len(whole)] ^= flip
    with pytest.raises(UnreadableSnapshot) as refused:
        read_bytes(tmp_path, bytes(damaged))
    assert "state-0000000000000003.snapshot" in str(refused.value)
    assert "delete it" in str(refused.value) or "run the version that wrote it" in str(refused.value)


@in_one_folder
@given(length=st.integers(0, 2**20))
def test_a_truncated_file_is_refused(tmp_path: Path, whole: bytes, length: int) -> None:
    """A file that ends early is damaged, empty ones included."""
    with pytest.raises(UnreadableSnapshot, match="damaged"):
        read_bytes(tmp_path, whole[: length % len(whole)])


def test_a_newer_format_is_refused_with_what_to_run(tmp_path: Path, whole: bytes) -> None:
    """The error names both formats and sends people to the version that wrote it."""
    newer = whole.replace(MAGIC, b"millstream snapshot %d\n" % (FORMAT + 1))
    with pytest.raises(UnreadableSnapshot, match=f"format {FORMAT + 1}, this version reads up to {FORMAT}; run the"):
        read_bytes(tmp_path, newer)


def test_a_header_that_lacks_something_is_damaged(tmp_path: Path) -> None:
    """Never a KeyError: the file and the remedy."""
    out = io.BytesIO()
    SnapshotWriter(out).end({}, {})
    with pytest.raises(UnreadableSnapshot, match=r"damaged \('seq'\)"):
        read_bytes(tmp_path, out.getvalue())


def test_format_1_is_read(tmp_path: Path) -> None:
    """A kept file of the format before: the same state, by its hash with the signals of now, and its positions.

    That version wrote it, of 400 simulated events: `random_log(400, users=40, items=30, seed=1)`. No real log is in it.
    """
    path = tmp_path / "state-0000000000000400.snapshot"
    path.write_bytes(gzip.decompress((FIXTURES / "state-format-1.snapshot.gz").read_bytes()))
    step = Step.load(LearningConfig(max_users=64, max_items=64), open_snapshot(Folder(tmp_path), path.name))
    assert step.arena.was_narrower
    assert step.state_hash() == "816066cbeb02e2d726cfa28ad72f70bf"
    assert step.positions == {("interactions", 0): 400}
    # it knew fewer signals; those that came since begin as in a new model
    then = read_snapshot(path).arrays["blend/weight"]
    now, new = step.model.blend.weight, Step(CONFIG).model.blend.weight
    known = then.shape[1]
    assert (known, now.shape[1]) == (48, SIGNALS)
    np.testing.assert_array_equal(now[:, :known], then)
    np.testing.assert_array_equal(now[:, known:], new[:, known:])
    assert read_snapshot(path).header["meta"]["unpublished"] == ["u1"]


def test_a_damaged_file_of_format_1_is_refused(tmp_path: Path) -> None:
    """By name, with the remedy."""
    content = gzip.decompress((FIXTURES / "state-format-1.snapshot.gz").read_bytes())
    path = tmp_path / "state-0000000000000400.snapshot"
    for cut in (content[:2], content[: len(content) // 2], content.replace(b"histories", b"histories", 1)[:-1]):
        path.write_bytes(cut)
        with pytest.raises(UnreadableSnapshot, match=r"state-0000000000000400\.snapshot: damaged .*delete it"):
            read_snapshot(path)


def test_other_settings_are_named_when_a_snapshot_is_loaded(tmp_path: Path) -> None:
    """Each setting that differs, with both values and what to do."""
    write_snapshot(Step(CONFIG).dump(), tmp_path, keep=1)
    dump = read_newest(tmp_path)
    assert dump is not None
    with pytest.raises(ValueError, match=r"learning\.max_users = 300, was 200; put them back, or start without it"):
        Step.load(LearningConfig(max_users=300, max_items=100), dump)
