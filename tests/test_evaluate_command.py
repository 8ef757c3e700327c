"""`millstream evaluate`: the keys scripts rely on, what `--save` writes, and how it fails."""

from __future__ import annotations

import gzip
import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from logs import random_log

from millstream.agents.cli import main
from millstream.online_learning.signals import PARTS

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
SETS = {"half", "scored", "new", "all"}
METRICS = {"n", "hit@10", "ndcg@10", "mrr@20"}


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    """A runner in an empty folder, with none of the settings of whoever runs the tests, and small tables."""
    for name in [name for name in os.environ if name.startswith("MILLSTREAM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MILLSTREAM_LEARNING__MAX_USERS", "30000")
    monkeypatch.setenv("MILLSTREAM_LEARNING__MAX_ITEMS", "20000")
    monkeypatch.chdir(tmp_path)
    return CliRunner()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """1,200 ratings and clicks of 40 users."""
    columns = random_log(1_200, users=40, items=80, seed=13)
    path = tmp_path / "events.jsonl.gz"
    with gzip.open(path, "wt") as file:
        rows = zip(columns.user_ids, columns.item_ids, columns.ts_ms.tolist(), strict=True)
        for at, (user, item, ts) in enumerate(rows):
            event: dict[str, Any] = {"ts": ts, "user": user, "item": item, "type": "rating", "rating": 1 + at % 5}
            file.write(json.dumps(event) + "\n")
    return path


def answer(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def recomputed(lines: list[dict[str, Any]]) -> dict[str, float]:
    """The metrics of saved lines, by EVALUATION's definitions, from nothing but the ranks."""
    ranks = [line["rank"] for line in lines]
    n = len(ranks)

    def within(k: int) -> list[float]:
        return [rank for rank in ranks if rank is not None and rank <= k]

    return {
        "n": n,
        "hit@10": len(within(10)) / n,
        "ndcg@10": sum(1 / math.log2(1 + rank) for rank in within(10)) / n,
        "mrr@20": sum(1 / rank for rank in within(20)) / n,
    }


def test_json_has_exactly_the_keys_that_scripts_rely_on(runner: CliRunner, log: Path) -> None:
    """One object on the last line, no key more and none less."""
    found = answer(runner.invoke(main, ["evaluate", str(log), "--json"]))
    assert found.keys() == {"protocol", "events", "events_per_s", "state_hash", *SETS, "cold0", "cold", "popularity"}
    assert all(found[name].keys() == METRICS for name in SETS)
    assert found["popularity"].keys() == {"half"}
    assert found["popularity"]["half"].keys() == METRICS
    assert (found["protocol"], found["events"]) == ("v1", 1_200)
    assert re.fullmatch("[0-9a-f]{32}", found["state_hash"])
    assert found["events_per_s"] > 0


@pytest.mark.parametrize(
    "options", [[], ["--min-rating", "4", "--exclude-consumed"], ["--first-only", "--limit", "300"]]
)
def test_saved_ranks_recompute_to_the_reported_metrics(
    runner: CliRunner, log: Path, tmp_path: Path, options: list[str]
) -> None:
    """From the lines alone: `all` over every line, `scored` and `half` over those of known users and items."""
    saved = tmp_path / "ranks.jsonl"
    found = answer(runner.invoke(main, ["evaluate", str(log), "--json", "--save", str(saved), *options]))
    lines = [json.loads(line) for line in saved.read_text().splitlines()]
    assert all(line.keys() == {"user", "item", "rank"} for line in lines)
    assert len(lines) == found["events"]
    seen: set[str] = set()
    items: set[str] = set()
    pairs: set[tuple[str, str]] = set()
    scored, half, new = [], [], []
    for at, line in enumerate(lines):
        known = line["item"] in items
        assert (line["rank"] is not None) == known
        if known and line["user"] in seen:
            scored.append(line)
            if at >= len(lines) // 2:
                half.append(line)
                if (line["user"], line["item"]) not in pairs:
                    new.append(line)
        seen.add(line["user"])
        items.add(line["item"])
        pairs.add((line["user"], line["item"]))
    for name, chosen in (("all", lines), ("scored", scored), ("half", half), ("new", new)):
        assert found[name] == pytest.approx(recomputed(chosen), abs=1e-6), name


def test_two_runs_agree(runner: CliRunner, log: Path) -> None:
    """State hash and every figure are the log's, not the run's; other options are another state."""
    first, again = (answer(runner.invoke(main, ["evaluate", str(log), "--json"])) for _ in range(2))
    assert {**first, "events_per_s": 0} == {**again, "events_per_s": 0}
    other = answer(runner.invoke(main, ["evaluate", str(log), "--json", "--exclude-consumed"]))
    assert other["state_hash"] != first["state_hash"]


def test_people_get_a_table(runner: CliRunner, log: Path) -> None:
    """Without --json: the sets, the metrics and the state hash, in words."""
    shown = runner.invoke(main, ["evaluate", str(log), "--limit", "200"])
    assert shown.exit_code == 0, shown.output
    for word in ("half", "popularity", "scored", "new", "all", "hit@10", "MRR@20", "state hash"):
        assert word in shown.output


def test_a_saved_run_is_compared_event_by_event(
    runner: CliRunner, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The differences are those of the two runs' half figures; against itself a run differs by nothing."""
    saved = tmp_path / "ranks.jsonl"
    before = answer(runner.invoke(main, ["evaluate", str(log), "--json", "--save", str(saved)]))
    monkeypatch.setenv("MILLSTREAM_LEARNING__HISTORY_LENGTH", "2")
    found = answer(runner.invoke(main, ["evaluate", str(log), "--json", "--compare", str(saved)]))
    compared = found["compare"]
    assert compared.keys() == {"half", "events", "blocks", "block_events"}
    assert compared["events"] == found["half"]["n"]
    assert compared["blocks"] == math.ceil(compared["events"] / compared["block_events"])
    assert compared["half"].keys() == METRICS - {"n"}
    for name, interval in compared["half"].items():
        assert interval["difference"] == pytest.approx(found["half"][name] - before["half"][name], abs=2e-6)
        assert interval["low"] < interval["difference"] < interval["high"]
    monkeypatch.delenv("MILLSTREAM_LEARNING__HISTORY_LENGTH")
    same = answer(runner.invoke(main, ["evaluate", str(log), "--json", "--compare", str(saved)]))["compare"]["half"]
    assert all(set(interval.values()) == {0.0} for interval in same.values())


def test_people_see_the_interval(runner: CliRunner, log: Path, tmp_path: Path) -> None:
    """A table with the file's name; it may be overwritten in the same run."""
    saved = tmp_path / "ranks.jsonl"
    arguments = ["evaluate", str(log), "--limit", "300", "--save", str(saved)]
    assert runner.invoke(main, arguments).exit_code == 0
    shown = runner.invoke(main, [*arguments, "--compare", str(saved)])
    assert shown.exit_code == 0, shown.output
    for words in ("this run less ranks.jsonl", "95 % interval", "MRR@20", "blocks of"):
        assert words in shown.output


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[:-1], "ends after line 199, but the log has 200 targets"),
        (lambda lines: [*lines, lines[0]], "ranks.jsonl:201: one line too many"),
        (lambda lines: [*lines[:7], lines[8], *lines[8:]], "ranks.jsonl:8: user"),
        (lambda lines: [*lines[:4], "{torn", *lines[5:]], "ranks.jsonl:5: '{torn' is no line that --save writes"),
        (lambda lines: ['{"user":"u","item":"i","rank":0.5}', *lines[1:]], "ranks.jsonl:1:"),
        (lambda lines: ['{"user":"u","item":"i","rank":true}', *lines[1:]], "ranks.jsonl:1:"),
        (lambda lines: ['{"user":1,"item":"i","rank":null}', *lines[1:]], "ranks.jsonl:1:"),
        (lambda lines: ["[]", *lines[1:]], "ranks.jsonl:1: '[]'"),
    ],
)
def test_ranks_of_another_log_are_refused(
    runner: CliRunner, log: Path, tmp_path: Path, change: Callable[[list[str]], list[str]], said: str
) -> None:
    """The line, what it says, what was expected, and the remedy; no figures."""
    saved = tmp_path / "ranks.jsonl"
    arguments = ["evaluate", str(log), "--limit", "200"]
    assert runner.invoke(main, [*arguments, "--save", str(saved)]).exit_code == 0
    saved.write_text("".join(f"{line}\n" for line in change(saved.read_text().splitlines())))
    shown = runner.invoke(main, [*arguments, "--compare", str(saved)])
    assert shown.exit_code == 1
    assert said in shown.output
    assert "--compare" in shown.output
    assert "half" not in shown.stdout


def test_ranks_that_cannot_be_written_are_a_problem(runner: CliRunner, log: Path, tmp_path: Path) -> None:
    """The path and the reason, no traceback."""
    shown = runner.invoke(main, ["evaluate", str(log), "--limit", "50", "--save", str(tmp_path / "none" / "ranks")])
    assert shown.exit_code == 1
    assert "No such file or directory" in shown.output


def test_parts_are_run_alone_and_left_out(runner: CliRunner, log: Path) -> None:
    """Every part by name, with the same events in each; the whole run's figures are those without --parts."""
    arguments = ["evaluate", str(log), "--limit", "300", "--json"]
    found = answer(runner.invoke(main, [*arguments, "--parts"]))
    parts = found.pop("parts")
    assert list(parts) == list(PARTS)
    for each in parts.values():
        assert each.keys() == {"alone", "without", "worth"}
        assert each["alone"].keys() == each["without"].keys() == METRICS
        assert each["alone"]["n"] == each["without"]["n"] == found["half"]["n"]
        lost = found["half"]["mrr@20"] - each["without"]["mrr@20"]
        assert each["worth"]["mrr@20"]["difference"] == pytest.approx(lost, abs=2e-6)
    assert {**found, "events_per_s": 0} == {**answer(runner.invoke(main, arguments)), "events_per_s": 0}
    shown = runner.invoke(main, [*arguments[:-1], "--parts"])
    assert all(name in shown.output for name in PARTS)


def test_a_log_with_nothing_to_score_gives_null_figures(runner: CliRunner, tmp_path: Path) -> None:
    """One event: no set but `all` has a member, and JSON says null rather than NaN."""
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps({"ts": 1_700_000_000_000, "user": "u", "item": "i", "type": "click"}) + "\n")
    found = answer(runner.invoke(main, ["evaluate", str(path), "--json"]))
    assert found["half"] == {"n": 0, "hit@10": None, "ndcg@10": None, "mrr@20": None}
    assert found["all"] == {"n": 1, "hit@10": 0.0, "ndcg@10": 0.0, "mrr@20": 0.0}


def test_bad_lines_are_named_and_the_rest_counts(runner: CliRunner, log: Path, tmp_path: Path) -> None:
    """A line that is no event goes to standard error with its place."""
    path = tmp_path / "some.jsonl"
    with gzip.open(log, "rt") as file:
        lines = file.readlines()[:50]
    path.write_text("".join([*lines[:10], "{broken\n", *lines[10:]]))
    shown = runner.invoke(main, ["evaluate", str(path), "--json"])
    assert answer(shown)["events"] == 50
    assert "some.jsonl:11" in shown.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-file.jsonl"],
        ["--limit", "0", "{log}"],
        ["{log}", "--items", "no-such-items.jsonl"],
        [],
        ["{log}", "--what"],
    ],
)
def test_bad_usage_ends_with_2(runner: CliRunner, log: Path, arguments: list[str]) -> None:
    """What was asked wrongly is said before anything is read."""
    shown = runner.invoke(main, ["evaluate", *(argument.format(log=log) for argument in arguments)])
    assert shown.exit_code == 2
    assert "Error" in shown.output


def test_a_file_that_is_no_log_ends_with_1_and_says_so(runner: CliRunner, tmp_path: Path) -> None:
    """A damaged archive is a failure with its name, not a traceback."""
    path = tmp_path / "torn.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"ts": 1700000000000, "user": "u", "item": "i"}\n' * 2_000)[:60])
    shown = runner.invoke(main, ["evaluate", str(path)])
    assert shown.exit_code == 1
    assert "torn.jsonl.gz" in shown.output
    assert "Traceback" not in shown.output


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the logs in ../shared/data, which are not part of the project")
def test_twenty_thousand_real_clicks_give_a_sane_figure(runner: CliRunner) -> None:
    """Sessions of a shop, the first 20,000 clicks: most next clicks are in the first ten, far above popularity."""
    log = DATA / "yoochoose100k.events.jsonl.gz"
    found = answer(runner.invoke(main, ["evaluate", str(log), "--limit", "20000", "--json"]))
    assert found["events"] == 20_000
    assert 0.5 < found["half"]["hit@10"] < 0.8
    assert found["half"]["mrr@20"] > 0.3
    assert found["half"]["hit@10"] > 2 * found["popularity"]["half"]["hit@10"]
