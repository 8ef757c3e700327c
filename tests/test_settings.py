"""Settings: where they come from, and that every wrong one is named as it was written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from millstream.streams.settings import Input, Settings, WrongSettings, load_settings


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working folder, and none of the settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.upper().startswith("MILLSTREAM_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(**overrides: object) -> list[str]:
    """Return what is wrong with the settings as they stand."""
    with pytest.raises(WrongSettings) as caught:
        load_settings(**overrides)
    assert str(caught.value) == "wrong settings:\n  " + "\n  ".join(caught.value.lines)
    return list(caught.value.lines)


def test_without_file_or_variables_the_defaults_hold() -> None:
    """A pipeline on this machine needs no settings."""
    assert load_settings() == Settings()
    assert load_settings().inputs == (Input(topic="interactions"),)


def test_arguments_win_over_variables_and_variables_over_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source only replaces the keys it has, within a section too."""
    (folder / "millstream.toml").write_text(
        "[redis]\nprefix = 'file:'\nlist_ttl_s = 10\nfeed_length = 30\n[learning]\nmax_users = 5\nmax_items = 6\n"
    )
    monkeypatch.setenv("MILLSTREAM_REDIS__LIST_TTL_S", "20")
    monkeypatch.setenv("MILLSTREAM_REDIS__FEED_LENGTH", "20")
    monkeypatch.setenv("millstream_learning__max_items", "7")
    settings = load_settings(redis={"feed_length": 40})
    assert (settings.redis.prefix, settings.redis.list_ttl_s, settings.redis.feed_length) == ("file:", 20, 40)
    assert (settings.learning.max_users, settings.learning.max_items) == (5, 7)


def test_a_variable_may_hold_a_whole_section_or_list_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs are set so, since they are a list."""
    monkeypatch.setenv("MILLSTREAM_INPUTS", '[{"topic": "views"}, {"topic": "orders", "default_kind": "purchase"}]')
    monkeypatch.setenv("MILLSTREAM_WORKER", '{"slice_ms": 5}')
    monkeypatch.setenv("MILLSTREAM_LEARNING__LISTS", '["main", "buy"]')
    settings = load_settings()
    assert [entry.topic for entry in settings.inputs] == ["views", "orders"]
    assert settings.worker.slice_ms == 5
    assert settings.learning.lists == ("main", "buy")


def test_every_wrong_setting_is_named_as_it_was_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable by its name, a key of the file by file and key, an argument by section and key; all at once."""
    (folder / "millstream.toml").write_text("[snapshots]\nkeep = 0\nstart = 'soon'\n[worker]\nslice_ms = 'fast'\n")
    monkeypatch.setenv("MILLSTREAM_REDIS__LIST_TTL_S", "0")
    monkeypatch.setenv("MILLSTREAM_KAFKA", '{"bootstrap_servers": "localhost"}')
    assert sorted(lines(redis={"feed_length": 0})) == [
        "MILLSTREAM_KAFKA: bootstrap_servers = 'localhost': must be HOST:PORT, several with commas between",
        "MILLSTREAM_REDIS__LIST_TTL_S = '0': must be greater than or equal to 1",
        "millstream.toml: snapshots.keep = 0: must be greater than or equal to 1",
        "millstream.toml: snapshots.start = 'soon': must be 'earliest' or 'latest', or must be a valid integer, "
        "unable to parse string as an integer",
        "millstream.toml: worker.slice_ms = 'fast': must be a valid number, unable to parse string as a number",
        "redis.feed_length = 0: must be greater than or equal to 1",
    ]


def test_an_endpoint_is_an_address_with_a_model_and_its_key_is_told_nowhere(folder: Path) -> None:
    """What is wrong with the section [words] is named without the key that stands in it."""
    (folder / "millstream.toml").write_text(
        '[words]\nendpoint = "https://me:pw@host/v1"\napi_key = 7\nmax_tokens = 1\nurl = "x"\n'
    )
    assert sorted(lines()) == [
        "millstream.toml: words.api_key: must be a valid string",
        "millstream.toml: words.endpoint = 'https://me:***@host/v1': "
        "must be http:// or https:// and a host, as https://HOST/v1",
        "millstream.toml: words.max_tokens = 1: must be greater than or equal to 16",
        "millstream.toml: words.url = 'x': no such setting; did you mean redis.url?",
    ]
    (folder / "millstream.toml").write_text('[words]\nendpoint = "http://host/v1/"\napi_key = "the-secret"\n')
    assert lines() == ["millstream.toml: words.model = '': an endpoint needs the name of a model"]
    settings = load_settings(words={"model": "m"})
    assert settings.words.endpoint == "http://host/v1"
    assert settings.words.api_key.get_secret_value() == "the-secret"
    assert "the-secret" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("MILLSTREAM_REDIS__URLL", "MILLSTREAM_REDIS__URLL: no such setting; did you mean MILLSTREAM_REDIS__URL?"),
        (
            "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS",
            "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS: no such setting; did you mean MILLSTREAM_KAFKA__BOOTSTRAP_SERVERS?",
        ),
        (
            "millstream_learning__max_user",
            "millstream_learning__max_user: no such setting; did you mean MILLSTREAM_LEARNING__MAX_USERS?",
        ),
        ("MILLSTREAM_CONFG", "MILLSTREAM_CONFG: no such setting; did you mean MILLSTREAM_CONFIG?"),
        ("MILLSTREAM_INPUTS__0__TOPIC", "MILLSTREAM_INPUTS__0__TOPIC: no such setting"),
    ],
)
def test_an_unknown_variable_is_named_with_the_nearest_known(
    monkeypatch: pytest.MonkeyPatch, name: str, line: str
) -> None:
    """A misspelt variable would otherwise be ignored in silence; the case it is written in does not matter."""
    monkeypatch.setenv(name, "1")
    assert lines() == [line]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[kafka\n", "millstream.toml: not TOML: Expected ']' at the end of a table declaration (at line 1, column 7)"),
        ("kafka = 3\n", "millstream.toml: kafka = 3: must be a section with keys of its own"),
        ("[redis]\nurll = 'x'\n", "millstream.toml: redis.urll = 'x': no such setting; did you mean redis.url?"),
        ("[kafak]\nx = 1\n", "millstream.toml: kafak = {'x': 1}: no such setting; did you mean kafka?"),
        ("[inputs]\ntopic = 'x'\n", "millstream.toml: inputs = {'topic': 'x'}: must be a list"),
        ("inputs = []\n", "millstream.toml: inputs = []: name at least one topic to read"),
        ("[[inputs]]\ndefault_kind = 'click'\n", "millstream.toml: inputs[0].topic: is missing"),
        (
            "[[inputs]]\ntopic = 'a b'\n",
            "millstream.toml: inputs[0].topic = 'a b': a topic's name has 1 to 249 characters of A-Z a-z 0-9 . _ -",
        ),
        (
            "[redis]\nurl = 'http://me:secret@host'\n",
            "millstream.toml: redis.url = 'http://me:***@host': must begin with redis://, rediss:// (TLS) or unix://",
        ),
        ("[learning]\nmax_items = -1\n", "millstream.toml: learning.max_items = -1: must be at least 1"),
        (
            "[learning]\nmax_items = 0.5\n",
            "millstream.toml: learning.max_items = 0.5: must be a valid integer, got a number with a fractional part",
        ),
        (
            "[learning]\nmax_neighbours = 100\n",
            "millstream.toml: learning.max_neighbours = 100: must be a power of two from 16 on",
        ),
        (
            "[learning]\nlists = ['buy']\n",
            'millstream.toml: learning.lists = (\'buy\',): must be ["main"] or ["main", "buy"]',
        ),
        (
            "[learning]\npurchase_weight = 0\n",
            "millstream.toml: learning.purchase_weight = 0.0: must be above 0 and at most 15",
        ),
        (
            "[learning]\nshared_repeats = 201\n",
            "millstream.toml: learning.shared_repeats = 201: must be at most 200; 0 lets every choice count",
        ),
        (
            "[learning]\nrating_slope = -1\n",
            "millstream.toml: learning.rating_slope = -1.0: must be from 0 to 15",
        ),
    ],
)
def test_a_wrong_file_is_named_with_the_place(folder: Path, text: str, line: str) -> None:
    """One clear line: file, key, value (no password), and what it must be."""
    (folder / "millstream.toml").write_text(text)
    assert lines() == [line]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("default_kind = 'vew'", "no kind is called 'vew'"),
        ("fields = {usr = 'customer'}", "no field is called 'usr'"),
        ("kinds = {look = 'clik'}", "no kind is called 'clik'"),
    ],
)
def test_a_mapping_to_what_does_not_exist_is_refused_at_start(folder: Path, entry: str, words: str) -> None:
    """Kinds and fields are checked before any event flows."""
    (folder / "millstream.toml").write_text(f"[[inputs]]\ntopic = 'a'\n{entry}\n")
    (line,) = lines()
    assert line.startswith("millstream.toml: inputs[0] = ")
    assert words in line


@pytest.mark.parametrize(
    "overrides",
    [
        {"inputs": [{"topic": "interactions.dlq"}]},
        {"topics": {"items": "recommendations"}},
        {"inputs": [{"topic": "a"}, {"topic": "a", "default_kind": "purchase"}]},
    ],
    ids=["own output", "two of ours", "two mappings"],
)
def test_topics_that_meet_are_refused(overrides: dict[str, object]) -> None:
    """A pipeline that read its own dead letters would never end."""
    (line,) = lines(**overrides)
    assert "both" in line or "two inputs" in line


def test_a_file_asked_for_must_be_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the default file may be missing."""
    monkeypatch.setenv("MILLSTREAM_CONFIG", "nowhere.toml")
    assert lines() == ["MILLSTREAM_CONFIG = 'nowhere.toml': there is no such file"]
    monkeypatch.setenv("MILLSTREAM_CONFIG", str(folder))
    assert lines() == [f"{folder}: cannot be read: Is a directory"]
    (folder / "mine.toml").write_bytes(b"[redis]\nprefix = '\xff'\n")
    monkeypatch.setenv("MILLSTREAM_CONFIG", "mine.toml")
    assert "not UTF-8" in lines()[0]
    (folder / "mine.toml").write_text("[redis]\nprefix = 'mine:'\n")
    assert load_settings().redis.prefix == "mine:"


def test_json_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable, its value, and where it stops being JSON."""
    monkeypatch.setenv("MILLSTREAM_INPUTS", "[{topic: a}]")
    (line,) = lines()
    assert line.startswith("MILLSTREAM_INPUTS = '[{topic: a}]': must be JSON: ")
