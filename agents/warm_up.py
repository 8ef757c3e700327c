"""Compiling the step's kernels before the first event needs them."""

from __future__ import annotations

import time

import click
import numpy as np

from millstream.online_learning.compiled import cache_directory
from millstream.online_learning.config import MAIN, LearningConfig
from millstream.online_learning.scored import scores
from millstream.online_learning.step import INTERACTIONS, NOBODY, Step
from millstream.online_learning.torch_process import TRAINING
from millstream.online_learning.why import why
from millstream.schemas.columns import Chunk, InteractionColumns, vectors_chunk
from millstream.schemas.item_vectors import CONTENT
from millstream.schemas.records import Kind
from millstream.schemas.utterances import Utterances

_READY_EVERY_S = 0.05

COMPILING = "compiling the kernels, once for this version on this machine: a minute or two"


def compile_kernels() -> None:
    """Put a tiny step through all it does, so that all kernels are compiled, or loaded from their cache.

    Takes a minute or two the first time on a machine, about a second later.
    """
    events = 128  # each of another user and item: more than the step has rows for, so that it forgets of both
    kinds = np.full(events, int(Kind.click), np.int8)
    kinds[-2] = Kind.say
    kinds[-1] = Kind.alias  # of the user who came before
    coded, scale = np.ones((1, CONTENT), np.int8), np.ones(1, np.float32)
    columns = InteractionColumns(
        user_ids=[f"u{number}" for number in range(events)],
        item_ids=[*(f"i{number}" for number in range(events - 2)), "", f"u{events - 2}"],
        kinds=kinds,
        ts_ms=np.arange(events, dtype=np.int64) + 1_700_000_000_000,
        values=np.full(events, np.nan),
        as_of_ms=np.arange(events, dtype=np.int64) + 1_700_000_000_000,
        offsets=np.arange(events, dtype=np.int64),
        words=Utterances(np.array([events - 2]), coded, scale, np.zeros(1, np.int8)),
    )
    step = Step(LearningConfig(max_users=16, max_items=16))
    step.apply(vectors_chunk(["i125"], coded, scale))
    step.apply(Chunk(INTERACTIONS, 0, 0, events, columns)).encoded(0)
    step.state_hash()
    step.relist([NOBODY]).encoded(0)
    why(step, NOBODY, "i125", MAIN)
    scores(step, NOBODY, ["i125"], MAIN)
    step.similar.changed(events).encoded(0)
    step.in_category.of(step.in_category.names()).encoded(0)
    step.state_hash()


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
    TRAINING.begin()
    while not TRAINING.is_ready:
        time.sleep(_READY_EVERY_S)


if __name__ == "__main__":
    compile_kernels_saying_so()
