"""`recommend`, `watch` and `serve`: what a person and a script get from them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec import structs

from millstream.agents.cli import main
from millstream.agents.commands.recommend import age
from millstream.schemas.records import Item, Reason, ScoredItem, Slate, Version
from millstream.schemas.slates import encode_slate
from millstream.streams.catalogue_hash import catalogue_key, encode_item
from millstream.streams.local_process import free_ports
from millstream.streams.redis_connection import connect
from millstream.streams.redis_topic import RedisTopic

MILLSTREAM = [sys.executable, "-m", "millstream.agents.cli"]


def slate(user: str, position: int, items: Sequence[str] = ("a", "b", "c")) -> Slate:
    return Slate(
        slate_id=f"{user}-{position}",
        list="main",
        user_id=user,
        items=tuple(ScoredItem(item, 2.0, (Reason("covisitation", 2.0, "seen"),)) for item in items),
        version=Version(1, position, 0),
        as_of_ms=1_700_000_000_000,
        generated_ts_ms=1_700_000_000_000,
    )


@pytest.fixture(autouse=True)
def redis_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, redis_url: str, prefix: str) -> None:
    """Settings of a pipeline with a prefix of its own, and nobody else's."""
    for name in [name for name in os.environ if name.startswith("MILLSTREAM_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("MILLSTREAM_REDIS__URL", redis_url)
    monkeypatch.setenv("MILLSTREAM_REDIS__PREFIX", prefix)


@pytest.fixture
def lists(redis_url: str, prefix: str) -> None:
    """A popular list and two users'."""

    async def fill() -> None:
        async with connect(redis_url) as client:
            topic = RedisTopic(client, prefix=prefix, ttl_s=60, feed_length=100)
            await topic.publish([encode_slate(each) for each in (slate("", 1, ["p"]), slate("u", 2), slate("v", 3))])

    asyncio.run(fill())


def test_recommend_shows_items_reasons_and_age(lists: None) -> None:
    """Best first, k of them, each with what spoke for it."""
    shown = CliRunner().invoke(main, ["recommend", "u", "-k", "2"])
    assert shown.exit_code == 0, shown.output
    assert "list 'main' of user 'u'" in shown.output
    assert "days old" in shown.output
    assert shown.output.count("covisitation +2 (seen)") == 2


def test_recommend_json_is_the_answer(lists: None) -> None:
    """One object on the last line, as the HTTP API gives it."""
    answer = json.loads(CliRunner().invoke(main, ["recommend", "u", "--json"]).stdout.splitlines()[-1])
    assert [item["item_id"] for item in answer["items"]] == ["a", "b", "c"]
    assert (answer["user_id"], answer["fallback"], answer["version"]["position"]) == ("u", None, 2)


def test_recommend_says_why_in_words(redis_url: str, prefix: str) -> None:
    """By titles of the catalogue, not by the parts of the score; English where no known language is named."""

    async def fill() -> None:
        own = ScoredItem("a", 2.0, (Reason("together", 2.0, "x"),))
        many = ScoredItem("p", 2.0, (Reason("popular", 2.0),))
        async with connect(redis_url) as client:
            topic = RedisTopic(client, prefix=prefix, ttl_s=60, feed_length=100)
            slates = [structs.replace(slate("u", 2), items=(own,)), structs.replace(slate("", 2), items=(many,))]
            await topic.publish([encode_slate(each) for each in slates])
            value = encode_item(Item(item_id="x", title="[Alien]"))
            await client.hset(catalogue_key(prefix), "x", value)  # type: ignore[misc]  # typed for both clients

    asyncio.run(fill())
    for arguments, said in (
        (["u", "--words", "de"], "Oft zusammen mit „[Alien]“ gewählt"),
        (["u", "--words"], "Often chosen with “[Alien]”"),
        (["u", "--words", "tlh"], "Often chosen with “[Alien]”"),
        (["stranger", "--words", "fr"], "Populaire en ce moment"),
    ):
        shown = CliRunner().invoke(main, ["recommend", *arguments])
        assert shown.exit_code == 0, shown.output
        assert said in shown.output
        assert "together" not in shown.output
        answer = json.loads(CliRunner().invoke(main, ["recommend", *arguments, "--json"]).stdout.splitlines()[-1])
        assert [item["words"] for item in answer["items"]] == [said]


def test_recommend_says_what_stands_in(lists: None) -> None:
    """A stranger gets the popular list, an unknown list is empty, and a bad list name is bad usage."""
    assert "none yet, so the popular list" in CliRunner().invoke(main, ["recommend", "stranger"]).output
    assert "no popular list yet" in CliRunner().invoke(main, ["recommend", "u", "--list", "home"]).output
    assert CliRunner().invoke(main, ["recommend", "u", "--list", "a:b"]).exit_code == 2


@pytest.mark.parametrize("arguments", [["recommend", "u"], ["watch"]])
def test_without_redis_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """Exit 1, the address without its password, and what to do."""
    monkeypatch.setenv("MILLSTREAM_REDIS__URL", f"redis://:secret@127.0.0.1:{free_ports(1)[0]}/0")
    shown = CliRunner().invoke(main, arguments)
    assert shown.exit_code == 1
    assert "redis://:***@127.0.0.1" in shown.output
    assert "millstream up" in shown.output


def test_watch_prints_each_list_as_a_line(lists: None) -> None:
    """`--limit` ends it; the popular list is named as such."""
    shown = CliRunner().invoke(main, ["watch", "--from", "0", "--limit", "2"])
    assert shown.exit_code == 0, shown.output
    popular, own = shown.output.splitlines()
    assert "main:(popular)  position 1  p" in popular
    assert "main:u  position 2  a b c" in own


def test_watch_json_is_an_object_a_line_until_interrupted(lists: None) -> None:
    """A script reads lines as they come; Ctrl-C ends it with 0."""
    with subprocess.Popen(
        [*MILLSTREAM, "watch", "--from", "0", "--json"], stdout=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        users = [json.loads(watching.stdout.readline())["user_id"] for _ in range(3)]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(10) == 0
    assert users == ["", "u", "v"]


def test_serve_answers_over_http_until_interrupted(lists: None) -> None:
    """It prints its address once it listens, answers, and Ctrl-C ends it with 0."""
    with subprocess.Popen([*MILLSTREAM, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        address = serving.stdout.readline().split()[2].rstrip(",")
        with urllib.request.urlopen(f"{address}/v1/users/u/recommendations?k=1", timeout=10) as response:
            assert json.load(response)["items"][0]["item_id"] == "a"
        serving.send_signal(signal.SIGINT)
        assert serving.wait(10) == 0


def test_serve_names_a_port_that_is_taken() -> None:
    """One line with the address, not a server's log."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        shown = CliRunner().invoke(main, ["serve", "--port", str(port)])
    assert shown.exit_code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in shown.output


@pytest.mark.parametrize(
    ("age_ms", "said"),
    [(0, "0 ms"), (999, "999 ms"), (1_500, "2 s"), (150_000, "2 min"), (10_800_000, "3 h"), (259_200_000, "3 days")],
)
def test_ages_are_said_as_people_say_them(age_ms: int, said: str) -> None:
    """Milliseconds while fresh, days when not."""
    assert age(age_ms) == said
