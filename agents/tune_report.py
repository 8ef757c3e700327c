"""What `tune` says: the settings found beside the present ones, on what the search saw and on what it did not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from millstream.online_learning.bootstrap import Comparison
from millstream.online_learning.config import LearningConfig
from millstream.online_learning.evaluation import Evaluation
from millstream.online_learning.quality import Figures
from millstream.online_learning.search_space import SPACE, Range

from .evaluate_report import comparison_json, figures_table, means
from .tune_search import Found

SEARCHED_SHARE = 4
"""The search sees one part in so many of the log, the first."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Both settings on the events that the search did not see, each having learned the whole log up to there."""

    present: Figures
    best: Figures
    compared: Comparison
    """The best less the present."""


def on_rest(result: Evaluation) -> NDArray[np.bool_]:
    """Mark the events behind the searched ones whose user and item were seen before, shape (n,)."""
    n = len(result.rank)
    return result.is_scored & (np.arange(n) >= n // SEARCHED_SHARE)


def changed(found: Found, space: Sequence[Range] = SPACE) -> dict[str, int | float]:
    """Return the settings in which the best differs from the present, by name."""
    return {
        each.name: getattr(found.best.config, each.name)
        for each in space
        if getattr(found.best.config, each.name) != getattr(found.present.config, each.name)
    }


def toml_lines(settings: dict[str, int | float]) -> str:
    """Return what to put into `millstream.toml`; nothing where nothing is to change."""
    return "\n".join(["[learning]", *(f"{name} = {value}" for name, value in settings.items())]) if settings else ""


def report_json(found: Found, rest: Rest | None, *, events: int, seed: int) -> dict[str, object]:
    """Return the keys that scripts rely on; what was not measured is null."""
    settings = changed(found)
    return {
        "events": events,
        "searched_events": events // SEARCHED_SHARE,
        "trials": found.trials,
        "seed": seed,
        "interrupted": found.interrupted,
        "present": {
            "settings": _searched(found.present.config),
            "searched": {"mrr@20": round(found.present.value, 6)},
            "rest": rest and rest.present.as_json(),
        },
        "best": {
            "settings": _searched(found.best.config),
            "searched": {"mrr@20": round(found.best.value, 6)},
            "rest": rest and rest.best.as_json(),
        },
        "compare": rest and comparison_json(rest.compared, "rest"),
        "toml": toml_lines(settings),
    }


def report_table(found: Found, rest: Rest, *, events: int) -> Table:
    """Return a row for the present settings and one for the best, on the events that the search did not see."""
    first = events // SEARCHED_SHARE
    table = figures_table(f"the rest, events {first + 1:,} to {events:,}, both known", "settings")
    table.add_column("searched", justify="right")
    table.caption = f"searched: MRR@20, last half of the first {first:,} events"
    for name, tried, figures in (("present", found.present, rest.present), ("best found", found.best, rest.best)):
        table.add_row(name, f"{figures.n:,}", *means(figures), f"{tried.value:.4f}")
    return table


def verdict(rest: Rest) -> str:
    """Return one sentence: what the interval of MRR@20 says of the settings found."""
    interval = rest.compared.by_metric["mrr@20"]
    if not interval.excludes_zero:
        return "On the rest chance alone may make this difference in MRR@20: keep the present settings."
    if interval.difference > 0:
        return "On the rest the settings found are better in MRR@20 by more than chance."
    return "On the rest the settings found are worse in MRR@20: keep the present ones."


def _searched(config: LearningConfig) -> dict[str, int | float]:
    return {each.name: getattr(config, each.name) for each in SPACE}
