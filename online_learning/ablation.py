"""Ablation: what each part of the signals is worth, measured by running the log with it alone and without it.

A part that is off adds nothing to any score; the shortlist stays as it is, and so do the item biases and the net over
the signals that are left. Two parts that know the same thing each look worthless when the other stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from millstream.schemas.columns import Chunk, InteractionColumns

from .bootstrap import Comparison, compare
from .evaluation import Evaluation, evaluate
from .quality import Figures
from .step import INTERACTIONS, Step


@dataclass(frozen=True, slots=True)
class PartWorth:
    """One part of the signals, over `half`."""

    alone: Figures
    """All other parts off."""
    without: Figures
    """This part off, all others on."""
    worth: Comparison
    """The whole less the whole without this part: above 0 where the part helps."""


def ablate(
    columns: InteractionColumns,
    whole: Evaluation,
    parts: Collection[str],
    step_without: Callable[[frozenset[str]], Step],
    *,
    arrivals: Mapping[int, Chunk] = MappingProxyType({}),
    on_run: Callable[[str], Callable[[int], None]] = lambda label: lambda events: None,
) -> dict[str, PartWorth]:
    """Run the log twice for each of `parts`, which are all there are, and return what each is worth, in their order.

    `step_without(off)` gives a fresh step in which the parts `off` say nothing; `whole` is the evaluation of one with
    all parts on. `on_run` hears what each run is and gives what is to hear how many of its events are done.
    """
    worths: dict[str, PartWorth] = {}
    for part in parts:
        others = frozenset(parts) - {part}
        alone, without = (
            evaluate(columns, step_without(off), topic=INTERACTIONS, arrivals=arrivals, on_progress=on_run(label))
            for off, label in ((others, f"{part} alone"), (frozenset({part}), f"without {part}"))
        )
        worth = compare(whole.rank[whole.is_half], without.rank[whole.is_half])
        worths[part] = PartWorth(alone.half, without.half, worth)
    return worths
