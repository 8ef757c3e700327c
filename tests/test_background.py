"""A trainer's own thread: jobs in order, and an end that waits for the one under way, whoever drops it and wherever."""

from __future__ import annotations

import subprocess
import sys

import pytest

from millstream.online_learning.background import Background

_ENDS = """
import gc, sys, time
from millstream.online_learning.background import Background

class Owner:
    def __init__(self):
        self.itself = self  # so that the collector alone finds it
        self.background = Background("test")

def job():
    {within}
    time.sleep(1)  # so that it is under way when the process ends
    print("done", flush=True)

owner = Owner()
background = owner.background
background.submit(job)
time.sleep(0.2)
background.submit(lambda: print("behind it", flush=True))
del owner, background
{after}
"""


def test_jobs_are_done_in_order_and_return_or_raise() -> None:
    background = Background("test")
    done: list[int] = []
    futures = [background.submit(lambda n=n: done.append(n) or n) for n in range(20)]
    failing = background.submit(lambda: 1 // 0)
    assert [future.result(10) for future in futures] == done == list(range(20))
    with pytest.raises(ZeroDivisionError):
        failing.result(10)


@pytest.mark.parametrize(
    ("within", "after"),
    # the last one: the job collects once its owner is dropped, and the main thread is still there meanwhile
    [("pass", ""), ("pass", "gc.collect()"), ("time.sleep(0.5); gc.collect()", "time.sleep(1)")],
    ids=["at the end", "dropped", "dropped by its own thread"],
)
def test_the_job_under_way_is_waited_for_and_those_behind_it_are_not_begun(within: str, after: str) -> None:
    """A process that ends while a thread is in torch is aborted."""
    script = _ENDS.format(within=within, after=after)
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == ["done"], ran
