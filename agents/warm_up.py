"""Compiling the step's kernels before the first event needs them."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import numpy as np

from millstream.online_learning.compiled import cache_directory
from millstream.online_learning.config import MAIN, LearningConfig
from millstream.online_learning.forgetting import eviction
from millstream.online_learning.given import list_given
from millstream.online_learning.interest_trainer import InterestTrainer
from millstream.online_learning.merging import merge
from millstream.online_learning.slate_maker import reserve_lists
from millstream.online_learning.step import INTERACTIONS, NOBODY, Step
from millstream.online_learning.why import why
from millstream.schemas.columns import Chunk, InteractionColumns
from millstream.schemas.records import Kind

_SMALL = LearningConfig(max_users=16, max_items=16)
_LISTS = "lists"
_HERE = (sys.executable, "-m", "millstream.agents.warm_up")
COMPILING = "compiling the kernels, once for this version on this machine: about a minute"


def compile_kernels() -> None:
    """Put a tiny step through all it does, so that all kernels are compiled, or loaded from their cache.

    Takes about a minute the first time on a machine, about a second later. The first time another process compiles what
    makes lists, while this one begins with what forgets: each finds in the cache what the other has done.
    """
    helper = None if are_compiled() or (os.cpu_count() or 1) < 2 else subprocess.Popen((*_HERE, _LISTS))
    try:
        if helper is not None:
            _compile_what_forgets()
        _compile_all()
    finally:
        if helper is not None:
            helper.terminate()  # what it has not done yet is done
            helper.wait()


def _compile_all() -> None:
    events = 128  # each of another user and item: more than the step has rows for, so that it forgets of both
    kinds = np.full(events, int(Kind.click), np.int8)
    kinds[-1] = Kind.alias  # of the user who came before
    columns = InteractionColumns(
        user_ids=[f"u{number}" for number in range(events)],
        item_ids=[*(f"i{number}" for number in range(events - 1)), f"u{events - 2}"],
        kinds=kinds,
        ts_ms=np.arange(events, dtype=np.int64) + 1_700_000_000_000,
        values=np.full(events, np.nan),
        as_of_ms=np.arange(events, dtype=np.int64) + 1_700_000_000_000,
        offsets=np.arange(events, dtype=np.int64),
    )
    step = Step(_SMALL)
    step.apply(Chunk(INTERACTIONS, 0, 0, events, columns)).encoded(0)
    step.relist([NOBODY]).encoded(0)
    why(step, NOBODY, "i126", MAIN)
    step.similar.changed(events).encoded(0)
    step.in_category.of(step.in_category.names()).encoded(0)
    step.state_hash()


def _compile_what_forgets() -> None:
    step = _step_with_rows()
    m = step.model
    rows = np.arange(1)
    trainer = InterestTrainer(m.interest, m.popularity)
    for turnover in eviction(_SMALL, m, step.arena, step.users, step.items, step.item_ids, trainer).turnovers:
        turnover.last_use(slice(0, 1))
        turnover.forget(rows, 0)
        turnover.sweep(0, 0)
    merge(m, 0, 1, _SMALL.exclude_consumed)


def _compile_what_makes_lists() -> None:
    step = _step_with_rows()
    given, found, lists = np.zeros(1, np.int32), np.zeros(3), reserve_lists(1, 1)
    exclude = _SMALL.exclude_consumed
    list_given(step.model, step.bench, 0, given, False, step.last_ms, step.seq, exclude, False, lists, 0, found)
    step.similar.of(["0"]).encoded(0)


def _step_with_rows() -> Step:
    step = Step(_SMALL)
    step.users.rows(["0", "1"])
    step.items.rows(["0", "1"])
    return step


def are_compiled() -> bool:
    """Whether there is a cache for these sources."""
    return any(cache_directory().rglob("*.nbi"))  # the folder is there as soon as a kernel is declared


def compile_kernels_saying_so() -> None:
    """Compile with a line on standard error when there is no cache for these sources yet."""
    if not are_compiled():
        click.echo(COMPILING, err=True)
    compile_kernels()


def load_training() -> None:
    """Load torch, which takes some seconds, so that a run that is timed does not wait for it at its second block."""
    from millstream.online_learning import interest_loss  # noqa: F401  # here, so that other commands start without


if __name__ == "__main__":
    if sys.argv[1:] == [_LISTS]:
        _compile_what_makes_lists()
    else:
        compile_kernels_saying_so()
