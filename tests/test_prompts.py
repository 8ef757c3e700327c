"""Prompts: which surface a user is on, what a context adds, and lists that differ by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest
from logs import SMALL, chunk_of, columns_of, random_log

from millstream.online_learning.histories import SESSION_GAP_MS
from millstream.online_learning.interest import BLOCK, WIDTH
from millstream.online_learning.prompts import SURFACES, add_prompts, session_kind
from millstream.online_learning.step import Step
from millstream.schemas.columns import InteractionColumns
from millstream.schemas.decode import InteractionDecoder
from millstream.schemas.mapping import InputMapping
from millstream.schemas.records import Kind
from millstream.schemas.surfaces import surface_hash

DAY_MS = 86_400_000


def on(columns: InteractionColumns, surfaces: list[str]) -> InteractionColumns:
    hashes = [surface_hash({"surface": name} if name else None) for name in surfaces]
    return replace(columns, surfaces=np.array(hashes, np.uint32))


@pytest.mark.parametrize(
    "context", [None, {}, {"surface": ""}, {"surface": 3}, {"device": "x"}, "home", {"surface": "x" * 300}]
)
def test_what_names_no_surface_is_none(context: object) -> None:
    """Whatever stands there."""
    assert surface_hash(context) == 0


def test_a_surface_comes_with_the_event_by_either_way_of_decoding() -> None:
    """The short way, and the rules' (an integer id); where no event has one there is no column."""
    messages = [
        {"user_id": "u", "item_id": "i", "ts_ms": 1_700_000_000_000, "context": {"surface": "home", "device": "x"}},
        {"user_id": "u", "item_id": "i", "ts_ms": 1_700_000_000_000},
        {"user_id": 7, "item_id": "i", "ts_ms": 1_700_000_000_000, "context": {"surface": "home"}},
    ]
    decoder = InteractionDecoder(InputMapping())

    def decoded(records: list[dict[str, object]]) -> InteractionColumns:
        values: list[bytes | None] = [orjson.dumps(record) for record in records]
        found, rejects = decoder.decode(values, range(len(values)), [-1] * len(values), input="x", partition=0)
        assert not rejects
        return found

    columns = decoded(messages)
    home = surface_hash({"surface": "home"})
    assert columns.surfaces is not None
    assert columns.surfaces.tolist() == [home, 0, home]
    assert columns.cut(1, 3).surfaces.tolist() == columns.taken(np.array([1, 2])).surfaces.tolist() == [0, home]
    assert decoded(messages[1:2]).surfaces is None


def test_a_user_is_on_the_surface_that_their_last_event_named() -> None:
    """One that names none leaves it; an impression moves it, too; beyond the first 64, a surface is none."""
    step = Step(SMALL)
    kinds = [Kind.click, Kind.click, Kind.impression, Kind.click]
    columns = columns_of(["u", "v", "u", "v"], ["a", "b", "c", "d"], kinds=kinds)
    step.apply(chunk_of(on(columns, ["home", "app", "app", ""])), lists=False)
    p = step.model.interest.prompts
    assert p.surface[:2].tolist() == [2, 2]
    assert p.name[:3].tolist() == [surface_hash({"surface": name}) for name in ("home", "app")] + [0]
    many = columns_of(["w"] * SURFACES, ["a"] * SURFACES, offsets=range(4, 4 + SURFACES))
    step.apply(chunk_of(on(many, [f"s{n}" for n in range(SURFACES)])), lists=False)
    assert p.surface[step.users.row("w")] == 0
    assert np.count_nonzero(p.name) == SURFACES


def test_kinds_of_session_are_told_by_the_pause() -> None:
    """Within half an hour it goes on; then it is a new one; after a day the user is back."""
    gaps = [-5, 0, SESSION_GAP_MS, SESSION_GAP_MS + 1, DAY_MS - 1, DAY_MS, 9 * DAY_MS]
    assert [session_kind(gap) for gap in gaps] == [0, 0, 0, 1, 1, 2, 2]


def test_a_context_adds_its_two_prompts() -> None:
    """That of the surface, where there is one, and that of the session."""
    p = Step(SMALL).model.interest.prompts
    p.vector[:] = np.arange(len(p.vector))[:, None]
    p.surface[5] = 11
    for user, gap_ms, expected in ((5, 0, 10 + SURFACES), (5, DAY_MS, 12 + SURFACES), (6, 0, SURFACES)):
        out = np.zeros(WIDTH, np.float32)
        add_prompts(p, np.int32(user), gap_ms, out)
        assert (out == expected).all()


def test_where_the_log_is_cut_changes_nothing_of_contexts() -> None:
    """Event by event or at once, through a dump or not: the same hash; another surface, another hash."""
    log = random_log(3 * BLOCK, users=20, items=60, seed=3)
    log = on(log, [["", "home", "app"][n % 3] for n in range(len(log))])

    def run(cuts: list[int]) -> str:
        step = Step(SMALL)
        for first, last in zip([0, *cuts], [*cuts, len(log)], strict=True):
            step.apply(chunk_of(log.cut(first, last)), lists=False)
            step = Step.load(SMALL, step.dump())
        return step.state_hash()

    assert run([]) == run([1, 300, 301, 600])
    other = replace(log, surfaces=np.roll(log.surfaces, 1) if log.surfaces is not None else None)
    step = Step(SMALL)
    step.apply(chunk_of(other), lists=False)
    assert step.state_hash() != run([])


def test_a_list_differs_by_the_surface_where_users_choose_by_it() -> None:
    """On one surface everybody chooses from one half of the shop, on the other from the other: so does the list go."""
    rng = np.random.default_rng(5)
    events, step = 40 * BLOCK, Step(replace(SMALL, history_length=10))
    users, items, surfaces = [], [], []
    at = {}
    for _ in range(events):
        user = f"u{rng.integers(0, 50)}"
        # a choice is made where the user was last; the surface it names is where they are next
        here = at.get(user, 0)
        items.append(f"i{2 * rng.integers(0, 20) + here}")
        at[user] = int(rng.integers(0, 2))
        users.append(user)
        surfaces.append(["home", "app"][at[user]])
    step.apply(chunk_of(on(columns_of(users, items), surfaces)), lists=False)

    def share_of_the_first_half(surface: str) -> float:
        last = columns_of(["u0"], ["i0"], offsets=[step.positions["interactions", 0]], ts_ms=[step.last_ms + 1000])
        step.apply(chunk_of(on(last, [surface])), lists=False)
        (slate,) = step.relist(["u0"]).slates(0)
        return float(np.mean([int(item.item_id[1:]) % 2 == 0 for item in slate.items[:10]]))

    assert share_of_the_first_half("home") > 0.8
    assert share_of_the_first_half("app") < 0.2


def test_who_signs_in_is_where_the_visitor_was() -> None:
    """An alias takes the surface over; a visitor's without one leaves the account's."""
    step = Step(SMALL)
    columns = columns_of(
        ["v", "u", "u", "x", "u"],
        ["a", "b", "v", "c", "x"],
        kinds=[Kind.click, Kind.click, Kind.alias, Kind.click, Kind.alias],
    )
    step.apply(chunk_of(on(columns.cut(0, 3), ["home", "app", ""])), lists=False)
    p, row = step.model.interest.prompts, step.users.row("u")
    assert p.surface[row] == 1
    step.apply(chunk_of(columns.cut(3, 5)), lists=False)
    assert p.surface[row] == 1
