"""Torch in a process of its own: the same answers as here, another where one is lost, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_LEARN = """
import json, os, signal, sys, time
from logs import SMALL, chunk_of, random_log
from millstream.online_learning.step import Step
from millstream.online_learning.torch_process import TRAINING
{before}
step = Step(SMALL)
columns = random_log(3_000, users=50, items=200, seed=4)
for first in range(0, 3_000, 250):
    step.apply(chunk_of(columns.cut(first, first + 250)), lists=False)
    {between}
print(json.dumps([step.state_hash(), TRAINING.pid, "torch" in sys.modules]), flush=True)
{after}
"""


def _script(text: str) -> tuple[list[str], dict[str, str]]:
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return [sys.executable, "-c", text], os.environ | {"PYTHONPATH": path}


def _said(text: str) -> tuple[Any, str]:
    """Run a script; return what it printed as JSON, and what it wrote beside that."""
    command, environment = _script(text)
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=environment)
    return json.loads(ran.stdout), ran.stderr


def _learned(before: str = "", between: str = "", after: str = "") -> str:
    return _LEARN.format(before=before, between=between, after=after)


def _is_gone(pid: int) -> bool:
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_it_teaches_what_torch_in_this_process_teaches_and_ends_with_it() -> None:
    """Bit for bit; and where torch is loaded already, no process is started."""
    (here, none, loaded), _ = _said(_learned(before="import torch"))
    (there, pid, not_loaded), complaints = _said(_learned())
    assert there == here
    assert (none, loaded, not_loaded) == (None, True, False)
    assert _is_gone(pid)
    assert complaints == ""


def test_one_that_is_lost_costs_nothing_but_time() -> None:
    """Killed, also while it trains: the state is the one it would have been."""
    (expected, _, _), _ = _said(_learned())
    (found, pid, _), complaints = _said(
        _learned(between="TRAINING.pid and first % 1_000 == 750 and os.kill(TRAINING.pid, signal.SIGKILL)")
    )
    assert found == expected
    assert pid is not None
    assert "the process that trains was lost" in complaints


def test_a_torch_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    """Not as an end of a file: the message says what to look at."""
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    (kind, message), complaints = _said(f"""
import json, os
os.environ["PYTHONPATH"] = {str(tmp_path)!r} + os.pathsep + os.environ["PYTHONPATH"]
from millstream.online_learning.torch_process import TRAINING
try:
    TRAINING.train("interest_loss", None)
except RuntimeError as error:
    print(json.dumps([type(error).__name__, str(error)]))
""")
    assert kind == "TrainerLost"
    assert "3 times in a row" in message
    assert "-c 'import torch'" in message
    assert complaints.count("ImportError: no torch here") == 3


def test_what_goes_wrong_there_is_raised_here_with_its_place() -> None:
    """And the process goes on with the next question."""
    (pids, kind, notes), _ = _said("""
import json
from millstream.online_learning.torch_process import TRAINING
pids, raised = [], []
for _ in range(2):
    try:
        TRAINING.train("interest_loss", None)
    except AttributeError as error:
        raised.append(error)
    pids.append(TRAINING.pid)
print(json.dumps([pids, type(raised[1]).__name__, raised[1].__notes__]))
""")
    assert kind == "AttributeError"
    assert "interest_loss.py" in notes[0]
    assert pids[0] == pids[1]


def test_it_goes_when_who_asks_is_killed() -> None:
    """However that was: nothing is left to wait for questions that never come."""
    # it stays until it is killed below
    command, environment = _script(_learned(after="time.sleep(100)"))
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as asking:
        assert asking.stdout is not None
        pid = json.loads(asking.stdout.readline())[1]
        assert not Path(f"/proc/{pid}/stat").read_text().split(") ")[1].startswith("Z")
        asking.kill()
    assert _is_gone(pid)


def test_who_ends_does_not_wait_for_torch_to_load() -> None:
    """A stop is at once, also in the seconds that loading takes."""
    began_s = time.monotonic()
    (took_s, pid), _ = _said("""
import atexit, json, time
began_s = time.monotonic()
from millstream.online_learning import background, torch_process
training = torch_process.TRAINING
training.begin()
worker = background.Background("test")
worker.submit(lambda: training.train("interest_loss", None))
print(json.dumps([time.monotonic() - began_s, training.pid]), flush=True)
""")
    assert time.monotonic() - began_s < took_s + 2.5
    assert _is_gone(pid)
