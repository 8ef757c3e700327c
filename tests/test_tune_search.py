"""The search: it finds what it is to find, the seed decides, Ctrl-C keeps the best so far."""

from __future__ import annotations

import math
import sys

import pytest

from millstream.agents.errors import Problem
from millstream.agents.tune_search import Found, new_study, search
from millstream.online_learning.config import LearningConfig
from millstream.online_learning.search_space import Range, Scale

SPACE = (
    Range("history_length", 10, 100, log=True, scale=Scale.whole),
    Range("max_neighbours", 64, 1024, log=True, scale=Scale.power_of_two),
)
PRESENT = LearningConfig(history_length=90, max_neighbours=1024)


def likes_thirty_and_128(config: LearningConfig, label: str = "") -> float:
    """Best, 0, at a history of 30 and 128 neighbours."""
    return -abs(math.log(config.history_length / 30)) - abs(math.log2(config.max_neighbours / 128))


def found(trials: int, seed: int = 1, present: LearningConfig = PRESENT) -> Found:
    return search(new_study(seed), present, likes_thirty_and_128, trials=trials, space=SPACE)


def test_the_search_comes_near_the_best() -> None:
    """From far off, in forty trials; all else stays as it is."""
    best = found(40).best
    assert best.config.max_neighbours == 128
    assert 22 <= best.config.history_length <= 41
    assert best.config.list_length == PRESENT.list_length
    assert best.value == likes_thirty_and_128(best.config)


def test_the_seed_decides() -> None:
    """The same seed tries the same settings."""
    assert found(12) == found(12)
    assert found(12).best != found(12, seed=2).best


def test_where_nothing_is_better_the_present_settings_are_the_best() -> None:
    """Also where they are out of the range that is searched."""
    assert found(5, present=LearningConfig(history_length=30, max_neighbours=128)).best.value == 0
    outside = LearningConfig(history_length=500)
    same = search(new_study(1), outside, lambda config, label: 0.0, trials=3, space=SPACE)
    assert same.best.config == same.present.config == outside
    assert same.trials == 3


def test_ctrl_c_keeps_the_best_so_far() -> None:
    """The fourth trial is broken off: the result is that of a search for three."""
    told: list[str] = []

    def until_the_fourth(config: LearningConfig, label: str) -> float:
        told.append(label)
        if len(told) == 5:
            raise KeyboardInterrupt
        return likes_thirty_and_128(config)

    stopped = search(new_study(1), PRESENT, until_the_fourth, trials=50, space=SPACE)
    assert (stopped.interrupted, stopped.trials) == (True, 3)
    assert stopped.best == found(3).best
    assert told[0] == "present settings"
    assert told[1].startswith("trial 1 of 50, best -")


def test_ctrl_c_before_anything_is_measured_is_passed_on() -> None:
    """There is no best yet to keep."""

    def never(config: LearningConfig, label: str) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(new_study(1), PRESENT, never, trials=3, space=SPACE)


def test_without_optuna_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with what to install, no traceback."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(Problem, match=r"optuna.* is not installed; `pip install optuna`.*\[worker,tune\]"):
        new_study(1)
