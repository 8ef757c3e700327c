"""`millstream tune`: what it prints, the TOML it prints, and how it fails or is stopped."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from logs import simulated

from millstream.agents.cli import main
from millstream.agents.commands import tune
from millstream.agents.tune_search import Found, Tried
from millstream.online_learning.config import LearningConfig
from millstream.online_learning.evaluation import Evaluation, evaluate
from millstream.online_learning.search_space import SPACE
from millstream.streams.settings import Settings

FIGURES = {"n", "hit@10", "ndcg@10", "mrr@20"}


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    """A runner in an empty folder, with none of the settings of whoever runs the tests, and small tables."""
    for name in [name for name in os.environ if name.startswith("MILLSTREAM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MILLSTREAM_LEARNING__MAX_USERS", "2000")
    monkeypatch.setenv("MILLSTREAM_LEARNING__MAX_ITEMS", "1000")
    monkeypatch.chdir(tmp_path)
    return CliRunner()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """4,000 events of a small simulated shop."""
    columns = simulated(4_000)
    path = tmp_path / "shop.jsonl"
    rows = zip(columns.user_ids, columns.item_ids, columns.ts_ms.tolist(), strict=True)
    path.write_text("".join(json.dumps({"ts": ts, "user": user, "item": item}) + "\n" for user, item, ts in rows))
    return path


@pytest.fixture
def poor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Present settings that any trial does better than: a memory of one item."""
    monkeypatch.setenv("MILLSTREAM_LEARNING__HISTORY_LENGTH", "1")


def answer(result: Result, status: int = 0) -> dict[str, Any]:
    assert result.exit_code == status, result.output
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def stopped_at(monkeypatch: pytest.MonkeyPatch, *runs: int) -> None:
    """Let Ctrl-C come during these runs of the log, counted from 1."""
    begun: list[int] = []

    def or_stopped(*given: Any, **named: Any) -> Evaluation:
        begun.append(1)
        if len(begun) in runs:
            raise KeyboardInterrupt
        return evaluate(*given, **named)

    monkeypatch.setattr(tune, "evaluate", or_stopped)


def test_json_says_what_was_tried_and_what_it_is_worth(runner: CliRunner, log: Path) -> None:
    """Every key of a search of two trials; the figures of the rest differ by what the comparison says."""
    found = answer(runner.invoke(main, ["tune", str(log), "--trials", "2", "--json"]))
    assert found.keys() == {
        "events", "searched_events", "trials", "seed", "interrupted", "present", "best", "compare", "toml",
    }  # fmt: skip
    assert (found["events"], found["searched_events"], found["trials"], found["seed"]) == (4_000, 1_000, 2, 1)
    assert found["interrupted"] is False
    for which in ("present", "best"):
        assert found[which]["settings"].keys() == {each.name for each in SPACE}
        assert found[which]["searched"].keys() == {"mrr@20"}
        assert found[which]["rest"].keys() == FIGURES
    assert found["best"]["searched"]["mrr@20"] >= found["present"]["searched"]["mrr@20"]
    assert found["compare"]["events"] == found["best"]["rest"]["n"]
    for name, interval in found["compare"]["rest"].items():
        gained = found["best"]["rest"][name] - found["present"]["rest"][name]
        assert interval["difference"] == pytest.approx(gained, abs=2e-6)
        assert interval["low"] <= interval["difference"] <= interval["high"]


def test_the_lines_printed_are_settings(
    runner: CliRunner, log: Path, poor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put into millstream.toml they are read, and a second search begins where the first one ended."""
    found = answer(runner.invoke(main, ["tune", str(log), "--trials", "4", "--json"]))
    lines = found["toml"]
    assert lines.startswith("[learning]\n")
    Path("millstream.toml").write_text(lines)
    learning = Settings(**tomllib.loads(lines)).learning
    assert {each.name: getattr(learning, each.name) for each in SPACE} == found["best"]["settings"]
    monkeypatch.delenv("MILLSTREAM_LEARNING__HISTORY_LENGTH")
    again = answer(runner.invoke(main, ["tune", str(log), "--trials", "1", "--json"]))
    assert again["present"]["settings"] == found["best"]["settings"]
    assert again["present"]["rest"] == found["best"]["rest"]


def test_two_searches_agree(runner: CliRunner, log: Path) -> None:
    """The seed decides what is tried."""
    first, second = (answer(runner.invoke(main, ["tune", str(log), "--trials", "2", "--json"])) for _ in range(2))
    assert first == second


def test_people_get_tables_and_a_verdict(runner: CliRunner, log: Path, poor: None) -> None:
    """Both settings on the rest, the interval, and what to put into the file."""
    shown = runner.invoke(main, ["tune", str(log), "--trials", "4"])
    assert shown.exit_code == 0, shown.output
    for words in ("present", "best found", "95 % interval", "On the rest", "[learning]"):
        assert words in shown.output


def test_nothing_better_means_nothing_to_change(runner: CliRunner, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No lines for the file; in JSON they are empty, and both settings have the same figures on the rest."""
    present = Tried(LearningConfig(max_users=2_000, max_items=1_000), 0.5)
    monkeypatch.setattr(tune, "search", lambda *given, trials: Found(present, present, trials, interrupted=False))
    shown = runner.invoke(main, ["tune", str(log), "--trials", "7"])
    assert "None of 7 trials did better than the present settings: nothing to change." in shown.output
    assert "[learning]" not in shown.output
    found = answer(runner.invoke(main, ["tune", str(log), "--json"]))
    assert found["toml"] == ""
    assert found["best"] == found["present"]


def test_ctrl_c_goes_on_with_the_best_so_far(runner: CliRunner, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the third trial: two count, and the rest is reported."""
    stopped_at(monkeypatch, 4)
    stopped = runner.invoke(main, ["tune", str(log), "--trials", "20", "--json"])
    found = answer(stopped)
    assert (found["trials"], found["interrupted"]) == (2, True)
    assert found["present"]["rest"]["n"] > 0
    assert "2 of 20 trials" in stopped.stderr


def test_a_second_ctrl_c_leaves_the_report_out(
    runner: CliRunner, log: Path, poor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best so far is printed all the same; the exit status says that it was stopped."""
    stopped_at(monkeypatch, 6, 7)
    found = answer(runner.invoke(main, ["tune", str(log), "--trials", "20", "--json"]), status=130)
    assert found["trials"] == 4
    assert found["compare"] is found["present"]["rest"] is found["best"]["rest"] is None
    assert found["toml"].startswith("[learning]")


def test_ctrl_c_at_once_leaves_nothing(runner: CliRunner, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was measured, so nothing is said of settings."""
    stopped_at(monkeypatch, 1)
    stopped = runner.invoke(main, ["tune", str(log)])
    assert stopped.exit_code == 130
    assert "before anything was measured" in stopped.stderr
    assert "[learning]" not in stopped.output


def test_a_log_too_short_to_judge_by_says_so(runner: CliRunner, log: Path) -> None:
    """A quarter in which nobody comes back: the file, how many events, and the remedy."""
    shown = runner.invoke(main, ["tune", str(log), "--limit", "8"])
    assert shown.exit_code == 1
    assert "shop.jsonl" in shown.output
    assert "first 2 events" in shown.output
    assert "take a longer log" in shown.output


def test_without_optuna_it_says_what_to_install(runner: CliRunner, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, before the log is read."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    shown = runner.invoke(main, ["tune", str(log)])
    assert shown.exit_code == 1
    assert "pip install optuna" in shown.output


@pytest.mark.parametrize("arguments", [["{log}", "--trials", "0"], ["no-such-file.jsonl"], []])
def test_bad_usage_ends_with_2(runner: CliRunner, log: Path, arguments: list[str]) -> None:
    """What was asked wrongly is said before anything is read."""
    shown = runner.invoke(main, ["tune", *(argument.format(log=log) for argument in arguments)])
    assert shown.exit_code == 2
