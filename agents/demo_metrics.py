"""The metrics of quality in words and columns, ours beside popularity's. A figure not known yet is a dash."""

from __future__ import annotations

from millstream.online_learning.drift import LossDrift

from .demo_route import Figures

HEADINGS = {
    "hit@10": "hit@10",
    "ndcg@10": "NDCG@10",
    "mrr@20": "MRR@20",
    "coverage": "coverage",
    "novelty": "novelty (bits)",
}
"""By key of the figures."""


def headings_row() -> str:
    """Return the headings that `figures_row` goes under."""
    return "  ".join(HEADINGS.values())


def figures_row(figures: Figures) -> str:
    """Return the metrics in columns as wide as their headings."""
    return "  ".join(f"{metric(figures, name):>{len(heading)}}" for name, heading in HEADINGS.items())


def beside(quality: Figures, popularity: Figures) -> str:
    """Return ours, and popularity's in brackets, in one line."""
    pairs = [f"{heading} {metric(quality, name)} ({metric(popularity, name)})" for name, heading in HEADINGS.items()]
    pairs[0] = f"hit@10 {metric(quality, 'hit@10')} (popularity {metric(popularity, 'hit@10')})"
    return ", ".join(pairs)


def metric(figures: Figures, name: str) -> str:
    """Return one metric: bits with a decimal, shares with three and no zero before the point."""
    value = figures.get(name)
    if value is None:
        return "–"
    if name == "novelty":
        return f"{value:.1f}"
    return f"{value:.3f}".lstrip("0") if value < 1 else "1.000"


def drift_line(fired: int, last: LossDrift | None) -> str:
    """Return what drift was found, of `fired` in all the last."""
    if last is None:
        return "none found"
    return f"{last} ({fired:,} in all)" if fired > 1 else str(last)
