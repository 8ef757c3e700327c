"""Kernels: which way in they have, and that after warming up none is compiled on an event's way."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numba.core.event
import numpy as np
from logs import SMALL, chunk_of, simulated, turning_over
from numba.core.dispatcher import Dispatcher
from numpy.typing import NDArray

from millstream.agents.warm_up import compile_kernels
from millstream.online_learning.compiled import entry, kernel
from millstream.online_learning.step import NOBODY, Step
from millstream.schemas.columns import catalogue_chunk
from millstream.schemas.records import Item

EVENTS = 3_000


@kernel
def doubled(values: NDArray[np.float32], at: int) -> float:
    """For kernels."""
    return 2.0 * values[at]


@entry
def sum_doubled(values: NDArray[np.float32]) -> float:
    """For Python."""
    total = 0.0
    for at in range(len(values)):
        total += doubled(values, at)
    return total


def test_python_may_call_a_kernel_before_and_after_kernels_do() -> None:
    """It has no way in of its own, so without another one the call would end the process."""
    values = np.arange(4, dtype=np.float32)
    assert [doubled(values, at) for at in range(4)] == [0.0, 2.0, 4.0, 6.0]
    assert sum_doubled(values) == 12.0
    assert [doubled(values, at) for at in range(4)] == [0.0, 2.0, 4.0, 6.0]


def test_warming_up_leaves_nothing_to_compile_on_an_events_way() -> None:
    """In a process of its own, so that no other test has loaded anything."""
    assert _in_another_process("test_compiled.print_what_is_new_after_warming_up()") == "[]"


def test_a_second_process_compiles_nothing() -> None:
    """All is loaded from the cache."""
    compile_kernels()
    assert _in_another_process("test_compiled.print_passes_of_warming_up()") == "0"


def print_what_is_new_after_warming_up() -> None:
    """Print the kernels that all kinds of events, turnover, the catalogue and lists without an event still load."""
    compile_kernels()
    before = _loaded()
    step = Step(replace(SMALL, lists=("main", "buy"), exclude_consumed=True))
    step.apply(catalogue_chunk([Item(item_id="i1", categories=["c"], price=3.0)]))
    step.apply(chunk_of(simulated(EVENTS)), train_every=2).encoded(0)
    step.apply(chunk_of(simulated(EVENTS), partition=1))
    step.relist(["u1", NOBODY]).encoded(0)
    step.similar.changed(50).encoded(0)
    step.state_hash()
    small = Step(replace(SMALL, max_users=64, max_items=64))
    for columns in turning_over(EVENTS, users=50, items=50, user_life=500, item_life=500):
        small.apply(chunk_of(columns)).encoded(0)
    print(sorted(_loaded() - before))


def print_passes_of_warming_up() -> None:
    """Print how many passes the compiler makes."""
    with numba.core.event.install_recorder("numba:run_pass") as passes:
        compile_kernels()
    print(len(passes.buffer))


def _loaded() -> set[str]:
    """Return name and argument types of each kernel that is compiled or loaded in this process."""
    modules = [module for name, module in sys.modules.items() if name.startswith("millstream.online_learning.")]
    kernels = {found for module in modules for found in vars(module).values() if isinstance(found, Dispatcher)}
    return {f"{found.py_func.__name__}{types}" for found in kernels for types in found.overloads}


def _in_another_process(call: str) -> str:
    command = [sys.executable, "-c", f"import test_compiled; {call}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True, cwd=Path(__file__).parent)
    return done.stdout.strip()
