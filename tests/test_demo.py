"""The demo, end to end: real Kafka, real Valkey, a worker and a follower in processes of their own."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner
from kafka import KafkaAdminClient  # type: ignore[import-untyped]  # it ships no types

from millstream.agents.commands.demo import command
from millstream.agents.demo_log import file_log, simulated_log, user_to_watch
from millstream.agents.demo_next import assignments
from millstream.agents.demo_servers import environment
from millstream.online_learning.step import Step
from millstream.schemas.columns import Chunk, catalogue_chunk
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.settings import Input, load_settings

DEMO = [sys.executable, "-m", "millstream.agents.cli", "demo"]
KEYS = {
    "kafka", "events", "events_per_s", "users", "slates", "dead_letters", "freshness_ms", "effort", "state_hash",
    "quality", "popularity", "drifts", "last_drift",
}  # fmt: skip


def variables(kafka: str, redis_url: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MILLSTREAM_")}
    return ours | {
        "MILLSTREAM_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "MILLSTREAM_REDIS__URL": redis_url,
    }


def demo(*options: str, env: dict[str, str], cwd: Path) -> dict[str, Any]:
    done = subprocess.run([*DEMO, *options, "--json"], env=env, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def hash_without_kafka(events: int, topic: str) -> str:
    log = simulated_log(events)
    step = Step(load_settings().learning)
    step.apply(catalogue_chunk(log.catalogue))
    step.apply(Chunk(topic, 0, 0, events, log.columns), lists=False)
    return step.state_hash()


def test_the_demo_runs_through_real_kafka_and_sums_up(kafka: LocalKafka, redis_url: str, tmp_path: Path) -> None:
    """Every event is learned and measured; on servers of the user's nothing is left behind."""
    with redis.Redis.from_url(redis_url) as client:
        keys_before = set(client.scan_iter())
        options = ("--simulate", "--limit", "2000", "--rate", "2000")
        found = demo(*options, env=variables(kafka.bootstrap, redis_url), cwd=tmp_path)
        assert set(found) == KEYS
        assert kafka.bootstrap in found["kafka"]
        assert found["events"] == 2_000
        assert found["dead_letters"] == 0
        assert found["slates"] > 0
        assert 0 < found["freshness_ms"]["p50"] <= found["freshness_ms"]["p99"]
        assert found["users"] == len(set(simulated_log(2_000).columns.user_ids))
        assert found["quality"]["n"] == found["popularity"]["n"] > 0
        assert found["quality"]["lists"] == found["popularity"]["lists"] > 0
        assert 0 < found["popularity"]["coverage"] < found["quality"]["coverage"] <= 1
        assert found["state_hash"] == hash_without_kafka(2_000, "interactions")
        assert {key for key in set(client.scan_iter()) - keys_before if key.startswith(b"demo-")} == set()
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    assert [topic for topic in admin.list_topics() if topic.startswith("demo-")] == []
    admin.close()
    assert list(tmp_path.iterdir()) == []


def test_without_kafka_the_same_events_go_the_same_way(redis_url: str, tmp_path: Path) -> None:
    """--no-kafka learns the state that the log alone gives, serves its lists, and says that Kafka was left out."""
    env = variables("127.0.0.1:1", redis_url)
    found = demo("--no-kafka", "--simulate", "--limit", "1500", "--rate", "3000", env=env, cwd=tmp_path)
    assert set(found) == KEYS
    assert found["kafka"] == "none"
    assert found["events"] == 1_500
    assert found["slates"] > 0
    assert found["freshness_ms"]["p99"] > 0
    assert found["state_hash"] == hash_without_kafka(1_500, "interactions")


def test_ctrl_c_stops_all_it_started(redis_url: str, tmp_path: Path) -> None:
    """SIGINT half-way: exit status 130 and no process of the run is left."""
    env = variables("127.0.0.1:1", redis_url)
    running = subprocess.Popen(
        [*DEMO, "--no-kafka", "--simulate", "--limit", "20000", "--rate", "500"],
        env=env,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    for line in running.stdout:
        if "events  " in line:  # the first plain line: it runs
            break
    followers = _children(running.pid)
    assert followers
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130, said
    assert "stopped" in said
    assert [pid for pid in followers if _is_there(pid)] == []


def test_a_log_of_ones_own_is_replayed(redis_url: str, tmp_path: Path) -> None:
    """--log with --items and --min-rating: bad lines and low ratings are no events of the run."""
    log, items = tmp_path / "clicks.jsonl", tmp_path / "items.jsonl"
    rows = [
        {"user": f"u{n % 5}", "item": f"i{n % 7}", "ts": 1_700_000_000_000 + n, "rating": 1 + n % 5}
        for n in range(1, 101)
    ]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows) + "not json\n")
    items.write_text('{"item": "i1", "title": "One"}\n')
    options = ("--log", str(log), "--items", str(items), "--min-rating", "4", "--no-kafka", "--user", "u3")
    found = demo(*options, env=variables("127.0.0.1:1", redis_url), cwd=tmp_path)
    assert found["events"] == 40
    assert file_log(log, items, 4.0, exclude_consumed=False, limit=None).titles == {"i1": "One"}


@pytest.mark.parametrize(
    "options",
    [
        ["--simulate", "--min-rating", "4"],
        ["--items", __file__],
        ["--rate", "0"],
        ["--limit", "0"],
        ["--simulate", "--limit", "50", "--user", "nobody"],
        ["--log", "no-such-file"],
    ],
)
def test_bad_usage_exits_2_before_anything_is_started(options: list[str]) -> None:
    """What cannot be meant is said at once."""
    assert CliRunner().invoke(command, options).exit_code == 2


def test_the_watched_user_is_active_all_along() -> None:
    """Spread counts first, then events, then the lesser id; an empty log has nobody to watch."""
    assert user_to_watch([]) is None
    all_along = {0: "steady", 1: "other"}
    assert user_to_watch([all_along.get(row % 10, f"burst-{row // 100}") for row in range(1_000)]) == "other"
    assert user_to_watch(["b", "a"]) == "a"


def test_another_process_reads_the_settings_of_the_run(tmp_path: Path) -> None:
    """What `environment` says is what `load_settings` makes of it, whatever variables stood there."""
    settings = load_settings(redis={"prefix": "p:"}, inputs=[{"topic": "t", "kinds": {"see": "click"}}])
    ask = (
        "import sys, pickle; from millstream.streams.settings import load_settings;"
        "sys.exit(load_settings() != pickle.loads(sys.stdin.buffer.read()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", ask],
        env=environment(settings),
        cwd=tmp_path,
        input=pickle.dumps(settings),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_next_commands_name_only_what_differs() -> None:
    """Settings equal to what a command reads anyway are left out; the rest is quoted for a shell."""
    settings = load_settings()
    assert assignments(settings) == ""
    mine = settings.model_copy(
        update={"redis": settings.redis.model_copy(update={"prefix": "a b:"}), "inputs": (Input(topic="t"),)}
    )
    assert assignments(mine, only={"redis"}) == "MILLSTREAM_REDIS__PREFIX='a b:' "
    assert 'MILLSTREAM_INPUTS=\'[{"topic": "t"' in assignments(mine)


def _children(pid: int) -> list[int]:
    told = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in told.stdout.split()]


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
