"""The simulated shop: its stream is seeded and endless, and the truth it tells is the truth it draws from."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from millstream.online_learning.simulated_catalogue import CatalogueConfig, all_at_once, hashed_uniform, one_by_one
from millstream.online_learning.simulator import Simulator, SimulatorConfig
from millstream.schemas.columns import InteractionColumns
from millstream.schemas.records import Kind

SMALL = SimulatorConfig(
    seed=7,
    users=400,
    catalogue=CatalogueConfig(items=600, topics=6, new_item_every_s=10.0, trend_every_s=120.0, trend_half_life_s=300.0),
    concurrent_sessions=60,
    interest_period_s=3_600.0,
)


def as_bytes(columns: InteractionColumns) -> bytes:
    arrays = (columns.kinds, columns.ts_ms, columns.values, columns.as_of_ms, columns.offsets)
    return repr((columns.user_ids, columns.item_ids)).encode() + b"".join(array.tobytes() for array in arrays)


@pytest.fixture(scope="module")
def stream() -> InteractionColumns:
    return Simulator().events(60_000)


def test_the_same_seed_gives_the_same_bytes() -> None:
    """Two simulators of one configuration agree; another seed gives another stream."""
    first = as_bytes(Simulator(SMALL).events(5_000))
    assert as_bytes(Simulator(SMALL).events(5_000)) == first
    assert as_bytes(Simulator(replace(SMALL, seed=8)).events(5_000)) != first


def test_how_the_stream_is_cut_does_not_change_it() -> None:
    """Calls of any size continue one stream, asking for the truth in between included."""
    whole = Simulator(SMALL).events(3_000)
    cut = Simulator(SMALL)
    at = 0
    for size in (1, 0, 999, 37, 1_963):
        part = cut.events(size)
        assert as_bytes(part) == as_bytes(whole.cut(at, at + size))
        cut.next_click_probabilities("u3")
        at += size
    assert at == len(whole)


def test_a_thousand_events_in_a_row_come_from_at_least_250_users(stream: InteractionColumns) -> None:
    """Sessions are interleaved, so a chunk touches many users."""
    distinct = [len(set(stream.user_ids[first : first + 1_000])) for first in range(0, len(stream) - 1_000, 53)]
    assert min(distinct) >= 250


def test_time_and_offsets_only_go_forward(stream: InteractionColumns) -> None:
    """Events are in time order, numbered without a hole."""
    assert (np.diff(stream.ts_ms) >= 0).all()
    assert stream.offsets.tolist() == list(range(len(stream)))


def test_a_few_items_take_most_clicks(stream: InteractionColumns) -> None:
    """The top hundredth of the clicked items gets over a tenth of the events, and not nearly all."""
    counts = Counter(stream.item_ids)
    share = sum(count for _, count in counts.most_common(len(counts) // 100)) / len(stream)
    assert 0.1 < share < 0.8


def test_events_of_a_user_come_in_bursts_with_long_gaps() -> None:
    """Within a session events are moments apart; between sessions much longer; little lies between."""
    columns = Simulator(replace(SMALL, users=4_000)).events(60_000)
    last: dict[str, int] = {}
    gaps = []
    for user, ts_ms in zip(columns.user_ids, columns.ts_ms.tolist(), strict=True):
        if user in last:
            gaps.append(ts_ms - last[user])
        last[user] = ts_ms
    round_ms = SMALL.concurrent_sessions * SMALL.activity * SMALL.event_step_ms
    short = sum(gap <= 10 * round_ms for gap in gaps)
    long = sum(gap > 40 * round_ms for gap in gaps)
    assert short / len(gaps) > 0.6
    assert long / len(gaps) > 0.02
    assert (len(gaps) - short - long) / len(gaps) < 0.2


def test_a_purchase_follows_cart_and_click_of_the_same_item(stream: InteractionColumns) -> None:
    """click, add_to_cart, purchase: each is the user's event right before the next; only purchases have a value."""
    last: dict[str, tuple[int, str]] = {}
    before = {Kind.add_to_cart: Kind.click, Kind.purchase: Kind.add_to_cart}
    rows = zip(stream.user_ids, stream.item_ids, stream.kinds.tolist(), stream.values.tolist(), strict=True)
    for user, item, kind, value in rows:
        if kind in before:
            assert last[user] == (before[Kind(kind)], item)
        assert (kind == Kind.purchase) == (value > 0)
        last[user] = (kind, item)
    assert (stream.kinds == Kind.purchase).sum() > 100


def test_what_suits_a_user_is_put_in_the_cart_more_often() -> None:
    """The chance of a cart grows with the true affinity of user and item."""
    simulator = Simulator(SMALL)
    columns = simulator.events(30_000)
    affinity = np.array(
        [
            simulator.affinity(user, item, ts_ms)
            for user, item, ts_ms in zip(columns.user_ids, columns.item_ids, columns.ts_ms.tolist(), strict=True)
        ]
    )
    clicked, carted = columns.kinds == Kind.click, columns.kinds == Kind.add_to_cart
    high = (affinity > 0.5).astype(float)
    assert carted[high == 1].sum() / clicked[high == 1].sum() > 2 * carted[high == 0].sum() / clicked[high == 0].sum()
    assert 0.0 <= affinity.min() <= affinity.max() <= 1.0


def test_interests_drift_smoothly_and_far() -> None:
    """A minute changes a user's mixture a little; three periods later it is largely another."""
    simulator = Simulator(SMALL)
    start = SMALL.start_ms
    near, far = [], []
    for user in range(100):
        now = simulator.interests(f"u{user}", start)
        assert now.sum() == pytest.approx(1.0)
        near.append(np.abs(now - simulator.interests(f"u{user}", start + 60_000)).sum() / 2)
        far.append(np.abs(now - simulator.interests(f"u{user}", start + 3 * 3_600_000)).sum() / 2)
    assert max(near) < 0.05
    assert np.mean(far) > 0.3


def test_no_item_is_touched_before_it_appears() -> None:
    """Items keep arriving; their first event comes after, never before."""
    simulator = Simulator(SMALL)
    appears = {item.item_id: item.updated_ms for item in simulator.items()}
    columns = simulator.events(30_000)
    assert all(ts >= appears[item] for item, ts in zip(columns.item_ids, columns.ts_ms.tolist(), strict=True))
    late = {item for item in columns.item_ids if appears[item] > SMALL.start_ms}
    assert len(late) > 50


def test_a_new_item_surges_and_fades() -> None:
    """An arrival's popularity peaks one half-life later and is near its base after twelve."""
    catalogue = Simulator(SMALL).catalogue
    row = int(np.argmax(catalogue.appears_ms > SMALL.start_ms))
    appeared, life_ms = int(catalogue.appears_ms[row]), 300_000
    at = [catalogue.popularity(appeared + int(lives * life_ms))[row] for lives in (-0.1, 0.1, 1.0, 12.0)]
    assert at[0] == 0.0
    assert at[1] < at[2]
    assert at[2] > 20 * catalogue.base_popularity[row]
    assert at[3] < 2 * catalogue.base_popularity[row]


def test_the_true_next_click_probabilities_are_calibrated() -> None:
    """The share of next clicks among the truth's ten likeliest is the probability the truth gave them."""
    simulator = Simulator(SMALL)
    simulator.events(2_000)
    expected, hits = [], []
    while len(hits) < 4_000:
        simulator.settle()
        users = [f"u{user}" for user in simulator._user]
        pending = simulator._pending.copy()
        truth = {user: simulator.next_click_probabilities(user) for user in users}
        simulator._round()
        acting, items, kinds = simulator._waiting[-1]
        for user, item, kind in zip(acting.tolist(), items.tolist(), kinds.tolist(), strict=True):
            if kind == Kind.click and pending[users.index(f"u{user}")] < 0:
                best = np.argsort(-truth[f"u{user}"])[:10]
                expected.append(truth[f"u{user}"][best].sum())
                hits.append(item in best)
    error = np.sqrt(np.mean(np.array(expected) * (1 - np.array(expected))) / len(hits))
    assert abs(np.mean(hits) - np.mean(expected)) < 4 * error
    assert truth[users[0]].sum() == pytest.approx(1.0)


def test_every_item_has_a_title_of_its_own_and_a_category() -> None:
    """The catalogue can be shown to people."""
    items = Simulator(SMALL).items()
    assert len({item.title for item in items}) == len(items)
    assert all(item.categories and item.price is not None and item.price > 0 for item in items)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (replace(SMALL, users=100), "concurrent_sessions=60"),
        (replace(SMALL, catalogue=CatalogueConfig(topics=99)), "topics=99"),
        (replace(SMALL, catalogue=CatalogueConfig(items=10, topics=6)), "items=10"),
    ],
)
def test_an_impossible_shop_is_refused_by_name(config: SimulatorConfig, named: str) -> None:
    """A wrong setting says which it is."""
    with pytest.raises(ValueError, match=named):
        Simulator(config)


def test_an_unknown_user_is_refused() -> None:
    """The truth about nobody is not asked for silently."""
    with pytest.raises(KeyError, match="u400"):
        Simulator(SMALL).interests("u400", SMALL.start_ms)


def test_hashed_chance_is_even_and_keyed() -> None:
    """Uniform in [0, 1), different for other keys, seeds and streams."""
    draws = hashed_uniform(1, 2, np.arange(10_000))
    assert 0.0 <= draws.min() < draws.max() < 1.0
    assert abs(draws.mean() - 0.5) < 0.02
    for other in (hashed_uniform(2, 2, np.arange(10_000)), hashed_uniform(1, 3, np.arange(10_000))):
        assert abs(np.corrcoef(draws, other)[0, 1]) < 0.05


def test_companions_of_a_large_catalogue_are_drawn_by_the_law_of_a_small_one() -> None:
    """One by one or all at once: never the place itself, none twice, and each as often."""
    weights = np.array([8.0, 4.0, 2.0, 1.0, 1.0])
    shares = []
    for draw in (all_at_once, one_by_one):
        rng = np.random.default_rng(3)
        drawn = np.stack([draw(rng, weights, 2) for _ in range(4_000)])
        assert not (drawn == np.arange(5)[:, None]).any()
        assert not (drawn[:, :, 0] == drawn[:, :, 1]).any()
        shares.append([[(drawn[:, place] == other).mean() for other in range(5)] for place in range(5)])
    np.testing.assert_allclose(*shares, atol=0.02)
