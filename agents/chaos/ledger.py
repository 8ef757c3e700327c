"""The ledger: one line a run, appended as it ends, so that sittings add up."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .run import Outcome

_SUMMED = ("lost", "doubled", "hash_mismatches", "went_backwards", "stale_lists", "void", "claims")


def append(path: Path, outcome: Outcome) -> None:
    """Add a run to the ledger, which is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(dataclasses.asdict(outcome)) + "\n")


def read(path: Path) -> list[Outcome]:
    """Return the runs of a ledger; a line that was cut short is passed over."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(Outcome(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return found


def total(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Return what runs come to together."""
    runs = list(outcomes)
    faults: Counter[str] = Counter()
    proven: Counter[str] = Counter()
    for run in runs:
        faults.update(run.faults)
        proven.update(run.proven)
    return {
        "runs": len(runs),
        "seeds": [run.seed for run in runs],
        "events": sum(run.events for run in runs),
        "faults": dict(sorted(faults.items())),
        "proven": dict(sorted(proven.items())),
        **{name: sum(getattr(run, name) for run in runs) for name in _SUMMED},
        "stuck": sum(bool(run.stuck) for run in runs),
        "longest_s": max((run.took_s for run in runs), default=0.0),
    }
