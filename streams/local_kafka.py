"""A real Apache Kafka on this machine: one node (KRaft, broker and controller in one) from its Maven artifacts.

`LocalKafka` runs one; `find_broker` takes whichever broker there is to be had.
"""

from __future__ import annotations

import base64
import subprocess
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .errors import LocalKafkaUnavailable, Unavailable
from .kafka_jars import KAFKA_VERSION, kafka_classpath
from .kafka_probe import answering_broker
from .local_process import DidNotStart, LocalProcess, free_ports, last_lines

COMPOSE_FILE = "docker-compose.kafka.yml"
COMPOSE_BOOTSTRAP = "127.0.0.1:9092"

# No class-data archive: it makes a start 0.9 s instead of 1.8 s, but whoever writes it pays 2.5 s at the first stop on
# a quiet machine (12 s on a busy one, longer than an orderly stop may take), and a run starts one broker, not ten.
_QUIET = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
_JAVA_FLAGS = ("-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", _QUIET)
_FORMAT_WITHIN_S = 60.0
_START_WITHIN_S = 60.0
_STOP_WITHIN_S = 15.0
_PORT_TRIES = 3

# The broker session is short so that a restart after a kill takes 4-6 s and not 13; the log cleaner's buffer is small
# because the default does not fit the heap; the group settings let tests see members leave within seconds.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
num.partitions=4
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=200
log.cleaner.backoff.ms=200
log.cleaner.dedupe.buffer.size=8388608
log.cleaner.io.buffer.size=131072
group.consumer.heartbeat.interval.ms=500
group.consumer.min.heartbeat.interval.ms=500
group.consumer.session.timeout.ms=6000
group.consumer.min.session.timeout.ms=6000
"""


class LocalKafka:
    """One broker on two free ports of 127.0.0.1; a context manager that starts and stops it.

    `directory` holds its data, settings and log, and stays: a later start on it finds the topics again. Without one a
    temporary folder is used and removed by `stop`. `port` asks for a certain one. `properties` are put after ours, so
    they win. Needs Java, and Maven the first time (jars are kept in the user's cache folder).
    """

    def __init__(
        self, directory: Path | None = None, *, port: int | None = None, properties: dict[str, str] | None = None
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="millstream-kafka-") if directory is None else None
        self._directory = Path(self._temporary.name) if self._temporary else Path(directory or "").resolve()
        self._port = port
        self._properties = properties or {}
        self._ports: tuple[int, ...] = ()
        self._process: LocalProcess | None = None

    @property
    def bootstrap(self) -> str:
        """Its `host:port`, as MILLSTREAM_KAFKA__BOOTSTRAP_SERVERS takes it."""
        if not self._ports:
            raise RuntimeError("LocalKafka has no address before start()")
        return f"127.0.0.1:{self._ports[0]}"

    @property
    def running(self) -> bool:
        """Whether the broker's process is there (paused or not)."""
        return self._process is not None and self._process.pid is not None

    def start(self) -> LocalKafka:
        """Start it and return once it answers a metadata request with a live broker; does nothing while it runs.

        Raises `LocalKafkaUnavailable` with the remedy, and with the tail of its log if it died.
        """
        if self._process is not None:
            self._run(self._process)
            return self
        classpath = kafka_classpath()
        self._directory.mkdir(parents=True, exist_ok=True)
        for tries_left in reversed(range(_PORT_TRIES)):
            self._ports = free_ports(2)
            if self._port is not None:
                self._ports = (self._port, self._ports[1])
            process = self._prepare(classpath)
            try:
                self._run(process)
            except LocalKafkaUnavailable as failure:
                # between our looking and Java's binding, another process may take a port
                if "Address already in use" in str(failure) and tries_left:
                    continue
                raise
            self._process = process
            break
        return self

    def stop(self) -> None:
        """End it in order, and remove its folder if that was temporary. Idempotent."""
        if self._process is not None:
            self._process.stop(_STOP_WITHIN_S)
        if self._temporary is not None:
            self._temporary.cleanup()
            self._process = None  # its data is gone: a later start begins anew

    def kill(self) -> None:
        """End it at once, as a crash would; `restart` brings it back."""
        if self._process is not None:
            self._process.kill()

    def restart(self, *, hard: bool = False) -> None:
        """End it (`hard`: as a crash would) and start it again with the same ports and data."""
        if self._process is not None:
            if hard:
                self._process.kill()
            else:
                self._process.stop(_STOP_WITHIN_S)
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers until `resume`."""
        if self._process is not None:
            self._process.pause()

    def resume(self) -> None:
        """Let it go on after `pause`."""
        if self._process is not None:
            self._process.resume()

    def __enter__(self) -> LocalKafka:
        return self.start()

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def _prepare(self, classpath: str) -> LocalProcess:
        """Write the settings for the chosen ports and format the data folder unless it is already."""
        data, settings = self._directory / "data", self._directory / "server.properties"
        lines = _PROPERTIES.format(port=self._ports[0], controller=self._ports[1], data=data)
        settings.write_text(lines + "".join(f"{key}={value}\n" for key, value in self._properties.items()))
        java = ["java", *_JAVA_FLAGS, "-cp", classpath]
        if not (data / "meta.properties").exists():
            _format([*java, "kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", str(settings)])
        return LocalProcess(
            [*java, "kafka.Kafka", str(settings)],
            log=self._directory / "kafka.log",
            answers=lambda: answering_broker(self.bootstrap, within_s=1.0) is not None,
            start_within_s=_START_WITHIN_S,
        )

    def _run(self, process: LocalProcess) -> None:
        try:
            process.start()
        except DidNotStart as failure:
            raise LocalKafkaUnavailable(
                f"Kafka {KAFKA_VERSION} in {self._directory} did not start: {failure}\n"
                "free some memory (it needs 256 MB of heap) or use another data folder, then try again"
            ) from failure


def _cluster_id() -> str:
    """Return 22 characters of URL-safe base64; the format tool takes a leading dash for an option."""
    while (name := base64.urlsafe_b64encode(uuid.uuid4().bytes)[:22].decode()).startswith("-"):
        pass
    return name


def _format(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FORMAT_WITHIN_S)
    except subprocess.TimeoutExpired:
        raise LocalKafkaUnavailable(
            f"Kafka's format tool did not end within {_FORMAT_WITHIN_S:g} s; this machine is overloaded, try again"
        ) from None
    if done.returncode != 0:
        raise LocalKafkaUnavailable(
            f"Kafka's format tool failed with status {done.returncode} (Kafka {KAFKA_VERSION} needs Java 17 or newer); "
            f"it said:\n{last_lines(done.stdout + done.stderr)}"
        )


@dataclass(frozen=True, slots=True)
class FoundBroker:
    """A broker to use, and where it came from. `stop` ends it if `find_broker` started it, and is else empty."""

    source: Literal["settings", "local", "docker"]
    bootstrap: str
    description: str
    stop: Callable[[], None]


def find_broker(bootstrap_servers: str, *, directory: Path | None = None, within_s: float = 2.0) -> FoundBroker:
    """Return the first broker to be had, running when this returns.

    In order: the one at `bootstrap_servers` (the settings'), if it answers within `within_s`; Apache Kafka on this
    machine from its Maven artifacts, its data in `directory`; the one of `docker-compose.kafka.yml` in the working
    folder, if Docker answers. Raises `LocalKafkaUnavailable` saying why each of the three was not to be had.
    """
    if answering_broker(bootstrap_servers, within_s=within_s) is not None:
        return FoundBroker("settings", bootstrap_servers, f"Kafka at {bootstrap_servers}", stop=lambda: None)
    why_not = [f"no broker answers at {bootstrap_servers}"]
    kafka = LocalKafka(directory)
    try:
        kafka.start()
    except LocalKafkaUnavailable as failure:
        kafka.stop()
        why_not.append(str(failure))
    else:
        description = f"Apache Kafka {KAFKA_VERSION} on this machine, {kafka.bootstrap}"
        return FoundBroker("local", kafka.bootstrap, description, stop=kafka.stop)
    try:
        return _from_docker(Path(COMPOSE_FILE))
    except Unavailable as failure:
        why_not.append(str(failure))
    raise LocalKafkaUnavailable("no Kafka to be had:\n" + "\n".join(f"- {reason}" for reason in why_not))


def _from_docker(compose_file: Path) -> FoundBroker:
    if not compose_file.is_file():
        raise LocalKafkaUnavailable(f"no {compose_file} in this folder to start one with Docker")
    compose = ["docker", "compose", "-f", str(compose_file)]
    try:
        subprocess.run(["docker", "info"], capture_output=True, timeout=10, check=True)
        subprocess.run([*compose, "up", "-d", "--wait", "kafka"], capture_output=True, timeout=240, check=True)
    except FileNotFoundError:
        raise LocalKafkaUnavailable("no Docker on this machine") from None
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failure:
        said = (failure.stderr or b"").decode(errors="replace")
        last = next(iter(said.strip().splitlines()[-1:]), str(failure))
        raise LocalKafkaUnavailable(f"Docker could not start Kafka: {last}") from failure

    def stop() -> None:
        subprocess.run([*compose, "stop", "kafka"], capture_output=True, timeout=60)

    return FoundBroker("docker", COMPOSE_BOOTSTRAP, f"Kafka from {compose_file}, {COMPOSE_BOOTSTRAP}", stop=stop)
