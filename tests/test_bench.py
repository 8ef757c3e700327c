"""The benches, small and end to end: their keys, finite figures, and that a void measurement is refused. No timing."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from click.testing import CliRunner
from kafka import KafkaAdminClient
from logs import SMALL, chunk_of, columns_of, random_log

from millstream.agents.bench.exhaustive import SOURCES, exhaustive_top, source_of
from millstream.agents.bench.loop import verify_lists
from millstream.agents.bench.popularity_alone import PopularityAlone, popularity_alone
from millstream.agents.bench.rank import make_lists
from millstream.agents.bench.report import Report, WrongResult
from millstream.agents.bench.shoppers import distinct_users, shoppers_log
from millstream.agents.bench.stages import SCORE, STAGES, rank_as_far_as
from millstream.agents.commands.bench import command
from millstream.agents.encoders import missing_packages
from millstream.online_learning import ranking
from millstream.online_learning.blend import gap_context, history_context
from millstream.online_learning.scratch import KNN, SECOND
from millstream.online_learning.shortlist import FULL
from millstream.online_learning.slate_maker import reserve_lists
from millstream.online_learning.step import Step
from millstream.schemas.columns import catalogue_chunk
from millstream.schemas.records import Item, Slate, Version
from millstream.schemas.slates import encode_slate
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.redis_connection import connect
from millstream.streams.redis_topic import RedisTopic

MAY_BE_NOTHING = ("us_", "missed_", "half_")
"""Figures that are differences of two timings, or shares."""
BENCH = [sys.executable, "-m", "millstream.agents.cli", "bench"]


def variables(kafka: str, redis_url: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MILLSTREAM_")}
    return ours | {"MILLSTREAM_KAFKA__BOOTSTRAP_SERVERS": kafka, "MILLSTREAM_REDIS__URL": redis_url}


def bench(*options: str, env: dict[str, str], cwd: Path) -> dict[str, Any]:
    """Run one, check its shape, and return what it printed."""
    done = subprocess.run([*BENCH, *options, "--json"], env=env, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == {"bench", "figures", "baseline", "ratios", "facts"}
    for part in ("figures", "baseline", "ratios"):
        for key, value in found[part].items():
            for each in value if isinstance(value, list) else [value]:
                assert math.isfinite(each), f"{part}.{key} = {value}"
                assert each > 0 or key.startswith(MAY_BE_NOTHING), f"{part}.{key} = {value}"
    assert list(cwd.iterdir()) == []
    return found


def left_behind(kafka: str, redis_url: str) -> set[str]:
    """Return the topics and keys that a bench made on servers which are not its own, and that are still there."""
    topics: set[str] = set()
    if kafka:
        admin = KafkaAdminClient(bootstrap_servers=kafka)
        topics = {topic for topic in admin.list_topics() if topic.startswith("bench-")}
        admin.close()
    with redis.Redis.from_url(redis_url) as client:
        return topics | {key.decode() for key in client.scan_iter(match="bench-*")}


def test_loop_measures_the_worker_against_bare_faust(kafka: LocalKafka, redis_url: str, tmp_path: Path) -> None:
    """Every event is learned and published in each run, and nothing is left on servers of the user's."""
    options = ("--events", "4000", "--baseline-events", "2000", "--runs", "2")
    found = bench("loop", *options, env=variables(kafka.bootstrap, redis_url), cwd=tmp_path)
    assert set(found["ratios"]) == {"loop_over_faust_async_for"}
    assert found["ratios"]["loop_over_faust_async_for"] == min(found["figures"]["runs_ratio"])
    assert found["figures"]["events"] == 4_000
    assert found["figures"]["users"] == len(set(shoppers_log(4_000).user_ids))
    assert found["figures"]["lists"] >= found["figures"]["users"]
    assert found["figures"]["distinct_users_per_1000_events"] >= 250
    assert len(found["figures"]["runs_ratio"]) == len(found["baseline"]["runs_events_per_s"]) == 2
    assert left_behind(kafka.bootstrap, redis_url) == set()


def test_freshness_counts_every_event(kafka: LocalKafka, redis_url: str, tmp_path: Path) -> None:
    """Both the worker's and the floor's figures are over all events offered; not over those learned before."""
    log = tmp_path / "logs" / "clicks.jsonl"
    log.parent.mkdir()
    rows = [{"user": f"u{n % 40}", "item": f"i{n % 7}", "ts": 1_700_000_000_000 + n} for n in range(700)]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (empty := tmp_path / "cwd").mkdir()
    options = ("--log", str(log), "--rate", "500", "--seconds", "1.2", "--after", "60", "--workers", "2")
    found = bench("freshness", *options, env=variables(kafka.bootstrap, redis_url), cwd=empty)
    figures = found["figures"]
    assert figures["events"] == found["baseline"]["events"] == 600
    assert (figures["learned_before"], figures["workers"]) == (60, 2)
    assert 0 < figures["staleness_p99_ms"] < 10_000
    assert figures["freshness_p50_ms"] <= figures["freshness_p99_ms"] <= figures["freshness_max_ms"]
    assert found["baseline"]["freshness_p50_ms"] <= found["baseline"]["freshness_p99_ms"]
    assert left_behind(kafka.bootstrap, redis_url) == set()


def test_publish_measures_the_topic_against_plain_sets(redis_url: str, tmp_path: Path) -> None:
    """Needs no Kafka."""
    options = ("--events", "2000", "--seconds", "0.2", "--runs", "1")
    found = bench("publish", *options, env=variables("127.0.0.1:1", redis_url), cwd=tmp_path)
    assert set(found["ratios"]) == {"publish_over_set"}
    assert found["figures"]["bytes_per_list"] > 100


NO_SERVER = variables("127.0.0.1:1", "redis://127.0.0.1:1/0")


def test_learn_makes_a_list_after_each_event_and_says_where_the_time_goes(tmp_path: Path) -> None:
    """Needs no server; all ways end in one state, and the bytes are within the bounds that the README promises."""
    found = bench("learn", "--limit", "2500", "--runs", "2", env=NO_SERVER, cwd=tmp_path)
    figures = found["figures"]
    assert figures["events"] == found["baseline"]["events"] == 2_500
    assert set(found["ratios"]) == {"lists_over_evaluate", "lists_over_popularity"}
    assert figures["events_per_s_with_lists"] == min(figures["runs_events_per_s_with_lists"])
    assert len(figures["runs_events_per_s"]) == 2
    assert {f"us_{stage}" for stage in (*STAGES, "measure_and_vectors", "list", "list_as_text")} <= set(figures)
    assert figures["most_bytes_per_user"] <= 2_048
    assert figures["most_bytes_per_item"] <= 10_240


def test_learn_takes_a_log_as_evaluate_does(tmp_path: Path) -> None:
    """The same options leave the same events, and the quality is evaluate's; reading counts."""
    log = tmp_path / "logs" / "ratings.csv"
    log.parent.mkdir()
    rng = np.random.default_rng(1)
    users, items = rng.integers(0, 30, 900), (60 * rng.random(900) ** 2).astype(int)
    rows = [f"u{users[n]},i{items[n]},{1_700_000_000_000 + n},{n % 5 + 1}" for n in range(900)]
    log.write_text("\n".join(["user,item,ts,rating", *rows]))
    (empty := tmp_path / "cwd").mkdir()
    options = (str(log), "--min-rating", "2", "--exclude-consumed", "--limit", "400")
    command = [sys.executable, "-m", "millstream.agents.cli", "evaluate", *options, "--json"]
    done = subprocess.run(command, env=NO_SERVER, cwd=empty, capture_output=True, text=True, check=True)
    expected = json.loads(done.stdout.splitlines()[-1])
    found = bench("learn", "--log", *options, "--runs", "1", env=NO_SERVER, cwd=empty)
    assert found["figures"]["events"] == expected["events"] == 400
    assert found["figures"]["half_hit@10"] == pytest.approx(expected["half"]["hit@10"], rel=1e-4)
    assert any(expected["state_hash"] in fact for fact in found["facts"])
    assert found["figures"]["us_read"] > 0


@pytest.mark.parametrize("exclude", [False, True])
def test_as_far_as_the_last_stage_is_what_a_ranking_does(exclude: bool) -> None:
    """The same shortlist with the same scores as the kernel's own ranking, so what is timed is what happens."""
    step = Step(replace(SMALL, exclude_consumed=exclude))
    step.apply(chunk_of(random_log(1_500, users=30, items=400, seed=1)), lists=False)
    m, h = step.model, step.model.histories
    mine, theirs = (ranking.bench(SMALL) for _ in range(2))
    for user in range(30):
        events = int(h.events[user])
        gap = gap_context(events, step.last_ms - int(h.last_ms[user]))
        history = history_context(events)
        n = ranking.rank(m, theirs, user, step.last_ms, step.seq, history, gap, exclude, FULL)
        assert rank_as_far_as(m, mine, user, 0, step.last_ms, np.float32(1.0), step.seq, exclude, SCORE) == n
        np.testing.assert_array_equal(mine.scratch.items[:n], theirs.scratch.items[:n])
        np.testing.assert_array_equal(mine.scores[:n], theirs.scores[:n])


def test_popularity_alone_ranks_as_a_sort_does() -> None:
    """By falling count, ties half; the order is one that a sort by count allows."""
    rng = np.random.default_rng(2)
    popular, counts = PopularityAlone(), Counter[str]()
    for item in rng.integers(0, 30, 2_000):
        item_id = f"i{item}"
        mine = counts[item_id]
        above = sum(count > mine for count in counts.values())
        tied = sum(count == mine for count in counts.values()) - 1
        assert popular.rank(item_id) == (1 + above + tied / 2 if mine else None)
        popular.count(item_id)
        counts[item_id] += 1
        falling = [counts[each] for each in popular.order]
        assert falling == sorted(counts.values(), reverse=True)


def test_popularity_alone_lists_nothing_that_the_user_had() -> None:
    """One list a choice; with `exclude` a user who had everything gets none."""
    columns = columns_of(["a", "a", "b"], ["i", "j", "i"])
    assert popularity_alone(columns, length=2, exclude=False, lists=True) == 3
    assert popularity_alone(columns, length=2, exclude=True, lists=True) == 1
    assert popularity_alone(columns, length=2, exclude=True, lists=False) == 0


def test_rank_measures_growth_and_what_the_shortlist_misses(tmp_path: Path) -> None:
    """Every catalogue has its column; overlap and what is missed make a whole."""
    options = ("--items", "600,150", "--users", "20", "--events", "3000")
    found = bench("rank", *options, env=NO_SERVER, cwd=tmp_path)
    figures = found["figures"]
    assert figures["items"] == found["baseline"]["items"] == [150, 600]
    assert found["baseline"]["users"] == [20, 20]
    assert all(p50 <= p99 for p50, p99 in zip(figures["rank_p50_us"], figures["rank_p99_us"], strict=True))
    missed = [figures[f"missed_{source}"] for source in SOURCES]
    assert [sum(shares) for shares in zip(figures["overlap"], *missed, strict=True)] == pytest.approx([1, 1], abs=1e-4)
    assert figures["overlap"][0] >= 0.95  # nearly all of so small a catalogue is on the shortlist
    assert set(found["ratios"]) == {"growth_p50", "growth_p99", "exhaustive_over_rank"}


@pytest.mark.parametrize("exclude", [False, True])
def test_exhaustive_scoring_gives_a_shortlisted_item_its_score(exclude: bool) -> None:
    """All items are scored, each once; those on the shortlist as the list scores them; none that is barred."""
    step = Step(replace(SMALL, exclude_consumed=exclude))
    step.apply(chunk_of(random_log(1_500, users=30, items=400, seed=1)), lists=False)
    b = ranking.bench(SMALL)
    h, lists = step.model.histories, reserve_lists(1, SMALL.list_length)
    for user in range(30):
        items, scores = exhaustive_top(step, b, user, SMALL.max_items)
        own = set(h.item[user, : h.held[user]].tolist())
        assert sorted(items.tolist()) == sorted(set(range(len(step.items))) - (own if exclude else set()))
        assert all(np.diff(scores) <= 0)
        make_lists(step.model, b, np.array([user], np.int32), step.last_ms, step.seq, exclude, FULL, lists)
        of = dict(zip(items.tolist(), scores.tolist(), strict=True))
        assert [of[item] for item in lists.item[0].tolist()] == lists.score[0].tolist()


def test_what_the_shortlist_missed_is_put_down_to_what_met_it() -> None:
    """The walk before neighbours before second order before the boards; nothing knows of an item nobody chose."""
    step = Step(SMALL)
    step.apply(catalogue_chunk([Item(item_id="never")]))
    step.apply(chunk_of(columns_of(["a"] * 3, ["i", "j", "k"])), lists=False)
    b = ranking.bench(SMALL)
    exhaustive_top(step, b, 0, 4)
    never, i, j = (int(row) for row in step.items.rows(["never", "i", "j"]))
    assert [source_of(step, b, row) for row in (never, i)] == ["none", "walk"]
    b.scratch.sums[i] = 0
    b.scratch.sums[j] = 0
    b.scratch.sums[j, SECOND] = 1
    assert [source_of(step, b, row) for row in (i, j)] == ["popular", "second_order"]
    b.scratch.sums[j, KNN] = 1
    assert source_of(step, b, j) == "neighbours"


def test_read_measures_the_reader_and_http_against_their_floors(
    kafka: LocalKafka, redis_url: str, tmp_path: Path
) -> None:
    """Also beside a worker that learns at the rate asked for; whatever is read is checked to be what was published."""
    options = ("--events", "1000", "--seconds", "0.4", "--rate", "50", "--runs", "1", "--loop-rate", "50")
    found = bench("read", *options, env=variables(kafka.bootstrap, redis_url), cwd=tmp_path)
    floors = {"reader_over_get", "http_over_fastapi", "http_p99_over_fastapi"}
    assert floors | {"http_beside_loop_p99_over_fastapi"} <= set(found["ratios"])
    assert found["figures"]["cache_hit_us"] < found["figures"]["reader_us"]
    assert left_behind(kafka.bootstrap, redis_url) == set()


@pytest.mark.long
def test_recovery_kills_a_worker_and_measures_what_comes_then(
    kafka: LocalKafka, redis_url: str, tmp_path: Path
) -> None:
    """Of a small state; whatever waited is learned and published."""
    options = ("--users", "300", "--items", "100", "--events-per-user", "3", "--waiting", "200")
    found = bench("recovery", *options, env=variables(kafka.bootstrap, redis_url), cwd=tmp_path)
    figures = found["figures"]
    assert (figures["users"], figures["items"], figures["events"]) == (300, 100, 900)
    assert 10_000 < figures["snapshot_bytes"] < figures["resident_bytes"]
    assert 0 < figures["pause_p50_ms"] <= figures["pause_p99_ms"] <= figures["pause_max_ms"]
    assert figures["load_s"] < figures["first_list_s"]
    assert set(found["ratios"]) == {"catch_up_over_learn"}
    assert left_behind(kafka.bootstrap, redis_url) == set()


def test_ctrl_c_stops_all_it_started(kafka: LocalKafka, redis_url: str, tmp_path: Path) -> None:
    """SIGINT while the worker runs: exit status 130, and neither processes nor keys nor topics are left."""
    running = subprocess.Popen(
        [*BENCH, "freshness", "--rate", "100", "--seconds", "20"],
        env=variables(kafka.bootstrap, redis_url),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    for line in running.stderr:
        if "to a bare consumer" in line:
            break
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "stopped" in said
    told = subprocess.run(["ps", "-eo", "args="], capture_output=True, text=True, check=True).stdout
    assert [line for line in told.splitlines() if "bench.bare_consumer" in line and kafka.bootstrap in line] == []
    assert left_behind(kafka.bootstrap, redis_url) == set()


async def test_a_user_without_their_last_list_makes_a_run_void(redis_url: str, prefix: str) -> None:
    """Missing and older lists are both counted."""
    client = connect(redis_url)
    lists = RedisTopic(client, prefix=prefix, ttl_s=60, feed_length=100)
    for user, position in (("ann", 5), ("bob", 3)):
        await lists.publish(
            [
                encode_slate(
                    Slate(
                        slate_id="",
                        list="main",
                        user_id=user,
                        items=(),
                        version=Version(1, position, 1),
                        as_of_ms=0,
                        generated_ts_ms=0,
                    )
                )
            ]
        )
    await verify_lists(client, prefix, {"ann": 5, "bob": 3})
    with pytest.raises(WrongResult, match="of 3 users 2 have no list"):
        await verify_lists(client, prefix, {"ann": 5, "bob": 4, "carl": 1})
    await client.aclose()


@pytest.mark.skipif(bool(missing_packages()), reason="the extra `text` is not installed")
def test_search_finds_what_it_put_and_nearly_all_of_the_nearest(
    kafka: LocalKafka, redis_url: str, tmp_path: Path
) -> None:
    """Small: both halves run, searches are personal, each new item was found by its words and by its vector."""
    env = variables(kafka.bootstrap, redis_url) | {"MILLSTREAM_CONTENT__ENCODER": "light"}
    options = ("--catalogue", "150", "--vectors", "3000", "--width", "16", "--queries", "12", "--puts", "2")
    found = bench("search", *options, env=env, cwd=tmp_path)
    figures = found["figures"]
    assert figures["ann_recall_at_50"] >= 0.95
    assert figures["search_personal_share"] > 0
    assert 0 < figures["put_to_found_p99_ms"] <= figures["put_to_meant_p99_ms"]
    assert set(found["ratios"]) >= {"ann_speed_over_exact", "ann_speed_over_own_exact"}


@pytest.mark.skipif(bool(missing_packages()), reason="the extra `text` is not installed")
def test_encode_measures_new_items_and_the_clicks_beside(kafka: LocalKafka, redis_url: str, tmp_path: Path) -> None:
    """Small: every item was encoded, each single one became a candidate, and clicks came through while others were."""
    env = variables(kafka.bootstrap, redis_url) | {"MILLSTREAM_CONTENT__ENCODER": "light"}
    options = ("--items", "20000", "--puts", "2", "--turns", "1", "--rate", "200", "--seconds", "1")
    found = bench("encode", *options, env=env, cwd=tmp_path)
    assert 0 < found["figures"]["put_to_recommendable_p50_ms"] <= found["figures"]["put_to_recommendable_p99_ms"]
    assert len(found["baseline"]["freshness_p50_ms"]) == len(found["figures"]["freshness_p50_ms"]) == 1
    assert set(found["ratios"]) >= {"items_encoded_over_alone", "freshness_p50_encoding_over_quiet"}


def test_a_log_of_few_users_makes_a_run_void() -> None:
    """Below 250 in any thousand the worker would be measured on hardly any lists; a short log is what it is."""
    assert distinct_users(["a", "b"]) == 2
    assert distinct_users([str(n % 250) for n in range(2_000)]) == 250
    with pytest.raises(WrongResult, match="249 users"):
        distinct_users([str(n) for n in range(1_000)] + [str(n % 249) for n in range(1_000)])


def test_the_report_is_plain_json_and_a_table() -> None:
    """Infinite figures are null in JSON and a dash for people."""
    report = Report(
        "x", {"a_ms": 1234.5678, "b": [1, math.inf]}, {"a_ms": 2.0}, {"r": 617.2839}, {"r": "≥ 2"}, ("fact",)
    )
    assert report.as_json() == {
        "bench": "x",
        "figures": {"a_ms": 1234.6, "b": [1, None]},
        "baseline": {"a_ms": 2.0},
        "ratios": {"r": 617.28},
        "facts": ["fact"],
    }
    assert report.table().row_count == 3


@pytest.mark.parametrize(
    "options",
    [
        ["nope"],
        ["loop", "--runs", "0"],
        ["freshness", "--rate", "0"],
        ["freshness", "--after", "-1"],
        ["freshness", "--kill"],
        ["learn", "--limit", "0"],
        ["rank", "--items", "9"],
        ["search", "--catalogue", "3"],
    ],
)
def test_bad_usage_exits_2(options: list[str]) -> None:
    """Before anything is started."""
    assert CliRunner().invoke(command, options).exit_code == 2
