"""What a user puts away: pushed down or kept off, for that user alone, until they choose it or time passes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from logs import chunk_of, columns_of, random_log

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.dismissals import HALF_LIFE_S, PLACES, PUSH, pushed_down
from millstream.online_learning.step import INTERACTIONS, NOBODY, Step
from millstream.schemas.columns import Chunk, InteractionColumns
from millstream.schemas.records import Kind, Slate

CONFIG = LearningConfig(max_users=64, max_items=64, neighbours_per_item=16)
LOG = random_log(600, users=20, items=30, seed=5)


def step_with(*events: tuple[str, str, Kind]) -> tuple[Step, dict[str, Slate]]:
    """Learn the log, then the events, a second apart; return the last list these made of each user."""
    step = Step(CONFIG)
    step.apply(chunk_of(LOG), lists=False)
    made: dict[str, Slate] = {}
    for offset, (user, item, kind) in enumerate(events, start=len(LOG)):
        at_ms = np.array([step.last_ms + 1_000])
        kinds, offsets = np.array([kind], np.int8), np.array([offset])
        columns = replace(columns_of([user], [item]), kinds=kinds, ts_ms=at_ms, as_of_ms=at_ms, offsets=offsets)
        applied = step.apply(Chunk(INTERACTIONS, 0, offset, offset + 1, columns))
        made |= {slate.user_id: slate for slate in applied.slates(0)}
    return step, made


def place(slate: Slate, item: str) -> int | None:
    return next((at for at, each in enumerate(slate.items) if each.item_id == item), None)


def first_item(user: str) -> str:
    step, _ = step_with()
    return step.relist([user]).slates(0)[0].items[0].item_id


def test_a_dismissed_item_falls_and_its_reasons_say_why() -> None:
    """The list is made anew at once; the item's reasons hold what it lost, and still sum to its score."""
    item = first_item("u1")
    _, made = step_with(("u1", item, Kind.dismiss))
    now = place(made["u1"], item)
    assert now != 0
    if now is not None:
        shown = made["u1"].items[now]
        lost = [reason.contribution for reason in shown.reasons if reason.signal == "dismissed"]
        assert lost == [pytest.approx(-float(PUSH), rel=1e-3)]
        assert sum(reason.contribution for reason in shown.reasons) == pytest.approx(shown.score, rel=1e-4)


def test_a_hidden_item_is_gone_and_for_its_user_alone() -> None:
    """Off the list however well it scores; on the lists of others nothing changes."""
    item = first_item("u1")
    step, made = step_with(("u1", item, Kind.hide))
    assert place(made["u1"], item) is None
    calm, _ = step_with(("u1", item, Kind.impression))
    others = [user for user in step.users.ids if user != "u1"]
    assert [slate.items for slate in step.relist(others).slates(0)] == [
        slate.items for slate in calm.relist(others).slates(0)
    ]


def test_choosing_an_item_takes_its_dismissal_back() -> None:
    """A click after a hide: it may be listed again."""
    item = first_item("u1")
    _, made = step_with(("u1", item, Kind.hide), ("u1", item, Kind.click))
    assert place(made["u1"], item) is not None


def test_a_dismissal_fades() -> None:
    """Half of it is left after its half-life, next to nothing after ten."""
    item = first_item("u1")
    step, _ = step_with(("u1", item, Kind.dismiss))
    row, user = step.items.row(item), step.users.row("u1")
    left = [
        float(pushed_down(step.model.dismissals, user, row, step.last_ms + int(HALF_LIFE_S * 1_000 * lives)))
        for lives in (0, 1, 10)
    ]
    assert left == pytest.approx([PUSH, PUSH / 2, PUSH / 1024], rel=1e-3)


def test_the_latest_are_remembered() -> None:
    """One more than there are places: the first may come back, the others may not; twice the same takes one place."""
    items = [f"i{number}" for number in range(PLACES + 1)]
    again = (*items[:-1], items[-2], items[-1])
    step, made = step_with(*(("u1", item, Kind.hide) for item in again))
    assert all(place(made["u1"], item) is None for item in items[1:])
    kept = step.model.dismissals.item[step.users.row("u1")]
    assert sorted((-kept - 1).tolist()) == sorted(step.items.row(item) for item in items[1:])


def test_a_user_of_whom_only_a_dismissal_is_known_has_a_list() -> None:
    """Without what they put away."""
    step, _ = step_with()
    popular = step.relist([NOBODY]).slates(0)[0].items
    _, made = step_with(("new", popular[0].item_id, Kind.hide))
    assert popular[0].item_id not in [item.item_id for item in made["new"].items]
    assert len(made["new"].items) >= len(popular) - 1


def mixed() -> InteractionColumns:
    """The log with a tenth of its events dismissals and hides."""
    rng = np.random.default_rng(1)
    away = rng.choice([Kind.dismiss, Kind.hide], len(LOG))
    return replace(LOG, kinds=np.where(rng.random(len(LOG)) < 0.1, away, LOG.kinds).astype(np.int8))


def test_dismissals_are_state() -> None:
    """Where the log is cut and where it is dumped and loaded changes nothing; that they happened does."""
    whole = Step(CONFIG)
    whole.apply(chunk_of(mixed()), lists=False)
    cut = Step(CONFIG)
    cut.apply(chunk_of(mixed()).cut(0, 250), lists=False)
    cut = Step.load(CONFIG, cut.dump())
    cut.apply(chunk_of(mixed()).cut(250, len(LOG)), lists=False)
    assert cut.state_hash() == whole.state_hash()
    without = Step(CONFIG)
    kinds = np.where(mixed().kinds == Kind.click, Kind.click, Kind.impression).astype(np.int8)
    without.apply(chunk_of(replace(LOG, kinds=kinds)), lists=False)
    assert without.state_hash() != whole.state_hash()
