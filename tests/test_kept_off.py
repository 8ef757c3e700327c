"""What may not be shown, against a real Valkey: withdrawals, a user's rules, `exclude`, and what stands in then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from millstream.schemas.item_sets import UnreadableItemSet, decode_item_set, encode_item_set
from millstream.schemas.records import ScoredItem, Slate, Version
from millstream.schemas.slates import encode_slate
from millstream.streams import kept_off
from millstream.streams.answer import Answer
from millstream.streams.kept_off import KeptOff, TooManyWithdrawn
from millstream.streams.outage import Outage
from millstream.streams.reader import AsyncReader, Reader
from millstream.streams.redis_connection import connect, connect_sync


def slate(user: str, items: Sequence[str]) -> Slate:
    return Slate(
        slate_id=f"slate of {user}",
        list="main",
        user_id=user,
        items=tuple(ScoredItem(item, 1.0) for item in items),
        version=Version(1, 1, 1),
        as_of_ms=1_000,
        generated_ts_ms=2_000,
    )


def ids(answer: Answer) -> list[str]:
    return [item.item_id for item in answer.items]


@pytest.fixture
async def kept(redis_url: str, prefix: str) -> AsyncIterator[KeptOff]:
    """Lists of `u` (a to e) and of nobody (p, q, a), and the writer of what is kept off them."""
    async with connect(redis_url) as client:
        await client.set(f"{prefix}rec:main:u", encode_slate(slate("u", "abcde")).stored)
        await client.set(f"{prefix}rec:main:", encode_slate(slate("", "pqa")).stored)
        yield KeptOff(client, prefix=prefix, rule_ttl_s=60)


Top = Callable[..., Any]


@pytest.fixture(params=["sync", "async", "cached", "async cached"])
async def top(request: pytest.FixtureRequest, redis_url: str, prefix: str) -> AsyncIterator[Top]:
    """`top` of each kind of reader; a cached one answers from its cache from the second time on."""
    cached = "cached" in request.param
    if request.param.startswith("async"):
        async with AsyncReader(redis_url, prefix, timeout_s=5.0, static=("s", "a"), cached=cached) as reader:
            yield reader.top
    else:
        with Reader(redis_url, prefix, timeout_s=5.0, static=("s", "a"), cached=cached) as reader:

            async def read(*arguments: Any, **named: Any) -> Answer:
                return await asyncio.to_thread(reader.top, *arguments, **named)

            yield read


async def test_what_is_withdrawn_is_shown_to_nobody_until_restored(kept: KeptOff, top: Top) -> None:
    """On one's own list and on the popular one; the answer counts what was withheld."""
    assert ids(await top("u", 3)) == ["a", "b", "c"]
    await kept.withdraw(["a", "c", "q"])
    await asyncio.sleep(0.06)
    answer = await top("u", 3)
    assert (ids(answer), answer.withheld, answer.fallback, answer.slate_id) == (["b", "d", "e"], 2, None, "slate of u")
    assert ids(await top("stranger")) == ["p"]
    await kept.restore(["a"])
    await asyncio.sleep(0.06)
    assert ids(await top("u", 3)) == ["a", "b", "d"]


async def test_what_a_user_hid_is_off_their_lists_alone(kept: KeptOff, top: Top) -> None:
    """Their own, and the popular one where it stands in for them."""
    assert ids(await top("u", 2)) == ["a", "b"]
    await kept.hide("u", ["a"])
    await kept.hide("stranger", ["p"])
    await asyncio.sleep(0.06)
    assert ids(await top("u", 2)) == ["b", "c"]
    assert ids(await top("stranger")) == ["q", "a"]
    assert ids(await top("another")) == ["p", "q", "a"]
    await kept.unhide("u", ["a"])
    await asyncio.sleep(0.06)
    assert ids(await top("u", 2)) == ["a", "b"]


async def test_a_list_of_which_nothing_is_left_gives_way(kept: KeptOff, top: Top) -> None:
    """Own, then popular, then static; each says why."""
    for _ in range(2):  # the second time out of a cache, where there is one
        answer = await top("u", exclude={"a", "b", "c", "d", "e"})
        assert (ids(answer), answer.fallback, answer.because, answer.withheld) == (["p", "q"], "popular", "withheld", 6)
        answer = await top("u", exclude=set("abcdepq"))
        assert (ids(answer), answer.fallback, answer.because) == (["s"], "static", "withheld")
        assert ids(await top("u", 2, exclude=["b"])) == ["a", "c"]
        answer = await top("u", list="other")
        assert (ids(answer), answer.fallback, answer.because) == (["s", "a"], "static", "no_list")


async def test_many_users_are_read_at_once(kept: KeptOff, redis_url: str, prefix: str) -> None:
    """Each with their own list and rules, repeated users too, in the order asked."""
    await kept.hide("u", ["a"])
    with Reader(redis_url, prefix, timeout_s=5.0) as reader:
        answers = reader.top_many(["u", "v", "u"], 2)
        assert [(each.user_id, ids(each)) for each in answers] == [
            ("u", ["b", "c"]),
            ("v", ["p", "q"]),
            ("u", ["b", "c"]),
        ]
        assert reader.top_many([]) == []
    async with AsyncReader(redis_url, prefix, timeout_s=5.0, cached=True) as async_reader:
        for _ in range(2):
            assert [ids(each) for each in await async_reader.top_many(["u", "v"], 2)] == [["b", "c"], ["p", "q"]]


async def test_reads_that_come_together_share_a_round_trip(kept: KeptOff, redis_url: str, prefix: str) -> None:
    """A hundred concurrent reads take a few MGETs, and each gets its own answer."""
    async with AsyncReader(redis_url, prefix, timeout_s=5.0) as reader:
        answers = await asyncio.gather(*(reader.top("u" if n % 2 else "v", 1 + n % 3) for n in range(100)))
        assert reader.round_trips <= 3
    assert [ids(each) for each in answers] == [list("abc" if n % 2 else "pqa")[: 1 + n % 3] for n in range(100)]


async def test_withdrawn_stays_withdrawn_while_redis_is_away(kept: KeptOff, redis_url: str, prefix: str) -> None:
    """The static list that stands in leaves out what was withdrawn when last seen."""
    with Reader(redis_url, prefix, timeout_s=5.0, static=("s", "a")) as reader:
        await kept.withdraw(["s"])
        reader.top("u")
        reader._core.outage.lost("a test")
        answer = reader.top("u")
    assert (ids(answer), answer.fallback, answer.because, answer.version) == (["a"], "static", "unavailable", None)


async def test_repeated_changes_change_nothing(kept: KeptOff) -> None:
    """The version says so: it rises with a change and stays without one."""
    first = await kept.withdraw(["x", "y"])
    assert await kept.withdraw(["y", "x"]) == first
    assert await kept.restore(["z"]) == first
    second = await kept.restore(["x"])
    assert second > first
    assert await kept.withdraw(["x"]) > second


async def test_racing_writers_lose_nothing(kept: KeptOff, redis_url: str, prefix: str) -> None:
    """The change is made inside Redis: sixteen at once are all there."""
    await asyncio.gather(*(kept.withdraw([f"w{n}"]) for n in range(16)))
    with connect_sync(redis_url, timeout_s=5.0) as client:
        assert decode_item_set(client.get(f"{prefix}withdrawn")).items == {f"w{n}" for n in range(16)}  # type: ignore[arg-type]  # not async


async def test_full_sets_keep_their_promise(kept: KeptOff, monkeypatch: pytest.MonkeyPatch, top: Top) -> None:
    """Of a user's rules the oldest give way; a withdrawal that does not fit is refused, not forgotten later."""
    monkeypatch.setattr(kept_off, "MAX_PER_USER", 2)
    monkeypatch.setattr(kept_off, "MAX_WITHDRAWN", 2)
    await kept.hide("u", ["a"])
    await kept.hide("u", ["b"])
    await kept.hide("u", ["c"])
    assert ids(await top("u")) == ["a", "d", "e"]
    await kept.withdraw(["d", "e"])
    with pytest.raises(TooManyWithdrawn, match="restore items"):
        await kept.withdraw(["a"])
    await kept.withdraw(["d"])


async def test_sets_of_another_format(kept: KeptOff, top: Top, redis_url: str, prefix: str) -> None:
    """Unreadable withdrawals leave those known before in force; unreadable rules cost the rules, not the list."""
    await kept.withdraw(["a"])
    assert ids(await top("u", 1)) == ["b"]
    with connect_sync(redis_url, timeout_s=5.0) as client:
        client.set(f"{prefix}withdrawn", b"\x02new")
        client.set(f"{prefix}rule:u", b"\x02new")
    await asyncio.sleep(0.06)
    assert ids(await top("u", 1)) == ["b"]
    with pytest.raises(UnreadableItemSet, match="damaged"):
        decode_item_set(encode_item_set(1, ["a"]) + b"\xff")


def test_while_a_system_is_lost_one_caller_tries() -> None:
    """The others rest, however many come at once; a try that works ends it."""
    now_s = 0.0
    outage = Outage("x", rest_s=1.0, clock=lambda: now_s)
    assert outage.may_try()
    assert outage.may_try()
    outage.lost("gone")
    assert not outage.may_try()
    now_s = 1.5
    assert [outage.may_try(), outage.may_try(), outage.may_try()] == [True, False, False]
    outage.back()
    assert outage.may_try()
