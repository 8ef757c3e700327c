"""What the worker says of drift."""

from __future__ import annotations

import logging

import msgspec
import pytest

from millstream.agents.drift_log import DriftLog
from millstream.agents.status import FreshnessMs, WorkerStatus, read_status
from millstream.online_learning.drift import LossDrift

WORSE = LossDrift(seq=123_456, before=3.41, after=4.02, window=2_048)
BETTER = LossDrift(seq=130_000, before=4.02, after=3.1, window=1_024)


def test_each_drift_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """However often the detector is looked at; a rise of the loss is a warning."""
    said = DriftLog()
    with caplog.at_level(logging.INFO):
        said.note(0, ())
        said.note(1, (WORSE,))
        said.note(1, (WORSE,))
        said.note(2, (WORSE, BETTER))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "drift: the loss moved from 3.41 to 4.02 at event 123,456"),
        ("INFO", "drift: the loss moved from 4.02 to 3.10 at event 130,000"),
    ]
    assert (said.fired, said.last) == (2, BETTER)


def test_the_status_carries_the_last_drift() -> None:
    """Any reader of the JSON finds it by name, and ours reads it back whole."""
    status = WorkerStatus(
        state="running", pid=1, uptime_s=1.0, events=1, events_per_s=1.0, lag=0, seq=1, effort=1.0, slates=1,
        dead_letters=0, freshness_ms=FreshnessMs(), quality={}, popularity={}, positions={}, drifts=2,
        last_drift=BETTER,
    )  # fmt: skip
    written = msgspec.json.encode(status)
    assert msgspec.json.decode(written)["last_drift"] == {"seq": 130_000, "before": 4.02, "after": 3.1, "window": 1_024}
    assert read_status(written) == status
