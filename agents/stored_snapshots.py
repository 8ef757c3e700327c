"""What lies in a folder of snapshots: each with what it says of itself, and whether it is what it says.

To verify one is to read it as a start does: the checksum of every frame, then the state's hash beside the one it names.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.live_copy import write_whole
from millstream.online_learning.snapshot import Point, Saved, Stored, open_snapshot, points
from millstream.online_learning.snapshot_file import UnreadableSnapshot
from millstream.online_learning.snapshot_store import Store
from millstream.online_learning.step import Step

from .made_with import made_with


@dataclass(frozen=True, slots=True)
class Entry:
    """One snapshot as its file says."""

    name: str
    events: int
    """Events the state contains."""
    bytes: int
    after: str | None = None
    """The file whose changes it holds; None: it is whole."""
    state_hash: str | None = None
    positions: dict[str, int] | None = None
    """Next offset by `topic[partition]`."""
    made_with: dict[str, str] | None = None
    problem: str | None = None
    """Why it cannot be read; None: nothing is known against it."""


def entries(store: Store) -> list[Entry]:
    """Return what lies in a store, oldest first; of each the header is looked at, and that nothing is missing."""
    return [_entry(store, point) for point in points(store)]


def _entry(store: Store, point: Point) -> Entry:
    size = store.size(point.name)
    try:
        saved = open_snapshot(store, point.name)
    except UnreadableSnapshot as error:
        return Entry(point.name, point.seq, size, problem=str(error))
    after = saved.newest.after if isinstance(saved, Stored) else None
    return Entry(
        point.name,
        int(saved.header["seq"]),
        size,
        after=None if after is None else after[0],
        state_hash=saved.header.get("state_hash"),
        positions={f"{topic}[{partition}]": end for topic, partition, end in saved.header["positions"]},
        made_with=saved.header.get("made_with"),
    )


def verify(store: Store, name: str) -> str:
    """Return the state hash of a snapshot, read whole. Raises `UnreadableSnapshot` where it is not what it says."""
    return _read(store, name)[1]


def begin(step: Step, store: Store, topic_ids: dict[str, str]) -> str:
    """Write a first snapshot of a step that goes on at its positions, ahead of any order; return its place."""
    places = [[topic, partition, offset] for (topic, partition), offset in step.positions.items()]
    meta = {"topic_ids": topic_ids, "begun": places}
    header = {"meta": meta, "state_hash": step.state_hash(), "made_with": made_with()}
    return f"{store.address}/{write_whole(step, store, header).name}"


def restore(store: Store, name: str, into: Store | None = None) -> str:
    """Write the state of a snapshot once more, as the newest one (there or `into` another), whole; return its name.

    Nothing is removed. Raises `UnreadableSnapshot`, and `OSError` where it cannot be written.
    """
    saved, state_hash, step = _read(store, name)
    kept: dict[str, Any] = {key: saved.header[key] for key in ("meta", "made_with") if key in saved.header}
    return write_whole(step, into or store, {**kept, "state_hash": state_hash}).name


def _read(store: Store, name: str) -> tuple[Saved, str, Step]:
    saved = open_snapshot(store, name)
    try:
        topics = sorted({topic for topic, _, _ in saved.header["positions"]})
        step = Step.load(config_of(saved.header["config"]), saved, topics)
    except (LookupError, TypeError) as error:
        raise UnreadableSnapshot(f"{store.address}/{name}: its header lacks something ({error})") from error
    state_hash, named = step.state_hash(), saved.header.get("state_hash")
    if named is not None and named != state_hash and not step.arena.was_narrower:
        raise UnreadableSnapshot(f"{store.address}/{name}: the state it holds is {state_hash}, it says {named}")
    return saved, state_hash, step


def config_of(plain: dict[str, Any]) -> LearningConfig:
    """Return the settings that a header holds, as far as there still are such."""
    known = {each.name for each in fields(LearningConfig)}
    kept: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in plain.items() if key in known
    }
    return LearningConfig(**kept)
