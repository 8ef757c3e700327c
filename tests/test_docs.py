"""The documents: what they name exists, where they point there is something, and their examples run."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

import millstream.agents
import millstream.online_learning
import millstream.schemas
import millstream.streams
from millstream.agents.cli import COMMANDS
from millstream.online_learning.config import LearningConfig
from millstream.schemas.rejects import RejectCode
from millstream.streams.settings import Settings
from millstream.streams.wrong_settings import CONFIG_VARIABLE, sections, unknown_variables

_ROOT = Path(__file__).parents[1]
_PACKAGES = (millstream.schemas, millstream.streams, millstream.agents, millstream.online_learning)
_DOCUMENTS = sorted(
    {
        *_ROOT.glob("*.md"),
        *(_ROOT / "docs").rglob("*.md"),
        *(path for folder in ("agents", "deploy", "online_learning", "schemas", "streams") for path in
          (_ROOT / folder).glob("*.md")),
    }
)  # fmt: skip
_NAMES = [str(path.relative_to(_ROOT)) for path in _DOCUMENTS]
# starts a worker's app when imported, as `faust -A` wants it
_APP = "millstream.agents.app"


def modules() -> list[str]:
    """Name every module. `pytest --doctest-modules` would load each a second time, under the name of its folder."""
    found = []
    for package in _PACKAGES:
        found += [each.name for each in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return [name for name in found if name != _APP]


def text_of(name: str) -> str:
    return (_ROOT / name).read_text(encoding="utf-8")


def anchors(markdown: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", markdown, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings_run(name: str) -> None:
    """Each `>>>` in a docstring gives what it says."""
    module: ModuleType = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("name", _NAMES)
def test_links_lead_somewhere(name: str) -> None:
    """A relative link names a file of the repository, and a heading in it where it has an anchor."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(name)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (_ROOT / name).parent / path if path else _ROOT / name
        assert file.exists(), f"{name}: {target} does not exist"
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{name}: {target} has no such heading"


@pytest.mark.parametrize("name", _NAMES)
def test_commands_named_exist(name: str) -> None:
    """`millstream X` in code is a command, and each `--option` beside it one of that command's."""
    code = re.findall(r"```\w*\n(.*?)```|`([^`\n]+)`", text_of(name), re.DOTALL)
    for block, inline in code:
        for line in (block or inline).splitlines():
            for word, rest in re.findall(r"(?<![./\w-])millstream ([a-z][a-z-]*)([^|;#&]*)", line):
                assert word in COMMANDS, f"{name}: there is no `millstream {word}`"
                module = importlib.import_module(f"millstream.agents.commands.{word.replace('-', '_')}")
                known = {option for each in module.command.params for option in each.opts} | {"--help"}
                for option in re.findall(r"(?<!\S)(--[a-z][a-z-]*)", rest):
                    assert option in known, f"{name}: `millstream {word}` has no {option}"


def test_the_readme_has_every_command() -> None:
    """The README's table and `millstream --help` list the same."""
    listed = re.findall(r"^\| `millstream ([a-z-]+)` \|", text_of("README.md"), re.M)
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("name", _NAMES)
def test_variables_named_are_settings(name: str) -> None:
    """Every `MILLSTREAM_…` in a document sets something; what stands for any setting has SECTION in its name."""
    named = set(re.findall(r"MILLSTREAM_[A-Z_]+[A-Z]", text_of(name))) - {"MILLSTREAM_SECTION__KEY", CONFIG_VARIABLE}
    assert not unknown_variables(dict.fromkeys(named, ""), Settings), f"{name} names what is no setting"


def test_operations_explains_every_setting() -> None:
    """The table of settings names each key of each section, and nothing else."""
    table = text_of("docs/operations.md").partition("## Settings")[2].partition("## Topics")[0]
    rows = re.findall(r"^\| (`[^|]+`) \|", table, re.M)
    named = {key for row in rows for key in re.findall(r"`([a-z_.]+)`", row)}
    known = {
        f"{section}.{key}" if key else section for section, keys in sections(Settings).items() for key in keys or ("",)
    }
    assert named == known


def as_written(default: object) -> str:
    if isinstance(default, tuple):
        return f"`{json.dumps(default)}`"
    return f"{default:g}" if isinstance(default, float) else str(default).lower()


def test_the_defaults_in_operations_are_the_defaults() -> None:
    """Numbers of the learner's settings, written with commas, are those of the code."""
    table = text_of("docs/operations.md")
    for each in fields(LearningConfig):
        row = re.search(rf"^\| [^|]*`learning\.{each.name}`[^|]* \| ([^|]+) \|", table, re.M)
        assert row is not None, each.name
        shown = {part.replace(",", "").lower() for part in re.split(r", | ", row[1])}
        assert as_written(each.default) in shown, f"learning.{each.name} is {each.default}, operations.md says {row[1]}"


def test_operations_has_every_reason_code() -> None:
    """Whoever meets a dead letter finds its code with a remedy."""
    section = text_of("docs/operations.md").partition("## Dead letters")[2]
    assert {code.value for code in RejectCode} <= set(re.findall(r"`([a-z_]+)`", section))


def test_settings_in_the_readme_are_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The example of `millstream.toml` is taken as it stands."""
    example = re.search(r"```toml\n(.*?)```", text_of("README.md"), re.DOTALL)
    assert example is not None
    monkeypatch.chdir(tmp_path)
    settings = Settings(**tomllib.loads(example[1]))
    assert [each.topic for each in settings.inputs] == ["page-views", "orders"]
    assert settings.redis.prefix == "shop:"


def test_tests_named_in_operations_exist() -> None:
    """Each promise under a fault names a test that is there."""
    tests = "".join(path.read_text(encoding="utf-8") for path in (_ROOT / "tests").glob("test_*.py"))
    documents = text_of("docs/operations.md") + "".join(text_of(name) for name in _NAMES if "decisions" in name)
    for named in re.findall(r"\b(test_[a-z0-9_]+)(?!\.py|\w)", documents):
        assert f"def {named}(" in tests or (_ROOT / "tests" / f"{named}.py").exists(), named


@pytest.mark.parametrize("name", _NAMES)
def test_files_named_in_code_exist(name: str) -> None:
    """A path in backticks that begins with one of the folders is a file or folder of the repository."""
    for path in re.findall(
        r"`((?:agents|schemas|streams|online_learning|tests|deploy|docs)/[\w./-]+)(?:`|::)", text_of(name)
    ):
        assert (_ROOT / path).exists(), f"{name}: {path}"
