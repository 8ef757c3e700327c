"""What `tune` may change: one table of settings with the range of each. A line here is all that a new one needs."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .config import LearningConfig

_DIGITS = 3
"""Significant digits of a number that is tried, so that what is printed is what was measured."""


class Scale(enum.Enum):
    """What values a setting takes."""

    whole = "whole"
    power_of_two = "power_of_two"
    real = "real"


@dataclass(frozen=True, slots=True)
class Range:
    """The values of one setting of `LearningConfig` that are worth trying, both ends included."""

    name: str
    low: float
    high: float
    log: bool
    """Whether a factor counts alike everywhere: from 10 to 20 as much as from 50 to 100."""
    scale: Scale


SPACE: tuple[Range, ...] = (
    Range("history_length", 10, 100, log=True, scale=Scale.whole),
    Range("max_neighbours", 64, 1024, log=True, scale=Scale.power_of_two),
)


class Suggests(Protocol):
    """Whatever proposes values: an optuna trial, or a test's stand-in."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Return a whole number from `low` to `high`."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return a number from `low` to `high`."""


def suggested(trial: Suggests, space: Sequence[Range] = SPACE) -> dict[str, int | float]:
    """Return the value of each setting that `trial` proposes, by name."""
    return {each.name: _suggested(trial, each) for each in space}


def as_suggestion(config: LearningConfig, space: Sequence[Range] = SPACE) -> dict[str, int | float] | None:
    """Return what a trial would have to propose to get the settings of `config`; None where one is out of range."""
    suggestion: dict[str, int | float] = {}
    for each in space:
        value = getattr(config, each.name)
        if not each.low <= value <= each.high:
            return None
        suggestion[each.name] = _exponent(value) if each.scale is Scale.power_of_two else value
    return suggestion


def _suggested(trial: Suggests, each: Range) -> int | float:
    if each.scale is Scale.whole:
        return trial.suggest_int(each.name, int(each.low), int(each.high), log=each.log)
    if each.scale is Scale.power_of_two:
        return int(2 ** trial.suggest_int(each.name, _exponent(each.low), _exponent(each.high)))
    return float(f"{trial.suggest_float(each.name, each.low, each.high, log=each.log):.{_DIGITS}g}")


def _exponent(power: float) -> int:
    return int(power).bit_length() - 1
