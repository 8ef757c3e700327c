"""`weights` and `vector`: what a person and a script get from a snapshot, and how they fail."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from logs import SMALL, chunk_of, random_log

from millstream.agents.cli import main
from millstream.agents.weights_report import HEADINGS, signed
from millstream.online_learning.blend_readout import CONTEXTS
from millstream.online_learning.interest import WIDTH
from millstream.online_learning.signals import NAMES, PARTS
from millstream.online_learning.snapshot import read_snapshot, write_snapshot
from millstream.online_learning.step import Step

COMMANDS = [["weights"], ["vector", "user", "u7"]]


@pytest.fixture(scope="module")
def step() -> Step:
    step = Step(SMALL)
    step.apply(chunk_of(random_log(600, users=20, items=60, seed=3)), lists=False)
    return step


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    """A runner in an empty folder, with none of the settings of whoever runs the tests, in a narrow terminal."""
    for name in [name for name in os.environ if name.startswith("MILLSTREAM_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return CliRunner()


@pytest.fixture
def snapshot(runner: CliRunner, step: Step) -> Path:
    """The newest of two in the folder that the settings name by default."""
    write_snapshot(Step(SMALL).dump(), Path("snapshots"), keep=3)
    return write_snapshot(step.dump(), Path("snapshots"), keep=3)


def answer(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_weights_json_has_every_signal_in_every_context(runner: CliRunner, snapshot: Path, step: Step) -> None:
    """The newest snapshot is read; each number is the model's."""
    found = answer(runner.invoke(main, ["weights", "--json"]))
    assert found.keys() == {"snapshot", "seq", "trained", "contexts", "signals"}
    assert (found["snapshot"], found["seq"], found["contexts"]) == (str(snapshot), 600, list(CONTEXTS))
    assert {each["signal"] for each in found["signals"]} == set(NAMES)
    for each in found["signals"]:
        assert each.keys() == {"signal", "part", "group", "deviation", "weight", "counts", "span"}
        weight = step.model.blend.weight[:, NAMES.index(each["signal"])]
        assert list(each["weight"]) == list(each["counts"]) == list(CONTEXTS)
        assert list(each["weight"].values()) == pytest.approx(weight.tolist(), abs=1e-6)
        assert each["counts"]["shared"] == pytest.approx(float(weight[0]) * each["deviation"], abs=1e-5)
        assert each["span"] == sorted(each["span"])


def test_weights_are_narrowed_to_parts_and_to_the_first(runner: CliRunner, snapshot: Path) -> None:
    """In the order of the whole; `--top` counts after `--signals`."""
    every = answer(runner.invoke(main, ["weights", "--json"]))["signals"]
    narrow = ["weights", "--json", "--signals", "trend", "--signals", "interest"]
    some = answer(runner.invoke(main, narrow))["signals"]
    assert some == [each for each in every if each["part"] in ("trend", "interest")]
    assert len(some) == len(PARTS["trend"]) + len(PARTS["interest"])
    assert answer(runner.invoke(main, [*narrow, "--top", "2"]))["signals"] == some[:2]


def test_people_get_weights_in_two_tables_that_say_what_they_mean(runner: CliRunner, snapshot: Path) -> None:
    """No name and no heading is cut in 80 columns; the caption says what a weight is and what it is not."""
    shown = runner.invoke(main, ["weights"])
    assert shown.exit_code == 0, shown.output
    words = shown.output.split()
    assert all(words.count(name) >= 2 for name in NAMES)
    assert all(heading in shown.output for heading in HEADINGS)
    assert "…" not in shown.output
    said = " ".join(words)
    assert "what one unit of the signal adds to an item's score" in said
    assert "A small net over the same signals" in said


def test_weights_of_a_model_that_has_not_learned(runner: CliRunner, tmp_path: Path) -> None:
    """A file by name, of other settings than one's own: weights, and null for what only learning measures."""
    path = write_snapshot(Step(SMALL).dump(), tmp_path / "elsewhere", keep=1)
    found = answer(runner.invoke(main, ["weights", "--snapshot", str(path), "--json"]))
    assert (found["snapshot"], found["trained"]) == (str(path), 0)
    assert all(each["deviation"] is each["counts"] is each["span"] is None for each in found["signals"])
    shown = runner.invoke(main, ["weights", "--snapshot", str(path)])
    assert "0 of 0 events trained the blend" in shown.output


def test_vector_json_is_the_vector_and_what_is_near(runner: CliRunner, snapshot: Path, step: Step) -> None:
    """Of a user and of an item, with exactly the keys that scripts rely on."""
    keys = {"id", "kind", "snapshot", "seq", "as_of_ms", "vector", "norm", "pooled", "nearest"}
    step.relist(["u7"]).slates(0)
    rows = {"u7": step.bench.scratch.pooled.user[0], "i5": step.model.interest.vector[step.items.row("i5")]}
    for kind, id_ in (("user", "u7"), ("item", "i5")):
        found = answer(runner.invoke(main, ["vector", kind, id_, "--top", "4", "--json"]))
        assert found.keys() == keys
        assert (found["id"], found["kind"], found["snapshot"]) == (id_, kind, str(snapshot))
        assert found["vector"] == pytest.approx(rows[id_].tolist(), abs=1e-6)
        assert len(found["vector"]) == WIDTH
        assert found["norm"] == pytest.approx(sum(each**2 for each in found["vector"]) ** 0.5, abs=1e-5)
        scores = [each["score"] for each in found["nearest"]]
        assert len(scores) == 4
        assert scores == sorted(scores, reverse=True)
        assert sum(each["share"] for each in found["pooled"]) == pytest.approx(1, abs=1e-5)


def test_people_get_a_vector_in_a_table(runner: CliRunner, snapshot: Path) -> None:
    """Its numbers, what it is pooled from, and as many nearest items as were asked for."""
    shown = runner.invoke(main, ["vector", "user", "u7", "--top", "3"])
    assert shown.exit_code == 0, shown.output
    for words in ("user u7", f"{WIDTH} elements, norm", "nearest item", "pooled from", "score: (u' A) v_j"):
        assert words in shown.output
    item = runner.invoke(main, ["vector", "item", "i5"])
    assert "item i5" in item.output
    assert "pooled from" not in item.output


def test_ids_are_shown_as_they_are(runner: CliRunner, tmp_path: Path) -> None:
    """What looks like markup is none."""
    step = Step(SMALL)
    log = random_log(30, users=2, items=5, seed=1)
    log.item_ids[:] = [f"[bold]{item}" for item in log.item_ids]
    step.apply(chunk_of(log), lists=False)
    path = write_snapshot(step.dump(), tmp_path, keep=1)
    shown = runner.invoke(main, ["vector", "item", "[bold]i0", "--snapshot", str(path)])
    assert "item [bold]i0" in shown.output
    assert "[bold]i1" in shown.output


@pytest.mark.parametrize("kind", ["user", "item"])
def test_an_unknown_id_is_named_with_the_remedy(runner: CliRunner, snapshot: Path, kind: str) -> None:
    """Exit 1, the file that was read, the id, and what to do."""
    shown = runner.invoke(main, ["vector", kind, "who"])
    assert shown.exit_code == 1
    assert f"{snapshot}: no {kind} 'who' among the" in shown.output
    assert "check the id" in shown.output
    assert "Traceback" not in shown.output


@pytest.mark.parametrize("arguments", COMMANDS)
def test_without_a_snapshot_the_folder_is_named(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """Exit 1, the setting, and both remedies."""
    monkeypatch.setenv("MILLSTREAM_SNAPSHOTS__DIRECTORY", "somewhere")
    shown = runner.invoke(main, arguments)
    assert shown.exit_code == 1
    assert "snapshots.directory = 'somewhere': no snapshot there" in shown.output
    assert "millstream worker" in shown.output
    assert "--snapshot" in shown.output


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_snapshot_that_cannot_be_used_is_named(
    runner: CliRunner, snapshot: Path, tmp_path: Path, arguments: list[str]
) -> None:
    """Damaged, or of a version with other tables: the file, why, and what to do."""
    torn = tmp_path / "torn.snapshot"
    torn.write_bytes(snapshot.read_bytes()[:1_000])
    shown = runner.invoke(main, [*arguments, "--snapshot", str(torn)])
    assert shown.exit_code == 1
    assert "torn.snapshot: damaged" in shown.output
    dump = read_snapshot(snapshot)
    for table in ("blend/weight", "interest/vector"):
        del dump.arrays[table]
    other = write_snapshot(dump, tmp_path / "other", keep=1)
    shown = runner.invoke(main, [*arguments, "--snapshot", str(other)])
    assert shown.exit_code == 1
    assert f"{other}: the snapshot's arrays differ" in shown.output
    assert "read it with the version that wrote it" in shown.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["weights", "--signals", "none"],
        ["weights", "--top", "0"],
        ["weights", "--snapshot", "no-such-file"],
        ["vector", "user"],
        ["vector", "shop", "u7"],
        ["vector", "user", "u7", "--top", "0"],
    ],
)
def test_bad_usage_ends_with_2(runner: CliRunner, arguments: list[str]) -> None:
    """What was asked wrongly is said before anything is read."""
    assert runner.invoke(main, arguments).exit_code == 2


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "–"), (0.0, "–"), (0.004, "0"), (-0.004, "0"), (0.314, "+.31"), (-0.314, "-.31"), (0.996, "+1.0"),
     (-1.25, "-1.2"), (10.04, "+10.0")],
)  # fmt: skip
def test_numbers_stay_short(value: float | None, said: str) -> None:
    """Two decimals below 1, one from there on, nothing for nothing."""
    assert signed(value) == said
