"""The table of what `tune` may change: each row names a setting, and what is proposed is what is measured."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import pytest

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.search_space import SPACE, Range, Scale, as_suggestion, suggested
from millstream.streams.settings import Settings

WIDE = (
    Range("history_length", 10, 100, log=True, scale=Scale.whole),
    Range("max_neighbours", 64, 1024, log=True, scale=Scale.power_of_two),
    Range("rate", 0.01, 0.5, log=True, scale=Scale.real),
)


@dataclass
class Proposer:
    """Proposes what it is told to, and remembers between what it was to choose."""

    values: dict[str, float]
    asked: dict[str, tuple[float, float, bool]] = field(default_factory=dict)

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        self.asked[name] = (low, high, log)
        return int(self.values[name])

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        self.asked[name] = (low, high, log)
        return self.values[name]


@pytest.mark.parametrize("each", SPACE, ids=lambda each: each.name)
def test_every_row_is_a_setting_whose_default_is_in_range(each: Range) -> None:
    """The ends too are values that the settings take."""
    default = getattr(LearningConfig(), each.name)
    assert each.low <= default <= each.high
    for end in (each.low, each.high):
        value = end if each.scale is Scale.real else int(end)
        learning = dataclasses.asdict(LearningConfig()) | {each.name: value}
        assert getattr(Settings(learning=learning).learning, each.name) == value  # type: ignore[arg-type]  # validated


def test_a_power_of_two_is_searched_by_its_exponent() -> None:
    """From 64 to 1,024 there are five to choose from, equally far apart."""
    proposer = Proposer({"history_length": 33, "max_neighbours": 7, "rate": 0.1})
    assert suggested(proposer, WIDE)["max_neighbours"] == 128
    assert proposer.asked == {
        "history_length": (10, 100, True),
        "max_neighbours": (6, 10, False),
        "rate": (0.01, 0.5, True),
    }


def test_real_numbers_are_tried_as_they_are_printed() -> None:
    """Three digits: the figures are those of the number that goes into the settings."""
    found = suggested(Proposer({"history_length": 33, "max_neighbours": 7, "rate": 0.0123456}), WIDE)
    assert found == {"history_length": 33, "max_neighbours": 128, "rate": 0.0123}


def test_settings_turn_into_the_proposal_that_gives_them() -> None:
    """There and back; out of range there is none."""
    config = LearningConfig(history_length=20, max_neighbours=256)
    proposal = as_suggestion(config, WIDE[:2])
    assert proposal is not None
    assert suggested(Proposer(dict(proposal)), WIDE[:2]) == {"history_length": 20, "max_neighbours": 256}
    assert as_suggestion(LearningConfig(history_length=5), WIDE[:2]) is None
