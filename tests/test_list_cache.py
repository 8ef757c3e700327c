"""The cache in the serving process: what makes it forget, what it may not keep, and when it says nothing at all."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import redis

from millstream.schemas.item_sets import encode_item_set
from millstream.schemas.records import ScoredItem, Slate, Version
from millstream.schemas.slates import encode_slate
from millstream.streams.answer import Found
from millstream.streams.invalidations import Invalidations
from millstream.streams.list_cache import SILENCE_S, ListCache
from millstream.streams.local_redis import LocalRedis
from millstream.streams.reader import Reader
from millstream.streams.redis_connection import connect_sync

OWN = Found((ScoredItem("a", 1.0),), None, None, None, 0)
POPULAR = Found((ScoredItem("p", 1.0),), None, "popular", "no_list", 0)


def slate(user: str, item: str) -> bytes:
    return encode_slate(
        Slate(
            slate_id="",
            list="main",
            user_id=user,
            items=(ScoredItem(item, 2.0), ScoredItem("last", 1.0)),
            version=Version(1, 1, 1),
            as_of_ms=0,
            generated_ts_ms=0,
        )
    ).stored


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> ListCache:
    """One that knows the list of `u`, and what stands in for `v`, and may answer."""
    cache = ListCache("p:", most=4, clock=clock)
    cache.complete_until(clock.now_s)
    keep(cache, "u", OWN)
    keep(cache, "v", POPULAR)
    return cache


def keep(cache: ListCache, user: str, found: Found, list_name: str = "main") -> None:
    cache.end(cache.begin(list_name, [user]), [(user, found)])


def test_it_answers_what_it_was_given(cache: ListCache) -> None:
    """By list and user."""
    assert (cache.get("main", "u"), cache.get("main", "v")) == (OWN, POPULAR)
    assert cache.get("other", "u") is cache.get("main", "w") is None
    assert (cache.hits, cache.misses) == (2, 2)


@pytest.mark.parametrize(
    ("key", "left"),
    [
        (b"p:rec:main:u", {"v"}),
        (b"p:rec:main:v", {"u"}),
        (b"p:rec:other:u", {"u", "v"}),
        (b"p:rec:main:", {"u"}),
        (b"p:rule:u", {"v"}),
        (b"p:rule:v", {"u"}),
        (b"p:withdrawn", set()),
        (b"p:withdrawn-not", {"u", "v"}),
        (b"rec:main:u", {"u", "v"}),
    ],
)
def test_a_changed_key_makes_it_forget_what_hangs_on_it(cache: ListCache, key: bytes, left: set[str]) -> None:
    """Its list, its user's rules, what is withdrawn; the popular list only where it stands in."""
    cache.changed([key])
    assert {user for user in "uv" if cache.get("main", user)} == left


@pytest.mark.parametrize(
    ("key", "found", "kept"),
    [
        (b"p:rec:main:w", OWN, False),
        (b"p:rule:w", OWN, False),
        (b"p:withdrawn", OWN, False),
        (b"p:rec:main:", OWN, True),
        (b"p:rec:main:", POPULAR, False),
        (b"p:rec:main:x", OWN, True),
        (b"p:rec:other:w", OWN, True),
    ],
)
def test_what_changed_while_it_was_fetched_is_not_kept(cache: ListCache, key: bytes, found: Found, kept: bool) -> None:
    """Redis may have answered the fetch before the change: the news of it came first, and will not come again."""
    fetch = cache.begin("main", ["w"])
    cache.changed([key])
    cache.end(fetch, [("w", found)])
    assert (cache.get("main", "w") is not None) is kept


def test_what_was_fetched_while_nobody_listened_is_not_kept(cache: ListCache, clock: Clock) -> None:
    """Neither a fetch from before the connection was lost, nor one begun while it was."""
    before = cache.begin("main", ["w"])
    cache.lost()
    during = cache.begin("main", ["x"])
    cache.complete_until(clock.now_s)
    cache.end(before, [("w", OWN)])
    cache.end(during, [("x", OWN)])
    assert len(cache) == 0


def test_it_is_silent_when_it_may_have_missed_something(cache: ListCache, clock: Clock) -> None:
    """Up to 50 ms after the last proof it answers, then no more, then again."""
    clock.now_s += SILENCE_S - 0.001
    assert cache.get("main", "u") is OWN
    clock.now_s += 0.002
    assert cache.get("main", "u") is None
    cache.complete_until(clock.now_s)
    assert cache.get("main", "u") is OWN


def test_it_is_bounded(cache: ListCache) -> None:
    """The oldest give way."""
    for n in range(10):
        keep(cache, f"w{n}", OWN)
    assert len(cache) <= 4
    assert cache.get("main", "w9") is OWN
    assert cache.get("main", "u") is None


@pytest.fixture
def server() -> Iterator[LocalRedis]:
    with LocalRedis() as server:
        yield server


@pytest.fixture
def writer(server: LocalRedis) -> Iterator[redis.Redis]:
    with connect_sync(server.url, timeout_s=5.0) as client:
        client.set("rec:main:u", slate("u", "a"))
        yield client


def item(reader: Reader) -> str:
    return reader.top("u", 1).items[0].item_id


def until(holds: Callable[[], bool], within_s: float = 5.0) -> bool:
    deadline_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.002)
    return True


def test_a_hit_makes_no_round_trip_and_a_change_is_seen(server: LocalRedis, writer: redis.Redis) -> None:
    """Against a real server: the list comes out of the process until it changes; a flush is a change, too."""
    with Reader(server.url, timeout_s=5.0, cached=True) as reader:
        cache = reader.cache
        assert cache is not None
        assert until(lambda: item(reader) == "a" and cache.hits > 0)

        def commands() -> int:
            return int(writer.info("commandstats").get("cmdstat_mget", {"calls": 0})["calls"])  # type: ignore[union-attr]  # not async

        before = commands()
        for _ in range(100):
            assert item(reader) == "a"
        assert commands() <= before + 5  # a pause of this machine makes it ask
        writer.set("rec:main:u", slate("u", "b"))
        time.sleep(SILENCE_S)
        assert item(reader) == "b"
        writer.flushall()
        time.sleep(SILENCE_S)
        assert reader.top("u").fallback == "empty"


def test_a_lost_connection_empties_it_and_it_comes_back(server: LocalRedis, writer: redis.Redis) -> None:
    """What was changed while nobody listened is not answered from before."""
    with Reader(server.url, timeout_s=5.0, cached=True) as reader:
        cache = reader.cache
        assert cache is not None
        assert until(lambda: item(reader) == "a" and len(cache) > 0)
        (listening,) = [each["id"] for each in writer.client_list() if "t" in each["flags"]]
        writer.client_kill_filter(_id=listening)
        assert until(lambda: not cache.fresh, 1.0)
        assert len(cache) == 0
        writer.set("rec:main:u", slate("u", "b"))
        assert item(reader) == "b"
        hits = cache.hits
        assert until(lambda: item(reader) == "b" and cache.hits > hits)


def test_a_paused_redis_is_not_answered_for(server: LocalRedis, writer: redis.Redis) -> None:
    """50 ms after its last word the cache is silent, and the reader says that Redis does not answer."""
    with Reader(server.url, static=("s",), cached=True) as reader:
        cache = reader.cache
        assert cache is not None
        assert until(lambda: reader.top("u").fallback is None and cache.hits > 0)
        server.pause()
        try:
            time.sleep(2 * SILENCE_S)  # the time that passes is what is tried: the cache may not outlast it
            began_s = time.perf_counter()
            answer = reader.top("u")
            assert time.perf_counter() - began_s < 0.2
            assert (answer.fallback, answer.because, answer.items[0].item_id) == ("static", "unavailable", "s")
        finally:
            server.resume()
        assert until(lambda: reader.top("u").fallback is None)


def test_news_that_is_late_proves_nothing(server: LocalRedis, writer: redis.Redis) -> None:
    """Answers to PINGs that come steadily, each 100 ms old, leave the cache silent: so old would its lists be."""
    with late_by(0.1, server.port) as port:
        cache = ListCache("")
        listening = Invalidations(f"redis://127.0.0.1:{port}", cache)
        listening.start()
        assert until(lambda: cache._complete_until_s > 0)
        assert not any(cache.fresh or time.sleep(0.005) for _ in range(60))
        listening.stop()


@contextmanager
def late_by(delay_s: float, port: int) -> Iterator[int]:
    """Yield a port that passes everything on to `port`, and what comes back after a while."""
    ended = threading.Event()

    def carry(source: socket.socket, to: socket.socket, delay_s: float) -> None:
        waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

        def send() -> None:
            while True:
                at_s, data = waiting.get()
                time.sleep(max(0.0, at_s - time.monotonic()))
                if not data:
                    return
                with suppress(OSError):
                    to.sendall(data)

        threading.Thread(target=send, daemon=True).start()
        with suppress(OSError):
            while data := source.recv(65_536):
                waiting.put((time.monotonic() + delay_s, data))
        waiting.put((0.0, b""))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        made: list[socket.socket] = []

        def accept() -> None:
            while not ended.is_set():
                try:
                    near, _ = listener.accept()
                except TimeoutError:
                    continue
                near.settimeout(None)
                far = socket.create_connection(("127.0.0.1", port))
                made.extend((near, far))
                threading.Thread(target=carry, args=(near, far, 0.0), daemon=True).start()
                threading.Thread(target=carry, args=(far, near, delay_s), daemon=True).start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ended.set()
            accepting.join()
            for each in made:
                each.close()


def encoded_list(user: str, items: list[str]) -> bytes:
    """A list as Redis holds it."""
    made = Slate(
        slate_id="",
        list="main",
        user_id=user,
        items=tuple(ScoredItem(each, 1.0) for each in items),
        version=Version(1, 1, 1),
        as_of_ms=0,
        generated_ts_ms=0,
    )
    return encode_slate(made).stored


@pytest.mark.parametrize(
    ("cached", "late_s", "reads"),
    [
        pytest.param(False, 0.0, 2_000, id="uncached"),
        pytest.param(True, SILENCE_S, 50_000, id="cached"),
        pytest.param(False, 0.0, 1_000_000, id="a-million", marks=pytest.mark.long),
        pytest.param(True, SILENCE_S, 1_000_000, id="a-million-cached", marks=pytest.mark.long),
    ],
)
def test_reads_racing_changes_show_nothing_forbidden(
    server: LocalRedis, writer: redis.Redis, cached: bool, late_s: float, reads: int
) -> None:
    """Items are withdrawn, hidden and bought while lists are replaced: no read begun after it (cached: 50 ms after)
    shows one."""
    items, users = [f"i{n}" for n in range(60)], [f"u{n}" for n in range(8)]
    lists = {user: encoded_list(user, items[n:] + items[:n]) for n, user in enumerate(users)}
    for user, value in lists.items():
        writer.set(f"rec:main:{user}", value)
    gone_at_s: dict[tuple[str, str], float] = {}
    wrong: list[tuple[str, str, float]] = []
    done = [0, 0]

    def read(reader: Reader, which: int) -> None:
        while done[which] < reads // 2:
            done[which] += 1
            user = users[(which + done[which]) % len(users)]
            began_s = time.monotonic()
            applied = dict(gone_at_s)
            for each in reader.top(user, len(items)).items:
                for key in (("", each.item_id), (user, each.item_id)):
                    at_s = applied.get(key)
                    if at_s is not None and began_s > at_s + late_s and gone_at_s.get(key) == at_s:
                        wrong.append((*key, began_s - at_s))

    with Reader(server.url, timeout_s=5.0, cached=cached) as reader:
        threads = [threading.Thread(target=read, args=(reader, which)) for which in range(2)]
        for thread in threads:
            thread.start()
        changes = 0
        while any(thread.is_alive() for thread in threads):
            changes += 1
            time.sleep(0.002 if changes % 200 else 0.03)
            user, forbidden = users[changes % len(users)], items[: 1 + changes // 4 % (len(items) - 8)]
            key, whose = ("withdrawn", "") if changes % 8 == 1 else (f"rule:{user}", user)
            for each in items[len(forbidden) :]:  # these may be shown again, from before this is so
                gone_at_s.pop((whose, each), None)
            writer.set(key, encode_item_set(changes, forbidden))
            now_s = time.monotonic()
            for each in forbidden:
                gone_at_s.setdefault((whose, each), now_s)
            if changes % 3 == 0:
                writer.set(f"rec:main:{user}", lists[user])
        for thread in threads:
            thread.join()
        if cached:
            assert reader.cache is not None
            assert reader.cache.hits > 0
    assert sum(done) >= reads - 1
    assert changes > 20
    assert wrong == []
