"""The search of `tune`: optuna proposes settings, an objective says how good they are, the best so far is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.search_space import SPACE, Range, as_suggestion, suggested

from .errors import Problem

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True, slots=True)
class Tried:
    """Settings and what the objective gave for them."""

    config: LearningConfig
    value: float


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to."""

    present: Tried
    """The settings it began from."""
    best: Tried
    """The best of all that were tried, the present ones among them; of equals the first."""
    trials: int
    """How many proposals were tried."""
    interrupted: bool
    """Whether Ctrl-C ended it before all were."""


def new_study(seed: int) -> optuna.Study:
    """Return an empty study whose proposals depend on `seed` and on what it is told. Raises `Problem` without optuna.

    Sampler: Bergstra et al. 2011, "Algorithms for hyper-parameter optimization" (tree-structured Parzen estimators).
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise Problem(
            "optuna, which proposes the settings to try, is not installed; `pip install optuna`, or install Millstream "
            "with its extra `tune`: `pip install '.[worker,tune]'`"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # its line a trial would tear the progress bar
    return optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))


def search(
    study: optuna.Study,
    present: LearningConfig,
    objective: Callable[[LearningConfig, str], float],
    *,
    trials: int,
    space: Sequence[Range] = SPACE,
) -> Found:
    """Try `present`, then `trials` proposals of `study`, and return what maximises `objective`.

    The objective is given settings and a line that says where the search stands; settings may be proposed again.
    Ctrl-C ends the search with the best so far; before `present` is measured it is passed on.
    """
    before = Tried(present, objective(present, "present settings"))
    best, done = before, 0
    suggestion = as_suggestion(present, space)
    try:
        if suggestion is not None:
            study.enqueue_trial(suggestion)
            trial = study.ask()
            suggested(trial, space)
            study.tell(trial, before.value)
        for number in range(1, trials + 1):
            trial = study.ask()
            config = dataclasses.replace(present, **suggested(trial, space))  # type: ignore[arg-type]  # by name
            value = objective(config, f"trial {number} of {trials}, best {best.value:.4f}")
            study.tell(trial, value)
            done = number
            if value > best.value:
                best = Tried(config, value)
    except KeyboardInterrupt:
        return Found(before, best, done, interrupted=True)
    return Found(before, best, done, interrupted=False)
