"""The command line: how commands are found, how they fail, and the three that look after the set-up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import ANY

import pytest
import redis
from click.testing import CliRunner
from endpoints import endpoint, says
from kafka import KafkaProducer

from millstream.agents.cli import COMMANDS, main
from millstream.streams.kafka_probe import answering_broker
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.local_process import free_ports


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    """A runner in an empty folder, with none of the settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("MILLSTREAM_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return CliRunner()


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, kafka: LocalKafka, redis_url: str, topic_name: str) -> str:
    """Settings in the environment for a pipeline with topics of its own; returns its input's name."""
    monkeypatch.setenv("MILLSTREAM_KAFKA__BOOTSTRAP_SERVERS", kafka.bootstrap)
    monkeypatch.setenv("MILLSTREAM_KAFKA__GROUP_ID", topic_name)
    monkeypatch.setenv("MILLSTREAM_REDIS__URL", redis_url)
    monkeypatch.setenv("MILLSTREAM_INPUTS", json.dumps([{"topic": topic_name}]))
    for name in ("items", "item_vectors", "recommendations", "dead_letters", "model_log", "control"):
        monkeypatch.setenv(f"MILLSTREAM_TOPICS__{name.upper()}", f"{topic_name}.{name}")
    return topic_name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_and_json(runner: CliRunner, name: str) -> None:
    """`millstream NAME --help` shows an example that calls NAME; commands that answer have --json."""
    shown = runner.invoke(main, [name, "--help"])
    assert shown.exit_code == 0, shown.output
    assert f"millstream {name}" in shown.output.partition("xample")[2]
    if name not in ("worker", "serve"):  # these two run until stopped and answer nothing
        assert "--json" in shown.output


def test_an_unknown_command_is_bad_usage(runner: CliRunner) -> None:
    """Exit status 2, as for an option that does not exist."""
    assert runner.invoke(main, ["nope"]).exit_code == 2
    assert runner.invoke(main, ["topics", "--nope"]).exit_code == 2


def test_wrong_settings_are_all_named_and_exit_1(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line for each, with the value, and no traceback."""
    monkeypatch.setenv("MILLSTREAM_TOPICS__PARTITIONS", "0")
    monkeypatch.setenv("MILLSTREAM_SNAPSHOTS__KEEP", "many")
    failed = runner.invoke(main, ["topics"])
    assert failed.exit_code == 1
    assert "MILLSTREAM_TOPICS__PARTITIONS = '0'" in failed.output
    assert "MILLSTREAM_SNAPSHOTS__KEEP = 'many'" in failed.output
    assert "Traceback" not in failed.output
    seen = json.loads(runner.invoke(main, ["doctor", "--json"]).output.splitlines()[-1])
    assert not seen["ok"]
    assert "MILLSTREAM_SNAPSHOTS__KEEP" in seen["findings"][0]["detail"]


def test_topics_creates_then_describes(runner: CliRunner, pipeline: str) -> None:
    """The first run creates, the second finds them there; both exit 0 and print one JSON object."""
    for created in (True, False):
        done = runner.invoke(main, ["topics", "--json"])
        assert done.exit_code == 0, done.output
        topics = json.loads(done.output.splitlines()[-1])["topics"]
        assert [topic["created"] for topic in topics] == [created] * 7
    shown = runner.invoke(main, ["topics"])
    assert f"{pipeline}.model_log" in shown.output
    assert "cleanup.policy=compact" in shown.output


def test_topics_names_the_address_that_does_not_answer(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """No broker: exit 1 and one line with the address and what to do."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setenv("MILLSTREAM_KAFKA__BOOTSTRAP_SERVERS", address)
    failed = runner.invoke(main, ["topics"])
    assert failed.exit_code == 1
    assert failed.output.splitlines() == [
        f"Error: no Kafka broker answers at {address}; start one with `millstream up`, "
        "or name a running one in MILLSTREAM_KAFKA__BOOTSTRAP_SERVERS"
    ]


def test_doctor_finds_a_sound_set_up_sound(runner: CliRunner, pipeline: str) -> None:
    """Missing topics are wrong and have a remedy; once they are there nothing is wrong, and the lag is told."""
    before = runner.invoke(main, ["doctor", "--json"])
    assert before.exit_code == 1
    wrong = [finding for finding in json.loads(before.output)["findings"] if finding["ok"] is False]
    assert [finding["remedy"] for finding in wrong] == ["`millstream topics` creates it"] * 7
    assert runner.invoke(main, ["topics"]).exit_code == 0
    after = runner.invoke(main, ["doctor", "--json"])
    assert after.exit_code == 0, after.output
    seen = json.loads(after.output)
    assert seen["ok"]
    assert [(each["topic"], each["lag"], each["committed"]) for each in seen["lag"]] == [(pipeline, 0, None)] * 4
    assert "group" in runner.invoke(main, ["doctor"]).output


def test_doctor_refuses_an_input_that_is_not_keyed_by_user(runner: CliRunner, kafka: LocalKafka, pipeline: str) -> None:
    """The user and both partitions are named, with the remedy."""
    assert runner.invoke(main, ["topics"]).exit_code == 0
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    for partition in (1, 2):
        producer.send(pipeline, b'{"user": "ann", "item": "7", "ts": 1790000000000}', partition=partition)
    producer.flush()
    producer.close()
    seen = runner.invoke(main, ["doctor"])
    assert seen.exit_code == 1
    assert "not keyed by user: events of 'ann' are in partitions 1 and 2" in seen.output


def test_doctor_asks_the_endpoint_for_words_once(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one it says that templates do it; one that does not answer is wrong, one that lies is worth knowing."""

    def found() -> dict[str, object]:
        findings = json.loads(runner.invoke(main, ["doctor", "--json"]).output.splitlines()[-1])["findings"]
        return next(each for each in findings if each["what"] == "words")

    assert found() == {"what": "words", "ok": True, "detail": ANY, "remedy": ""}
    assert "templates, in en, de" in str(found()["detail"])
    monkeypatch.setenv("MILLSTREAM_WORDS__MODEL", "m")
    monkeypatch.setenv("MILLSTREAM_WORDS__API_KEY", "the-secret-key")
    with endpoint() as fake:
        monkeypatch.setenv("MILLSTREAM_WORDS__ENDPOINT", fake.url)
        fake.answering = says("Often chosen together with “A teapot”.")
        assert found()["ok"] is True
        assert "s, 100 tokens: Often chosen together with “A teapot”" in str(found()["detail"])
        fake.answering = says("The best tea")
        assert (found()["ok"], "would be refused (title)" in str(found()["detail"])) == (None, True)
        fake.answering = lambda asked: (401, b"")
        assert (found()["ok"], "HTTP 401" in str(found()["detail"])) == (False, True)
    assert found()["ok"] is False
    assert "the-secret-key" not in runner.invoke(main, ["doctor"]).output


def test_doctor_prints_no_password(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says is pasted into tickets."""
    monkeypatch.setenv("MILLSTREAM_REDIS__URL", f"redis://me:secret@127.0.0.1:{free_ports(1)[0]}/0")
    assert "secret" not in runner.invoke(main, ["doctor"]).output


def test_doctor_names_every_server_that_does_not_answer(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both addresses are named, each with a remedy, and the exit status is 1."""
    kafka_port, redis_port = free_ports(2)
    monkeypatch.setenv("MILLSTREAM_KAFKA__BOOTSTRAP_SERVERS", f"127.0.0.1:{kafka_port}")
    monkeypatch.setenv("MILLSTREAM_REDIS__URL", f"redis://127.0.0.1:{redis_port}/0")
    seen = runner.invoke(main, ["doctor"])
    assert seen.exit_code == 1
    assert f"no broker answers at 127.0.0.1:{kafka_port}" in seen.output
    assert f"redis://127.0.0.1:{redis_port}/0" in seen.output
    assert seen.output.count("remedy: start one with `millstream up`") == 2


def test_doctor_names_a_snapshot_folder_that_cannot_be_written(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker would only notice seconds after its start; here it is said at once."""
    Path("taken").touch()
    monkeypatch.setenv("MILLSTREAM_SNAPSHOTS__DIRECTORY", "taken/snapshots")
    seen = runner.invoke(main, ["doctor"])
    assert "taken/snapshots cannot be written" in seen.output
    assert "MILLSTREAM_SNAPSHOTS__DIRECTORY" in seen.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_runs_both_servers_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    """The lines printed are settings that work; a signal stops both servers, and the exit status is 0."""
    kafka_port, redis_port = free_ports(2)
    wanted = {
        "MILLSTREAM_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{kafka_port}",
        "MILLSTREAM_REDIS__URL": f"redis://127.0.0.1:{redis_port}/0",
    }
    as_json = number == signal.SIGTERM
    up = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "millstream.agents.cli",
            "up",
            "--data",
            str(tmp_path),
            *(["--json"] if as_json else []),
        ],
        env=os.environ | wanted,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert up.stdout is not None
        if as_json:
            printed = json.loads(up.stdout.readline())
        else:
            printed = dict(up.stdout.readline().rstrip("\n").split("=", 1) for _ in range(4))
        # the settings' own ports were free, so they were taken
        short = {"KAFKA": wanted["MILLSTREAM_KAFKA__BOOTSTRAP_SERVERS"], "REDIS": wanted["MILLSTREAM_REDIS__URL"]}
        assert printed == wanted | short
        assert answering_broker(printed["KAFKA"], within_s=2) is not None
        with redis.Redis.from_url(printed["REDIS"]) as client:
            assert client.ping()
        up.send_signal(number)
        assert up.wait(20) == 0
    finally:
        up.kill()
        up.wait()
    assert answering_broker(printed["KAFKA"], within_s=0.5) is None
    with pytest.raises(redis.ConnectionError), redis.Redis.from_url(printed["REDIS"], retry=None) as client:
        client.ping()
