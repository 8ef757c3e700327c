"""What a user was shown at some point of the past: a snapshot from before, and the log from there on.

The order of events is recorded, so the list comes out as it did then, byte for byte save for when it was generated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from millstream.online_learning.order import OrderPosition, Part
from millstream.online_learning.snapshot import open_snapshot, points, read_dump
from millstream.online_learning.snapshot_file import UnreadableSnapshot
from millstream.online_learning.snapshot_store import Store
from millstream.online_learning.step import Step
from millstream.schemas.columns import InteractionColumns
from millstream.schemas.records import Slate, Version
from millstream.schemas.slates import EncodedSlate, decode_slate
from millstream.streams.settings import Settings

from .refold import PastGone, Refold
from .resume import positions_of


class NotServed(PastGone):
    """There was no such list; the message says what there was."""


@dataclass(frozen=True, slots=True)
class Served:
    """A list of the past."""

    slate: Slate
    since: str
    """The snapshot it was made from; empty: from the beginning of the log."""
    events: int
    """Events folded for it."""


@dataclass(frozen=True, slots=True)
class _Start:
    name: str
    step: Step
    order: OrderPosition
    positions: dict[tuple[str, int], int]


OnProgress = Callable[[int, int], None]
"""Hears how many offsets are folded, of how many at most."""


def served(
    settings: Settings,
    store: Store,
    user_id: str,
    at: int | Version,
    *,
    list_name: str = "main",
    on_progress: OnProgress = lambda done, of: None,
) -> Served:
    """Return the list of a user that stood at a position of their partition, or the one of a version.

    At a position that is the list made after the user's last event before it. The newest snapshot that is old enough is
    gone on from; without one, the beginning of the log. Raises `NotServed`, and as `Refold` does.
    """
    for start in _starts(settings, store, user_id, at):
        fold = Refold(settings, start.order, start.positions)
        find = _at_version if isinstance(at, Version) else _at_position
        before = start.step.seq
        slate = find(start.step, _shown(fold, on_progress), user_id, at, list_name)  # type: ignore[arg-type]  # by `find`
        if slate is not None:
            found = decode_slate(slate.stored, list_name=list_name, user_id=user_id)
            return Served(found, start.name, start.step.seq - before)
    raise NotServed(f"user {user_id!r} had no list {list_name!r} at {_said(at)}: none of their events came before it")


def _shown(fold: Refold, on_progress: OnProgress) -> Iterator[Part]:
    of = fold.events
    for part in fold.parts():
        yield part
        on_progress(of - fold.events, of)


def _starts(settings: Settings, store: Store, user_id: str, at: int | Version) -> Iterator[_Start]:
    """Yield the states to go on from, the newest that may do first, and last the beginning of the log."""
    inputs = tuple(each.topic for each in settings.inputs)
    found = points(store)
    home = _home(store, found[-1].name, user_id) if found and not isinstance(at, Version) else None
    for point in reversed(found):
        try:
            saved = open_snapshot(store, point.name)
            header = saved.header
            if isinstance(at, Version):
                is_before = header["seq"] + sum(end for *_, end in header.get("catalogue", ())) < at.revision
            else:
                stands = sum(end for topic, partition, end in header["positions"] if partition == home)
                is_before = home is not None and stands < at
            if is_before:
                step = Step.load(settings.learning, saved, inputs)
                order = OrderPosition(*header["meta"].get("order", ()))
                yield _Start(f"{store.address}/{point.name}", step, order, positions_of(step, header["meta"]))
        except UnreadableSnapshot:
            continue
    yield _Start("", Step(settings.learning, inputs), OrderPosition(), {})


def _home(store: Store, name: str, user_id: str) -> int | None:
    """Return the partition of a user's last event, if the newest snapshot knows of one."""
    dump = read_dump(store, name, ("histories",))
    try:
        row = dump.users.index(user_id)
    except ValueError:
        return None
    return int(dump.arrays["histories/partition"][row])


def _at_position(step: Step, parts: Iterator[Part], user_id: str, at: int, list_name: str) -> EncodedSlate | None:
    """Return the last list made after an event of the user up to the position."""
    found: EncodedSlate | None = None
    home = -1
    for part in parts:
        for slate in _learn(step, part, user_id, list_name):
            if slate.version.position > at:
                return found
            found, home = slate, part.chunk.partition
        if found is not None and sum(end for (_, number), end in step.positions.items() if number == home) >= at:
            return found
    return found


def _at_version(step: Step, parts: Iterator[Part], user_id: str, at: Version, list_name: str) -> EncodedSlate:
    """Return the list as of the event, or record of the catalogue, that the version names by its revision."""
    made: list[EncodedSlate] = []
    for part in parts:
        pieces = [part]
        if step.revision + part.chunk.end - part.chunk.start >= at.revision:
            ends = range(1, len(part.chunk) + 1)
            pieces = [part._replace(chunk=part.chunk.cut(end - 1, end)) for end in ends]
        for piece in pieces:
            made = _learn(step, piece, user_id, list_name)
            if step.revision == at.revision:
                # also what was made without an event, when the partition was taken over, say
                made = made or _of(step.relist([user_id]).encoded(0), list_name)
                if not made or made[0].version != at:
                    there = "none" if not made else _said(made[0].version)
                    raise NotServed(f"user {user_id!r} had no list {_said(at)}: after that theirs is {there}")
                return made[0]
    raise NotServed(f"user {user_id!r} had no list {_said(at)}: the order ends at revision {step.revision:,}")


def _learn(step: Step, part: Part, user_id: str, list_name: str) -> list[EncodedSlate]:
    """Learn a part; return the lists that the user's events in it make."""
    columns = part.chunk.columns
    lists: bool | NDArray[np.bool_] = False
    if isinstance(columns, InteractionColumns):
        lists = np.array([user == user_id for user in columns.user_ids])
    return _of(step.apply(part.chunk, lists=lists, train_every=part.train_every).encoded(0), list_name)


def _of(slates: list[EncodedSlate], list_name: str) -> list[EncodedSlate]:
    return [slate for slate in slates if slate.list == list_name]


def _said(at: int | Version) -> str:
    return f"{at:,}" if isinstance(at, int) else f"{at.generation}.{at.position}.{at.revision}"
