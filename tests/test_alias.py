"""A visitor signs in: what they did before is the account's, once, and nobody else's model is touched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest
from logs import START_MS, chunk_of, columns_of, random_log
from references import assert_nothing_is_left

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.step import Step
from millstream.schemas.canonical import canonical_event, canonical_events
from millstream.schemas.columns import InteractionColumns
from millstream.schemas.decode import InteractionDecoder
from millstream.schemas.mapping import InputMapping
from millstream.schemas.records import Kind
from millstream.schemas.rules import Event, judge

CONFIG = LearningConfig(
    max_users=64,
    max_items=64,
    neighbours_per_item=16,
    history_length=12,
    exclude_consumed=True,
    max_consumed=64,
    consumed_per_user=64,
    kept_off_kinds=("purchase",),
)
REPEATING = replace(CONFIG, exclude_consumed=False, kept_off_kinds=())
LOG = random_log(400, users=12, items=40, seed=5)
N = len(LOG)


def aliased(columns: InteractionColumns, *pairs: tuple[int, str, str]) -> InteractionColumns:
    """The events with some of them turned into aliases: at this row, the account, the visitor's id."""
    users, items, kinds = list(columns.user_ids), list(columns.item_ids), columns.kinds.copy()
    for row, account, visitor in pairs:
        users[row], items[row], kinds[row] = account, visitor, Kind.alias
    return replace(columns, user_ids=users, item_ids=items, kinds=kinds)


def learned(columns: InteractionColumns, config: LearningConfig = CONFIG) -> Step:
    step = Step(config)
    step.apply(chunk_of(columns), lists=False)
    return step


def row(step: Step, user: str) -> int:
    found = step.users.row(user)
    assert found is not None
    return found


def of_user(step: Step, user: str) -> dict[str, list[object]]:
    """What the history of a user holds, by item, in its order."""
    h, at = step.model.histories, row(step, user)
    held = int(h.held[at])
    names = [step.items.ids[item] for item in h.item[at, :held].tolist()]
    columns = (h.second[at, :held], h.times[at, :held], h.weight[at, :held])
    return {name: list(values) for name, *values in zip(names, *(c.tolist() for c in columns), strict=True)}


@pytest.mark.parametrize("seed", range(5))
def test_two_histories_become_what_one_users_would_be(seed: int) -> None:
    """The same items in the same order, as often, at the same times: as if one user had done it all."""
    log = random_log(40, users=2, items=30, seed=seed)
    both = columns_of([*log.user_ids, "u0"], [*log.item_ids, "u1"], kinds=[*([Kind.click] * 40), Kind.alias])
    alone = columns_of(["u0"] * 40, log.item_ids)
    config = replace(REPEATING, history_length=60)
    merged, one = learned(both, config), learned(alone, config)
    assert of_user(merged, "u0") == of_user(one, "u0")
    assert list(of_user(merged, "u0")) == list(of_user(one, "u0"))
    for name in ("events", "last_ms", "held"):
        array = getattr(merged.model.histories, name)
        assert array[row(merged, "u0")] == getattr(one.model.histories, name)[row(one, "u0")]
    np.testing.assert_allclose(
        merged.model.histories.interval_s[row(merged, "u0")],
        one.model.histories.interval_s[row(one, "u0")],
        rtol=1e-5,
    )


def test_a_full_history_keeps_the_newest_of_both() -> None:
    """Of twelve places."""
    times = {user: [START_MS + 1_000 * (2 * n + k) for n in range(12)] for k, user in enumerate(("u0", "u1"))}
    users = [user for _ in range(12) for user in ("u0", "u1")]
    items = [f"{user}.{n}" for n in range(12) for user in ("u0", "u1")]
    ts_ms = [times[user][n] for n in range(12) for user in ("u0", "u1")]
    columns = columns_of([*users, "u0"], [*items, "u1"], ts_ms=[*ts_ms, ts_ms[-1]])
    columns.kinds[-1] = Kind.alias
    assert list(of_user(learned(columns, REPEATING), "u0")) == items[:-13:-1]


def test_the_account_gets_its_list_at_once_and_the_visitor_is_as_new() -> None:
    """A version of the account's own partition; the list knows what the visitor did."""
    step = learned(LOG)
    visitor, account = "u1", "somebody"
    seen = set(of_user(step, visitor))
    columns = columns_of([account], [visitor], kinds=[Kind.alias], offsets=[N])
    applied = step.apply(chunk_of(columns))
    (slate,) = applied.slates(0)
    assert (slate.user_id, slate.version.position) == (account, N + 1)
    assert slate.items
    assert not seen & {item.item_id for item in slate.items}  # consumed
    assert set(of_user(step, account)) == seen
    assert of_user(step, visitor) == {}
    assert step.items.row(visitor) is None
    assert step.seq == N + 1


def test_what_was_put_away_bought_shown_and_rated_is_the_accounts() -> None:
    """Each for as long as it would have been the visitor's."""
    events = [
        ("u1", "i3", Kind.hide),
        ("u1", "i4", Kind.dismiss),
        ("u1", "i5", Kind.purchase),
        ("u1", "i6", Kind.rating),
        ("u1", "i7", Kind.impression),
        ("u2", "u1", Kind.alias),
    ]
    users, items, kinds = (list(column) for column in zip(*events, strict=True))
    columns = columns_of(
        [*LOG.user_ids, *users], [*LOG.item_ids, *items], kinds=[*LOG.kinds.tolist(), *kinds], offsets=range(N + 6)
    )
    values = np.where(columns.kinds == Kind.rating, 4.0, np.nan)
    slates = np.where(columns.kinds == Kind.impression, 9, 0).astype(np.uint32)
    columns = replace(columns, values=values, slates=slates, slots=np.full(len(columns), -1, np.int16))
    before, after = learned(columns.cut(0, N + 5)), learned(columns)
    for name in ("dismissals", "bought"):
        part, was = getattr(after.model, name), getattr(before.model, name)
        ours, theirs = part.item[row(after, "u2")], was.item[row(before, "u1")]
        assert set(theirs[theirs != 0].tolist()) <= set(ours.tolist())
        assert not part.item[row(after, "u1")].any()
    assert after.model.ratings.mean[row(after, "u2")] == 4.0
    im = after.model.impressions
    block = im.block[row(after, "u2")] - 1
    assert after.items.row("i7") in (im.item[block : block + 2] - 1).ravel().tolist()
    assert im.block[row(after, "u1")] == 0
    assert_nothing_is_left(after)


@pytest.mark.parametrize("visitor", ["u1", "nobody", "u3"])
def test_a_second_alias_adds_nothing(visitor: str) -> None:
    """Nor does one of an id that nobody had, or of the account itself."""
    once = learned(aliased(LOG, (300, "u3", visitor)).cut(0, 301))
    twice = learned(aliased(LOG, (300, "u3", visitor), (301, "u3", visitor)).cut(0, 302))
    assert of_user(twice, "u3") == of_user(once, "u3")
    assert twice.model.histories.events[row(twice, "u3")] == once.model.histories.events[row(once, "u3")]


@pytest.mark.parametrize("size", [1, 3, 50])
def test_where_the_log_is_cut_changes_nothing(size: int) -> None:
    """Aliases in a row, at the ends, of users who come again; with rows that change hands, too."""
    log = aliased(LOG, (0, "u1", "u2"), (50, "u3", "u4"), (51, "u3", "u5"), (52, "new", "u3"), (N - 1, "u7", "u8"))
    for config in (CONFIG, replace(REPEATING, max_users=8, max_items=24)):
        whole, cut = learned(log, config), Step(config)
        for first in range(0, N, size):
            cut.apply(chunk_of(log.cut(first, min(N, first + size))), lists=False)
        assert cut.state_hash() == whole.state_hash()
        assert Step.load(config, whole.dump()).state_hash() == whole.state_hash()


def test_on_the_wire_it_names_both_ids_and_no_item() -> None:
    """It reads as it is written, also under an input's own names; without the visitor's id it is rejected."""
    message = {"user_id": "42", "previous_id": "anonymous-7", "kind": "alias", "ts_ms": START_MS}
    columns, rejects = InteractionDecoder(InputMapping()).decode(
        [orjson.dumps(message), orjson.dumps({**message, "previous_id": None})],
        [0, 1],
        [-1, -1],
        input="t",
        partition=0,
    )
    assert (columns.user_ids, columns.item_ids, columns.kinds.tolist()) == (["42"], ["anonymous-7"], [Kind.alias])
    assert [reject.code for reject in rejects] == ["missing_user"]
    mapping = InputMapping(fields={"user_id": "to", "previous_id": "from"})
    event = judge(message, InputMapping(), START_MS)
    assert isinstance(event, Event)
    written = canonical_event(event, mapping)
    assert orjson.loads(written)["from"] == "anonymous-7"
    assert judge(orjson.loads(written), mapping, START_MS) == event
    assert list(canonical_events(columns, mapping=mapping)) == [written]
