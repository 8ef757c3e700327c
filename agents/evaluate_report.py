"""What `evaluate` says: its figures, a comparison, and what each part is worth, as tables and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.table import Table

from millstream.online_learning.ablation import PartWorth
from millstream.online_learning.bootstrap import Comparison, Interval
from millstream.online_learning.evaluation import PROTOCOL, Evaluation
from millstream.online_learning.quality import Figures

SHOWN_METRICS = {"hit@10": "hit@10", "ndcg@10": "NDCG@10", "mrr@20": "MRR@20"}
"""The metrics' keys, and how people write them."""


def result_json(result: Evaluation, events: int, events_per_s: float) -> dict[str, object]:
    """Return the keys that scripts rely on."""
    return {
        "protocol": PROTOCOL,
        "events": events,
        "events_per_s": round(events_per_s, 1),
        "state_hash": result.state_hash,
        **({} if result.hash_apart is None else {"hash_apart": result.hash_apart}),
        "half": result.half.as_json(),
        "scored": result.scored.as_json(),
        "new": result.new.as_json(),
        "all": result.all.as_json(),
        "cold0": result.cold0.as_json(),
        "cold": result.cold.as_json(),
        "popularity": {"half": result.popularity_half.as_json()},
    }


def comparison_json(compared: Comparison, events: str) -> dict[str, object]:
    """Return what a comparison over the set named `events` says."""
    return {
        events: compared.as_json(),
        "events": compared.events,
        "blocks": compared.blocks,
        "block_events": compared.block_events,
    }


def parts_json(worths: Mapping[str, PartWorth]) -> dict[str, object]:
    """Return each part's figures, by its name."""
    return {
        name: {"alone": each.alone.as_json(), "without": each.without.as_json(), "worth": each.worth.as_json()}
        for name, each in worths.items()
    }


def result_table(result: Evaluation, events: int, events_per_s: float) -> Table:
    """Return a row for each set of events."""
    table = figures_table(f"{events:,} events, {events_per_s:,.0f} events/s, protocol {PROTOCOL}", "set")
    for name, figures in (
        ("half: both known, last half", result.half),
        ("popularity on half", result.popularity_half),
        ("scored: both known", result.scored),
        ("new: half, new to the user", result.new),
        ("all", result.all),
        ("cold: chosen 5 times at most", result.cold),
        ("cold0: never chosen", result.cold0),
    ):
        table.add_row(name, f"{figures.n:,}", *means(figures))
    return table


def figures_table(title: str, what: str) -> Table:
    """Return an empty table for rows of a name, how many events, and the three means."""
    table = Table(title=title)
    table.add_column(what)
    for heading in ("events", *SHOWN_METRICS.values()):
        table.add_column(heading, justify="right")
    return table


def means(figures: Figures) -> tuple[str, str, str]:
    """Return the three means as people read them."""
    hit, ndcg, mrr = (_mean(figures, value) for value in (figures.hit_at_10, figures.ndcg_at_10, figures.mrr_at_20))
    return hit, ndcg, mrr


def comparison_table(title: str, events: str, compared: Comparison) -> Table:
    """Return a row for each metric: the difference over the set named `events`, and its interval."""
    blocks = f"{compared.blocks:,} blocks of {compared.block_events:,}"
    table = Table(title=title, caption=f"{events}: {compared.events:,} events in {blocks}")
    for heading in ("metric", "difference", "95 % interval"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for key, shown in SHOWN_METRICS.items():
        table.add_row(shown, *_interval(compared.by_metric[key]))
    return table


def parts_table(whole: Figures, worths: Mapping[str, PartWorth]) -> Table:
    """Return a row for each part: alone, the whole without it, and what it adds to the whole, with the interval."""
    table = Table(title="parts of the signals, hit@10 / MRR@20", caption=f"half: {whole.n:,} events")
    for heading in ("part", "alone", "without it", "adds to MRR@20, 95 %"):
        table.add_column(heading, justify="left" if heading == "part" else "right", no_wrap=True)
    for name, each in worths.items():
        added = " ".join(_interval(each.worth.by_metric["mrr@20"]))
        table.add_row(name, _pair(each.alone), _pair(each.without), added)
    table.add_section()
    table.add_row("all", _pair(whole), "", "")
    return table


def _pair(figures: Figures) -> str:
    return f"{_mean(figures, figures.hit_at_10)} / {_mean(figures, figures.mrr_at_20)}"


def _mean(figures: Figures, value: float) -> str:
    return f"{value:.4f}" if figures.n else "–"


def _interval(interval: Interval) -> tuple[str, str]:
    if math.isnan(interval.difference):
        return "–", "–"
    return f"{interval.difference:+.4f}", f"[{interval.low:+.4f}, {interval.high:+.4f}]"
