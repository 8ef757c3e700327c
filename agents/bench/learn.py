"""`bench learn`: the learner alone, in one process: events a second of `evaluate`, and with a fresh list after each.

Every way learns every event at full effort from a fresh state, and all must end in the same state.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from millstream.agents.demo_servers import Say
from millstream.agents.evaluate_task import LoadedTask
from millstream.online_learning.config import LearningConfig
from millstream.online_learning.evaluation import CHUNK_EVENTS, Evaluation, evaluate
from millstream.online_learning.step import INTERACTIONS, Step
from millstream.schemas.columns import Chunk, InteractionColumns

from .memory import TARGETS, memory
from .popularity_alone import popularity_alone
from .report import Report, WrongResult
from .stages import stages_us

_WARM_EVENTS = 600
"""Learned in each way beforehand: torch takes seconds to load, with the second block of events."""
RATIO = "lists_over_evaluate"
RATIO_POPULARITY = "lists_over_popularity"


@dataclass(frozen=True, slots=True)
class LearnRun:
    """Seconds of one run, each from the first byte read to the last event learned and, where made, its list."""

    evaluate_s: float
    lists_s: float
    """Slices of 1,000 events; each event's list is made right after it."""
    slates_s: float
    """Of `lists_s`, for writing the lists as texts with ids and reasons."""
    one_by_one_s: float
    """Slices of one event: its list is handed out before the next event is looked at."""
    popularity_s: float
    popularity_lists_s: float


def learn(name: str, loaded: LoadedTask, read_s: float, config: LearningConfig, *, runs: int, say: Say) -> Report:
    """Return the run with the lowest rate of lists. Raises `WrongResult` if the ways do not end in the same state.

    `read_s` is how long it took to read the log, 0 for one that was made in memory; it counts in every rate.
    """
    columns, n = loaded.columns, len(loaded.columns)
    _run(LoadedTask(columns.cut(0, min(n, _WARM_EVENTS)), loaded.catalogue), 0.0, config)
    say(f"{n:,} events of {name}, {runs} times in each way")
    measured: list[LearnRun] = []
    for number in range(1, runs + 1):
        run, result, step = _run(loaded, read_s, config)
        measured.append(run)
        say(
            f"run {number} of {runs}: {n / run.evaluate_s:,.0f} events/s evaluated, {n / run.lists_s:,.0f} with a list "
            f"after each, {n / run.one_by_one_s:,.0f} one by one; popularity alone {n / run.popularity_lists_s:,.0f}"
        )
    run = max(measured, key=lambda each: each.lists_s)
    say("timing the stages")
    stages = stages_us(columns, lambda: loaded.step(config))
    return Report(
        name="learn",
        figures={
            "events": n,
            "events_per_s": n / run.evaluate_s,
            "events_per_s_with_lists": n / run.lists_s,
            "events_per_s_one_by_one": n / run.one_by_one_s,
            "runs_events_per_s": [n / each.evaluate_s for each in measured],
            "runs_events_per_s_with_lists": [n / each.lists_s for each in measured],
            "half_hit@10": result.half.hit_at_10,
            "half_mrr@20": result.half.mrr_at_20,
            **_shares(run, read_s, stages, n),
            "users": len(step.users),
            "items": len(step.items),
            **memory(step),
        },
        baseline={
            "events": n,
            "events_per_s": n / run.popularity_s,
            "events_per_s_with_lists": n / run.popularity_lists_s,
            "half_hit@10": result.popularity_half.hit_at_10,
            "half_mrr@20": result.popularity_half.mrr_at_20,
        },
        ratios={
            RATIO: min(each.evaluate_s / each.lists_s for each in measured),
            RATIO_POPULARITY: min(each.popularity_lists_s / each.lists_s for each in measured),
        },
        targets=TARGETS,
        facts=(
            f"{name}: {n:,} events, from the first {'byte read' if read_s else 'event handed over'} to the last event "
            "learned, kernels compiled before; every event is ranked, measured, trained on and remembered",
            "with lists: the touched user's fresh list after each event, as text with reasons; in slices of "
            f"{CHUNK_EVENTS:,}, and one by one, each handed out before the next event is taken",
            "baseline: the same loop in plain Python that counts how often items were chosen and lists the best",
            f"the run with the lowest rate of lists, of {runs}; all ways ended in state {result.state_hash}",
            "us_…: where an event's time goes: passes that go as far as each stage, one less the other; "
            "us_measure_and_vectors: what is left of evaluate; us_list: a second ranking, and its reasons",
            f"bytes: state and names in use, for each known; at most: all that the caps reserve (max_users "
            f"{config.max_users:,}, max_items {config.max_items:,}), for each of them, names not counted",
        ),
    )


def _run(loaded: LoadedTask, read_s: float, config: LearningConfig) -> tuple[LearnRun, Evaluation, Step]:
    columns, exclude = loaded.columns, config.exclude_consumed
    step = loaded.step(config)
    ended_s = began_s = time.perf_counter()

    def on_progress(events: int) -> None:
        nonlocal ended_s
        ended_s = time.perf_counter()

    result = evaluate(columns, step, topic=INTERACTIONS, on_progress=on_progress)
    evaluate_s = ended_s - began_s
    step = loaded.step(config)
    lists_s, slates_s = _with_lists(columns, step, CHUNK_EVENTS)
    _same_state(step, result)
    step = loaded.step(config)
    one_by_one_s, _ = _with_lists(columns, step, 1)
    _same_state(step, result)
    popularity_s, popularity_lists_s = (
        _popularity_s(columns, config.list_length, exclude=exclude, lists=lists) for lists in (False, True)
    )
    run = LearnRun(
        evaluate_s=read_s + evaluate_s,
        lists_s=read_s + lists_s,
        slates_s=slates_s,
        one_by_one_s=read_s + one_by_one_s,
        popularity_s=read_s + popularity_s,
        popularity_lists_s=read_s + popularity_lists_s,
    )
    return run, result, step


def _with_lists(columns: InteractionColumns, step: Step, size: int) -> tuple[float, float]:
    """Learn the log in slices of `size` with a list after each event; return the seconds, and those for texts."""
    slates_s, n = 0.0, len(columns)
    began_s = time.perf_counter()
    for first in range(0, n, size):
        last = min(n, first + size)
        after_each = np.ones(last - first, np.bool_)
        applied = step.apply(Chunk(INTERACTIONS, 0, first, last, columns.cut(first, last)), lists=after_each)
        learned_s = time.perf_counter()
        applied.encoded(0)
        slates_s += time.perf_counter() - learned_s
    return time.perf_counter() - began_s, slates_s


def _same_state(step: Step, result: Evaluation) -> None:
    if (found := step.state_hash()) != result.state_hash:
        raise WrongResult(f"with lists the state came to {found}, without to {result.state_hash}")


def _popularity_s(columns: InteractionColumns, length: int, *, exclude: bool, lists: bool) -> float:
    began_s = time.perf_counter()
    popularity_alone(columns, length=length, exclude=exclude, lists=lists)
    return time.perf_counter() - began_s


def _shares(run: LearnRun, read_s: float, stages: dict[str, float], n: int) -> dict[str, float]:
    """Return where an event's time goes, in µs: reading, the stages, the rest of `evaluate`, and what lists add."""
    shares = {
        **({"read": read_s * 1e6 / n} if read_s else {}),
        **stages,
        "measure_and_vectors": (run.evaluate_s - read_s) * 1e6 / n - sum(stages.values()),
        "list": (run.lists_s - run.evaluate_s - run.slates_s) * 1e6 / n,
        "list_as_text": run.slates_s * 1e6 / n,
    }
    return {f"us_{stage}": us for stage, us in shares.items()}
