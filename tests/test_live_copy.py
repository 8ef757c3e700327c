"""Live copies: what was copied while the step learned is the step at one moment, whole files and changes alike."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from logs import chunk_of, turning_over

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.live_copy import LiveCopy
from millstream.online_learning.snapshot import Chain, Point, Stored, points
from millstream.online_learning.snapshot_file import SnapshotFile, SnapshotWriter
from millstream.online_learning.snapshot_store import Folder, writing
from millstream.online_learning.step import Step
from millstream.schemas.columns import InteractionColumns

CONFIG = LearningConfig(max_users=300, max_items=200, history_length=8, lists=("main", "buy"))
Between = Callable[[], None]
ALONE: AbstractContextManager[object] = nullcontext()


def take(
    copy: LiveCopy,
    store: Folder,
    chain: Chain,
    between: Between = lambda: None,
    turn: AbstractContextManager[object] = ALONE,
) -> Point:
    """One snapshot as a worker takes it: with `turn` what is the step's; `between` comes after each piece copied."""
    whole = chain.is_long
    name = f"state-{0:016d}-{len(points(store)) + 1:06d}.snapshot"
    with writing(store, name) as file:
        out = SnapshotWriter(file)
        for ask in ([copy.everything] if whole else []) + [copy.changed]:
            with turn:
                changes = ask()
            for copied in copy.copy(changes):
                copy.take_in(copied, out)
                between()
        with turn:
            moment = copy.moment({})
        between()
        copy.take_in(moment.copied, out)
        moment.header["state_hash"] = copy.state_hash(moment)
        if not whole:
            moment.header["after"] = chain.after
        crc = out.end(moment.header, moment.layout)
    point = points(store)[-1]
    chain.add((point.name, crc), out.bytes, whole)
    return point


def loaded(store: Folder, point: Point) -> tuple[Step, str]:
    """The step of a snapshot, and the hash it names."""
    stored = Stored(store, point.name)
    return Step.load(CONFIG, stored), stored.header["state_hash"]


class Learner:
    """A step that is given a log a few events at a time, and its hash after each time."""

    def __init__(self, log: InteractionColumns, config: LearningConfig = CONFIG) -> None:
        self.step = Step(config)
        self.hashes: list[str] = []
        self._log = log
        self._at = 0

    def learn(self, events: int) -> None:
        """Learn the next events."""
        part = self._log.cut(self._at, self._at + events)
        assert len(part) == events, "the log is too short for this test"
        self.step.apply(chunk_of(part), lists=False)
        self._at += events
        self.hashes.append(self.step.state_hash())


@pytest.fixture(scope="module")
def shop() -> InteractionColumns:
    """Purchases, carts and clicks; with the caps above, users and items are forgotten while it is learned."""
    return next(turning_over(6_000, users=250, items=150, user_life=2_000, item_life=2_500, at_once=6_000))


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 60), min_size=6, max_size=6))
def test_what_is_copied_between_events_is_the_step_at_its_moment(
    tmp_path_factory: pytest.TempPathFactory, shop: InteractionColumns, cuts: list[int]
) -> None:
    """Events come after every piece that is copied. Each file, read behind those before it, is the state it names."""
    learner, store, chain = Learner(shop), Folder(tmp_path_factory.mktemp("s")), Chain()
    copy = LiveCopy(learner.step)
    for cut in cuts:
        learner.learn(cut)
        point = take(copy, store, chain, lambda: learner.learn(2))
        again, named = loaded(store, point)
        # the last time it learned was behind the moment
        assert again.state_hash() == named == learner.hashes[-2]
    assert any(SnapshotFile(store, point.name).after for point in points(store))


def test_a_copy_goes_on_behind_what_was_loaded(tmp_path: Path, shop: InteractionColumns) -> None:
    """A step read back needs no whole snapshot again: its changes come after the file it came from."""
    learner, store, chain = Learner(shop), Folder(tmp_path), Chain()
    learner.learn(900)
    stored = Stored(store, take(LiveCopy(learner.step), store, chain).name)
    step = Step.load(CONFIG, stored)
    copy, chain = LiveCopy(step), Chain.of(stored)
    step.apply(chunk_of(shop.cut(900, 930)), lists=False)
    for known in copy.copy(copy.everything()):
        copy.take_in(known, None)  # the hash of what is in the files already
    point = take(copy, store, chain)
    learner.learn(30)
    again, named = loaded(store, point)
    assert again.state_hash() == named == learner.hashes[-1]
    assert SnapshotFile(store, point.name).after == (stored.newest.name, stored.newest.crc)


def test_copying_on_another_thread_while_the_step_learns(tmp_path: Path, shop: InteractionColumns) -> None:
    """No lock between the two but for `everything`, `changed` and `moment`, as in a worker."""
    learner, store, chain, turn = Learner(shop), Folder(tmp_path), Chain(), threading.Lock()
    learner.learn(500)
    copy, enough = LiveCopy(learner.step), threading.Event()

    def learn() -> None:
        for _ in range(130):
            with turn:
                learner.learn(40)
            if enough.is_set():
                return

    thread = threading.Thread(target=learn)
    thread.start()
    for _ in range(4):
        take(copy, store, chain, turn=turn)
    enough.set()
    thread.join()
    for point in points(store):
        again, named = loaded(store, point)
        assert again.state_hash() == named
        assert named in learner.hashes
