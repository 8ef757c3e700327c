"""Apache Kafka's jars, fetched once by Maven and kept in the user's cache folder (43 MB)."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

from .errors import LocalKafkaUnavailable
from .local_process import last_lines

KAFKA_VERSION = "4.4.0"
_FETCH_WITHIN_S = 240
_REMEDY = (
    "install both (Debian and Ubuntu: apt-get install default-jre-headless maven; macOS: brew install openjdk maven), "
    "or name a running broker in MILLSTREAM_KAFKA__BOOTSTRAP_SERVERS"
)


def missing_programs(*, jars_cached: bool | None = None) -> list[str]:
    """Return which of `java` and `mvn` are needed and not on the path; Maven is not needed once the jars are cached."""
    cached = _jars_folder().is_dir() if jars_cached is None else jars_cached
    needed = ["java"] if cached else ["java", "mvn"]
    return [program for program in needed if shutil.which(program) is None]


def kafka_classpath() -> str:
    """Return the class path of a Kafka broker, fetching the jars first if this user has none yet.

    Several processes may ask at once: one fetches, the others wait for it. Raises `LocalKafkaUnavailable` when Java or
    Maven is missing, or when Maven fails.
    """
    if missing := missing_programs():
        raise LocalKafkaUnavailable(f"no Kafka on this machine: {' and '.join(missing)} not found; {_REMEDY}")
    folder = _jars_folder()
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Maven's own repository is not safe under two writers, so the lock spans the fetch and not only the rename.
        with (folder.parent / f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                _fetch(folder)
    return os.pathsep.join(sorted(str(jar) for jar in folder.glob("*.jar")))


def _jars_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "millstream" / f"kafka-{KAFKA_VERSION}"


def _fetch(folder: Path) -> None:
    """Fill `folder` with the jars; it appears whole or not at all."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.part.") as made:
        jars = Path(made) / "jars"
        (Path(made) / "pom.xml").write_text(resources.files(__package__).joinpath("kafka_pom.xml").read_text())
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
        try:
            done = subprocess.run(
                ["mvn", "-B", "-q", *goal],
                cwd=made,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_FETCH_WITHIN_S,
            )
        except subprocess.TimeoutExpired:
            raise LocalKafkaUnavailable(
                f"mvn did not fetch Kafka {KAFKA_VERSION} within {_FETCH_WITHIN_S} s; check that this machine reaches "
                "a Maven repository (~/.m2/settings.xml), then try again"
            ) from None
        if done.returncode != 0 or not any(jars.glob("kafka_*.jar")):
            said = last_lines(done.stdout + done.stderr)
            raise LocalKafkaUnavailable(
                f"mvn could not fetch Kafka {KAFKA_VERSION} (status {done.returncode}); check that this machine "
                f"reaches a Maven repository (~/.m2/settings.xml), then try again. It said:\n{said}"
            )
        jars.rename(folder)
