"""The benches, small and end to end: their keys, finite figures, and that a void measurement is refused. No timing."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner
from kafka import KafkaAdminClient

from millstream.agents.bench.loop import verify_lists
from millstream.agents.bench.report import Report, WrongResult
from millstream.agents.bench.shoppers import distinct_users, shoppers_log
from millstream.agents.commands.bench import command
from millstream.schemas.records import Slate, Version
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.redis_connection import connect
from millstream.streams.redis_topic import RedisTopic

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
                assert each > 0, f"{part}.{key} = {value}"
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
    """Both the worker's and the floor's figures are over all events offered; a log of one's own will do."""
    log = tmp_path / "logs" / "clicks.jsonl"
    log.parent.mkdir()
    rows = [{"user": f"u{n % 40}", "item": f"i{n % 7}", "ts": 1_700_000_000_000 + n} for n in range(700)]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (empty := tmp_path / "cwd").mkdir()
    options = ("--log", str(log), "--rate", "500", "--seconds", "1.2")
    found = bench("freshness", *options, env=variables(kafka.bootstrap, redis_url), cwd=empty)
    assert found["figures"]["events"] == found["baseline"]["events"] == 600
    assert found["figures"]["freshness_p50_ms"] <= found["figures"]["freshness_p99_ms"]
    assert found["baseline"]["freshness_p50_ms"] <= found["baseline"]["freshness_p99_ms"]
    assert left_behind(kafka.bootstrap, redis_url) == set()


def test_publish_measures_the_topic_against_plain_sets(redis_url: str, tmp_path: Path) -> None:
    """Needs no Kafka."""
    options = ("--events", "2000", "--seconds", "0.2", "--runs", "1")
    found = bench("publish", *options, env=variables("127.0.0.1:1", redis_url), cwd=tmp_path)
    assert set(found["ratios"]) == {"publish_over_set"}
    assert found["figures"]["bytes_per_list"] > 100


def test_learn_says_what_a_user_and_an_item_take(tmp_path: Path) -> None:
    """Needs no server; the bytes are within the bounds that the README promises."""
    options = ("--events", "500", "--warm-events", "2000")
    env = variables("127.0.0.1:1", "redis://127.0.0.1:1/0")
    found = bench("learn", *options, env=env, cwd=tmp_path)
    assert found["figures"]["lists"] == found["figures"]["events"] == 500
    assert found["figures"]["lists_in_chunks"] < 500
    assert found["figures"]["most_bytes_per_user"] <= 2_048
    assert found["figures"]["most_bytes_per_item"] <= 10_240


def test_read_measures_the_reader_and_http_against_their_floors(redis_url: str, tmp_path: Path) -> None:
    """Needs no Kafka; whatever is read is checked to be what was published."""
    options = ("--events", "2000", "--seconds", "0.3", "--rate", "50", "--runs", "1")
    found = bench("read", *options, env=variables("127.0.0.1:1", redis_url), cwd=tmp_path)
    assert set(found["ratios"]) == {"reader_over_get", "http_over_fastapi", "http_p99_over_fastapi"}
    assert found["figures"]["cache_hit_us"] < found["figures"]["reader_us"]
    assert left_behind("", redis_url) == set()


def test_read_is_measured_beside_a_worker_at_work(kafka: LocalKafka, redis_url: str, tmp_path: Path) -> None:
    """The worker learned at the rate asked for, or the run would be void; nothing of it is left."""
    options = ("--events", "1000", "--seconds", "0.5", "--rate", "50", "--runs", "1", "--loop-rate", "50")
    found = bench("read", *options, env=variables(kafka.bootstrap, redis_url), cwd=tmp_path)
    assert "http_beside_loop_p99_over_fastapi" in found["ratios"]
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
                Slate(
                    slate_id="",
                    list="main",
                    user_id=user,
                    items=(),
                    version=Version(1, position, 1),
                    as_of_ms=0,
                    generated_ts_ms=0,
                )
            ]
        )
    await verify_lists(client, prefix, {"ann": 5, "bob": 3})
    with pytest.raises(WrongResult, match="of 3 users 2 have no list"):
        await verify_lists(client, prefix, {"ann": 5, "bob": 4, "carl": 1})
    await client.aclose()


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


@pytest.mark.parametrize("options", [["nope"], ["loop", "--runs", "0"], ["freshness", "--rate", "0"]])
def test_bad_usage_exits_2(options: list[str]) -> None:
    """Before anything is started."""
    assert CliRunner().invoke(command, options).exit_code == 2
