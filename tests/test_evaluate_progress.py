"""The bar over several runs: one scale for all of them on a terminal, silence elsewhere."""

from __future__ import annotations

import io
import sys

import pytest

from millstream.agents.evaluate_progress import progress


class Terminal(io.StringIO):
    """Standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown_by(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO) -> str:
    """What two runs of 500 events write, the second stopped half-way."""
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress(2, 500) as on_run:
        on_run("the first")(500)
        on_run("the second")(250)
    return stderr.getvalue()


def test_a_terminal_sees_where_all_runs_together_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    """After one and a half of two runs of 500: the run's name, 750 of 1,000, and a time left."""
    last = shown_by(monkeypatch, Terminal())
    assert "the second" in last
    assert "750/1000" in last


def test_elsewhere_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log file of a job holds no bars."""
    assert shown_by(monkeypatch, io.StringIO()) == ""
