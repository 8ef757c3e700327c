"""The buy list: a second blend, taught by purchases alone, on lists of its own, weighed by price."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from logs import SMALL, chunk_of, columns_of, simulated

from millstream.agents.cli import main
from millstream.online_learning.config import BUY, MAIN
from millstream.online_learning.snapshot import read_snapshot, write_snapshot
from millstream.online_learning.step import NOBODY, Step
from millstream.schemas.columns import InteractionColumns, catalogue_chunk
from millstream.schemas.records import Item, Kind, Slate
from millstream.streams.reader import Reader
from millstream.streams.redis_connection import connect
from millstream.streams.redis_topic import RedisTopic

BUYING = replace(SMALL, lists=(MAIN, BUY))


def of_list(slates: list[Slate], name: str) -> dict[str, Slate]:
    return {slate.user_id: slate for slate in slates if slate.list == name}


def mean_place(lists: dict[str, Slate], item: str) -> float:
    places = [[each.item_id for each in slate.items].index(item) for slate in lists.values()]
    return float(np.mean(places))


def window_shopping(events: int = 2_400) -> InteractionColumns:
    """Users click one of five items, and buy one of five others, in turn: each is looked for where it is to be had."""
    rng = np.random.default_rng(8)
    users = [f"u{n}" for n in rng.integers(0, 60, events)]
    bought = rng.random(events) < 0.3
    items = [f"{'b' if buys else 'c'}{n}" for buys, n in zip(bought, rng.integers(0, 5, events), strict=True)]
    return columns_of(users, items, kinds=[Kind.purchase if buys else Kind.click for buys in bought])


def test_without_the_setting_there_is_one_list_and_no_table_of_another() -> None:
    """It costs nothing that is not asked for."""
    step = Step(SMALL)
    slates = step.apply(chunk_of(simulated(200))).slates(0) + step.relist([NOBODY]).slates(0)
    assert {slate.list for slate in slates} == {MAIN}
    assert not [name for name in step.arena.tables if name.startswith((BUY, "price"))]


def test_each_refresh_makes_both_lists_and_the_main_one_is_what_it_is_without() -> None:
    """Same users, same versions; ids that differ; the main list byte for byte as before."""
    log = chunk_of(simulated(600))
    both, alone = Step(BUYING).apply(log).slates(0), Step(SMALL).apply(log).slates(0)
    mine, theirs = of_list(both, MAIN), of_list(both, BUY)
    assert mine == of_list(alone, MAIN)
    assert mine.keys() == theirs.keys()
    assert [slate.version for slate in mine.values()] == [slate.version for slate in theirs.values()]
    assert not {slate.slate_id for slate in mine.values()} & {slate.slate_id for slate in theirs.values()}


def test_only_purchases_teach_it() -> None:
    """Clicks and carts leave its weights as they began; one purchase of something listed moves them."""
    step, log = Step(BUYING), simulated(400)
    start = Step(BUYING).model.buy.weight.copy()
    kinds = np.where(log.kinds == Kind.purchase, Kind.add_to_cart, log.kinds).astype(np.int8)
    step.apply(chunk_of(replace(log, kinds=kinds)), lists=False)
    assert np.array_equal(step.model.buy.weight, start)
    assert not np.array_equal(step.model.blend.weight, start)
    now_ms = [step.last_ms + 1_000]
    again = columns_of([log.user_ids[-1]], [log.item_ids[-1]], kinds=[Kind.purchase], offsets=[400], ts_ms=now_ms)
    step.apply(chunk_of(again), lists=False)
    assert not np.array_equal(step.model.buy.weight, start)


def test_what_is_bought_stands_higher_on_it_than_on_the_main_list() -> None:
    """Five items are clicked, five others bought: the buy list begins with the latter, the main one does not."""
    step = Step(BUYING)
    step.apply(chunk_of(window_shopping()), lists=False)
    slates = step.relist(step.users.ids).slates(0)
    first_five = {
        name: np.mean([item.item_id[0] == "b" for slate in of_list(slates, name).values() for item in slate.items[:5]])
        for name in (MAIN, BUY)
    }
    assert first_five[BUY] > 0.8
    assert first_five[BUY] > first_five[MAIN] + 0.2


def test_a_price_moves_an_item_and_says_so() -> None:
    """The reason `price` is ln(price / mean), the reasons still sum to the score, and no other list has it."""
    step = Step(BUYING)
    priced = [Item(item_id="b0", price=400.0), Item(item_id="b1", price=4.0), Item(item_id="b2", price=16.0)]
    step.apply(catalogue_chunk(priced))
    step.apply(chunk_of(window_shopping()), lists=False)
    slates, unpriced = step.relist(step.users.ids).slates(0), Step(BUYING)
    unpriced.apply(chunk_of(window_shopping()), lists=False)
    without = of_list(unpriced.relist(step.users.ids).slates(0), BUY)
    assert mean_place(of_list(slates, BUY), "b0") < mean_place(without, "b0") - 0.5
    assert mean_place(of_list(slates, BUY), "b1") > mean_place(without, "b1") + 0.5
    for slate in of_list(slates, BUY).values():
        parts = {item.item_id: {each.signal: each.contribution for each in item.reasons} for item in slate.items}
        for item in slate.items:
            assert sum(parts[item.item_id].values()) == pytest.approx(item.score, abs=1e-3)
        assert parts["b0"]["price"] == pytest.approx(np.log(400 / 140), abs=1e-3)
        assert parts["b1"]["price"] == pytest.approx(np.log(4 / 140), abs=1e-3)
        assert "price" not in parts["b3"]
    reasons = [each.signal for slate in of_list(slates, MAIN).values() for item in slate.items for each in item.reasons]
    assert "price" not in reasons


def test_it_is_state_of_a_snapshot(tmp_path: Path) -> None:
    """Cut, written to a file, read and gone on with: the same hash and the same lists as in one go."""
    log, items = simulated(800), [Item(item_id=f"i{n}", price=1.0 + n) for n in range(200)]
    whole, half = Step(BUYING), Step(BUYING)
    for step in (whole, half):
        step.apply(catalogue_chunk(items))
    whole.apply(chunk_of(log), lists=False)
    half.apply(chunk_of(log.cut(0, 300)), lists=False)
    loaded = Step.load(BUYING, read_snapshot(write_snapshot(half.dump(), tmp_path, 1)))
    loaded.apply(chunk_of(log.cut(300, 800)), lists=False)
    assert loaded.state_hash() == whole.state_hash()
    everybody = [*whole.users.ids, NOBODY]
    assert loaded.relist(everybody).slates(0) == whole.relist(everybody).slates(0)
    with pytest.raises(ValueError, match=r"learning\.lists"):
        Step.load(SMALL, half.dump())


def test_it_is_read_by_its_name(redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From the step through a real Valkey to the reader, and to a person at the command line."""
    step = Step(BUYING)
    step.apply(chunk_of(window_shopping()), lists=False)
    encoded = step.relist(["u1", NOBODY]).encoded(0)

    async def publish() -> None:
        async with connect(redis_url) as client:
            await RedisTopic(client, prefix=prefix, ttl_s=60, feed_length=100).publish(encoded)

    asyncio.run(publish())
    slates = step.relist(["u1", NOBODY]).slates(0)
    with Reader(redis_url, prefix, timeout_s=5.0) as reader:
        for name in (MAIN, BUY):
            answer = reader.top("u1", 5, list=name)
            assert (answer.list, answer.fallback) == (name, None)
            assert answer.items == of_list(slates, name)["u1"].items[:5]
            assert reader.top("a stranger", 5, list=name).items == of_list(slates, name)[NOBODY].items[:5]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILLSTREAM_REDIS__URL", redis_url)
    monkeypatch.setenv("MILLSTREAM_REDIS__PREFIX", prefix)
    shown = CliRunner().invoke(main, ["recommend", "u1", "-k", "5", "--list", "buy", "--json"])
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.output)
    assert [item["item_id"] for item in found["items"]] == [
        item.item_id for item in of_list(slates, BUY)["u1"].items[:5]
    ]
