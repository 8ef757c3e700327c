"""What happens in a run, and when: all of it follows from the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, get_args

Fault = Literal[
    "kill_leader",
    "kill_follower",
    "kill_in_snapshot",
    "kill_in_order",
    "kill_in_recovery",
    "kill_trainer",
    "stop_leader",
    "join",
    "leave",
    "kafka_restart",
    "redis_restart",
    "redis_emptied",
    "disk_full",
]
FAULTS: tuple[Fault, ...] = get_args(Fault)
ALWAYS = ("duplicates", "out_of_order")
"""In the events of every run."""
FAULTS_A_RUN = 3
_FIRST_AT, _LAST_AT = 0.15, 0.8


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault: it comes when so many events have been sent."""

    at: int
    fault: Fault


def schedule(seed: int, events: int, only: tuple[Fault, ...] = ()) -> list[Planned]:
    """Return what comes when. Over thirteen seeds each kind comes three times; `only`: these, in this order."""
    chance = random.Random(seed)
    chosen = list(only)
    if not chosen:
        turn, place = divmod(seed * FAULTS_A_RUN, len(FAULTS))
        dealt = _dealt(turn) + _dealt(turn + 1)
        chosen = dealt[place : place + FAULTS_A_RUN]
        chance.shuffle(chosen)
    width = (_LAST_AT - _FIRST_AT) / len(chosen)
    starts = [_FIRST_AT + number * width for number in range(len(chosen))]
    return [
        Planned(int(events * (start + chance.random() * 0.8 * width)), fault)
        for start, fault in zip(starts, chosen, strict=True)
    ]


def _dealt(turn: int) -> list[Fault]:
    dealt = list(FAULTS)
    random.Random(f"faults {turn}").shuffle(dealt)
    return dealt
