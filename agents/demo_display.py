"""What the demo shows: pure functions from a view of the moment to rich renderables, plain lines and a summary."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from millstream.online_learning.drift import LossDrift
from millstream.schemas.records import Reason, ScoredItem

from .demo_metrics import beside, drift_line, figures_row, headings_row
from .demo_route import Figures
from .freshness import Percentiles

NO_KAFKA = "none"
"""What stands for the broker where Kafka was left out."""
_BAR_CELLS = 40
_TITLE_CELLS = 46
_PHRASES = {"popular": "popular", "trending": "popular right now", "yours": "one of yours"}


@dataclass(frozen=True, slots=True)
class Place:
    """One place on the watched list, in words."""

    title: str
    why: str
    new: bool
    """Whether it was not on the list before this change."""


@dataclass(frozen=True, slots=True)
class Watched:
    """The one user whose list is shown: what they did last (newest first) and what stands on the list now."""

    user_id: str
    did: tuple[str, ...]
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class View:
    """The run at one moment. Counts are since its start; rates are of the last seconds; NaN is not known yet."""

    log: str
    through: str
    total: int
    sent: int
    learned: int
    elapsed_s: float
    events_per_s: float
    lists: int
    dead_letters: int
    freshness: Percentiles
    quality: Figures
    popularity: Figures
    drifts: int = 0
    last_drift: LossDrift | None = None
    watched: Watched | None = None

    @property
    def lag(self) -> int:
        """Events sent and not learned yet; a dead letter is dealt with, not lagging."""
        return max(0, self.sent - self.learned - self.dead_letters)


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run came to. `as_json` has the keys that scripts rely on."""

    kafka: str
    events: int
    events_per_s: float
    users: int
    slates: int
    dead_letters: int
    freshness: Percentiles
    effort: str
    state_hash: str
    quality: Figures
    popularity: Figures
    drifts: int = 0
    last_drift: LossDrift | None = None

    def as_json(self) -> dict[str, object]:
        """Return one JSON object; what was not measured is null."""
        return {
            "kafka": self.kafka,
            "events": self.events,
            "events_per_s": round(self.events_per_s, 1),
            "users": self.users,
            "slates": self.slates,
            "dead_letters": self.dead_letters,
            "freshness_ms": {"p50": _rounded(self.freshness.p50), "p99": _rounded(self.freshness.p99)},
            "effort": self.effort,
            "state_hash": self.state_hash,
            "quality": dict(self.quality),
            "popularity": dict(self.popularity),
            "drifts": self.drifts,
            "last_drift": None if self.last_drift is None else asdict(self.last_drift),
        }


def why(reasons: Sequence[Reason], titles: Mapping[str, str], usual: Mapping[str, float] | None = None) -> str:
    """Return in words what speaks most for a place, with the title it goes with if the reason names one.

    `usual` is what each signal contributes on average over the list: contributions are logarithms, so a signal that
    is large and the same for every item explains none of them. Ties go to the signal named first.
    """
    if not reasons:
        return ""
    most = max(reasons, key=lambda reason: reason.contribution - (usual or {}).get(reason.signal, 0.0))
    if most.signal == "together":
        return f"goes with {titles.get(most.evidence, most.evidence)}" if most.evidence else "goes with what you chose"
    if most.signal == "taste" and most.evidence:
        return f"in the vein of {titles.get(most.evidence, most.evidence)}"
    return _PHRASES.get(most.signal, most.signal)


def places(
    items: Sequence[ScoredItem], before: frozenset[str], titles: Mapping[str, str], *, most: int = 8
) -> tuple[Place, ...]:
    """Return the first `most` places of a list in words; `before` are the item ids of the list it replaces."""
    totals: dict[str, float] = {}
    for item in items:
        for reason in item.reasons:
            totals[reason.signal] = totals.get(reason.signal, 0.0) + reason.contribution
    usual = {signal: total / len(items) for signal, total in totals.items()}
    return tuple(
        Place(titles.get(item.item_id, item.item_id), why(item.reasons, titles, usual), item.item_id not in before)
        for item in items[:most]
    )


def eta_s(view: View) -> float:
    """Return how many seconds are left at the pace so far; NaN before the first event."""
    if not view.learned:
        return math.nan
    return max(0, view.total - view.learned - view.dead_letters) * view.elapsed_s / view.learned


def screen(view: View) -> RenderableType:
    """Return the whole live picture; at most some twenty lines of eighty cells."""
    done = view.learned + view.dead_letters
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(total=max(view.total, 1), completed=done, width=_BAR_CELLS),
        f"{done / max(view.total, 1):4.0%}",
        f"{done:,} of {view.total:,}",
        f"{_clock(eta_s(view))} left",
    )
    figures = [
        (
            "events/s",
            f"{_number(view.events_per_s):<8}lag {view.lag:,}   lists {view.lists:,}   rejected {view.dead_letters:,}",
        ),
        ("freshness", f"{_freshness(view.freshness)}  from a send to the list in another process"),
        ("", headings_row()),
        ("quality", figures_row(view.quality)),
        ("popularity", figures_row(view.popularity)),
        ("drift", drift_line(view.drifts, view.last_drift)),
    ]
    through = "no Kafka: straight into the step" if view.through == NO_KAFKA else f"through {view.through}"
    head = Text.assemble((view.log, "bold"), "  ", through)
    parts: list[RenderableType] = [head, bar, *(Text.assemble(f"{name:<11}", (is_, "bold")) for name, is_ in figures)]
    if view.watched is not None:
        parts += [Text(), _watched(view.watched)]
    return Group(*parts)


def plain_line(view: View) -> str:
    """Return the moment as one line, for where there is no terminal."""
    return (
        f"{view.learned + view.dead_letters:,}/{view.total:,} events  {_number(view.events_per_s)}/s  "
        f"lag {view.lag:,}  "
        f"freshness {_freshness(view.freshness)}  {beside(view.quality, view.popularity)}  "
        f"lists {view.lists:,}  rejected {view.dead_letters:,}  drifts {view.drifts:,}"
    )


def summary_lines(summary: Summary, log: str, next_commands: Sequence[str]) -> list[str]:
    """Return the end of a run in plain words, and the commands to try next."""
    quality, popularity = summary.quality, summary.popularity
    way = "straight into the step, without Kafka," if summary.kafka == NO_KAFKA else f"through {summary.kafka}"
    lines = [
        f"{log}: {summary.events:,} events of {summary.users:,} users went {way} at "
        f"{_number(summary.events_per_s)} events/s.",
        f"{summary.slates:,} lists were refreshed in Redis; another process had the list that contains an event "
        f"{_number(summary.freshness.p50)} ms after it was sent (p50), {_number(summary.freshness.p99)} ms (p99).",
        f"Over the last {_int(quality.get('n'))} judged events and {_int(quality.get('lists'))} lists: "
        f"{beside(quality, popularity)}. Drift: {drift_line(summary.drifts, summary.last_drift)}. "
        f"Rejected: {summary.dead_letters:,}. State {summary.state_hash or 'not reported'}.",
    ]
    if next_commands:
        lines += ["", "Try next:", *(f"  {command}" for command in next_commands)]
    return lines


def _watched(watched: Watched) -> RenderableType:
    table = Table(box=None, pad_edge=False, show_header=False)
    for number, place in enumerate(watched.places, start=1):
        title = Text(_cut(place.title), style="bold green" if place.new else "")
        table.add_row(f"{number:>2}", title, Text(_cut(place.why), style="dim"))
    last = ", ".join(_cut(title, 24) for title in watched.did)
    return Group(
        Text.assemble("user ", (watched.user_id, "bold"), "  chose last: ", (last or "nothing yet", "italic")), table
    )


def _freshness(measured: Percentiles) -> str:
    if not measured.n:
        return "–"
    return f"p50 {_number(measured.p50)} ms, p99 {_number(measured.p99)} ms"


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _clock(seconds: float) -> str:
    return "–:––" if math.isnan(seconds) else f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _cut(text: str, cells: int = _TITLE_CELLS) -> str:
    return text if len(text) <= cells else text[: cells - 1] + "…"


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 2)


def _int(value: float | None) -> str:
    return f"{int(value or 0):,}"
