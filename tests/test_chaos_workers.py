"""The workers of a chaos run: one that came while Kafka was away is started again, one that failed is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from millstream.agents.chaos.workers import RunStuck, Worker, Workers
from millstream.streams.local_process import free_ports
from millstream.streams.settings import Kafka, Redis, Settings


class Ended(Worker):
    """A worker that has ended, with these last words."""

    def __init__(self, folder: Path, said: str) -> None:
        self.log = folder / "ended.log"
        self.log.write_text(said)
        self.pid = 0

    @property
    def ended(self) -> bool:
        return True


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workers:
    """None is running, and none really starts."""
    settings = Settings(kafka=Kafka(), redis=Redis(url=f"redis://127.0.0.1:{free_ports(1)[0]}/0"))
    found = Workers(settings, tmp_path, "")
    monkeypatch.setattr(found, "start", lambda: found.running.clear())
    return found


async def test_one_that_found_no_kafka_is_started_again(workers: Workers, tmp_path: Path) -> None:
    """As whoever supervises workers does: it had done nothing yet."""
    workers.running.append(Ended(tmp_path, "Error: no Kafka broker answers at 127.0.0.1:1; start one"))
    await workers.until(lambda: not workers.running, "none is left")
    assert workers.started_again == 1


async def test_one_that_failed_gives_the_run_up(workers: Workers, tmp_path: Path) -> None:
    """With what it said last."""
    workers.running.append(Ended(tmp_path, "the worker failed\nTypeError: no"))
    with pytest.raises(RunStuck, match="TypeError: no"):
        await workers.until(lambda: False, "anything")
    assert workers.started_again == 0
