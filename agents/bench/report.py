"""What a bench comes to: its figures, its baseline's, their ratios; as JSON for machines and a table for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table


class WrongResult(RuntimeError):
    """What was measured did not do all of its work, so its speed means nothing; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Report:
    """One bench's outcome. Keys carry their units; `targets` holds, by a figure's or ratio's key, what it should be."""

    name: str
    figures: Mapping[str, Any]
    baseline: Mapping[str, Any]
    ratios: Mapping[str, float]
    targets: Mapping[str, str]
    facts: tuple[str, ...]
    """What was measured on what, and what was verified, in sentences."""

    def as_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints; a figure that is not finite is null."""
        return {
            "bench": self.name,
            "figures": _plain(self.figures),
            "baseline": _plain(self.baseline),
            "ratios": _plain(self.ratios),
            "facts": list(self.facts),
        }

    def table(self) -> Table:
        """Return the figures with their baselines and targets; lists of single runs become columns of their own row."""
        table = Table(title=f"bench {self.name}", title_justify="left")
        for heading in ("", "measured", "baseline", "target"):
            table.add_column(heading, justify="right" if heading else "left")
        for key in dict.fromkeys((*self.figures, *self.baseline)):
            table.add_row(key, _shown(self.figures.get(key)), _shown(self.baseline.get(key)), self.targets.get(key, ""))
        table.add_section()
        for key, ratio in self.ratios.items():
            table.add_row(key, _shown(ratio), "", self.targets.get(key, ""))
        return table


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return "\n".join(_shown(each) for each in value)
    if isinstance(value, float):
        return "–" if not math.isfinite(value) else f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:,.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
