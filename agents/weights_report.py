"""What `weights` says: what each signal counts for, shared and by context, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from millstream.online_learning.blend import SHARED
from millstream.online_learning.blend_readout import CONTEXTS, BlendWeights, SignalWeight

HEADINGS = ("0", "1", "2–4", "5–15", "16+", "none", "0 s", "<1m", "<30m", "<1d", "1d+")
"""The contexts behind the shared one, as the table writes them."""
_WEIGHT = (
    "weight: what one unit of the signal adds to an item's score, whatever the context; most signals are logarithms, "
    "so it is an exponent. counts: weight × deviation, the signal's standard deviation over the latest shortlists; an "
    "item whose score is .7 higher is twice as likely to be chosen. from, to: counts with what the contexts add, at "
    "the least and at the most. A small net over the same signals, and a bias of each item, add to the score too."
)
"""What people have to know to read the numbers."""
_CONTEXT = (
    "What is added to counts. 0 to 16+: by how many events the user has; none to 1d+: by the time since the last of "
    "them. One of each holds."
)


def weights_json(snapshot: str, weights: BlendWeights, signals: Sequence[SignalWeight]) -> dict[str, object]:
    """Return the keys that scripts rely on; what needs a deviation is null where the blend has not learned."""
    return {
        "snapshot": snapshot,
        "seq": weights.seq,
        "trained": weights.trained,
        "contexts": CONTEXTS,
        "signals": [_signal_json(each) for each in signals],
    }


def _signal_json(signal: SignalWeight) -> dict[str, object]:
    counts = signal.counts
    return {
        "signal": signal.name,
        "part": signal.part,
        "group": signal.group,
        "deviation": _rounded(signal.deviation),
        "weight": dict(zip(CONTEXTS, map(_rounded, signal.weight.tolist()), strict=True)),
        "counts": None if counts is None else dict(zip(CONTEXTS, map(_rounded, counts.tolist()), strict=True)),
        "span": signal.span and [_rounded(end) for end in signal.span],
    }


def weights_table(title: str, signals: Sequence[SignalWeight]) -> Table:
    """Return a row for each signal: its shared weight, and what it counts for."""
    table = _table(title, ("part",), ("weight", "deviation", "counts", "from", "to"), _WEIGHT)
    for each in signals:
        deviation = "–" if each.deviation is None else f"{each.deviation:.2f}"
        counts = None if each.counts is None else float(each.counts[SHARED])
        span = each.span or (None, None)
        weight = float(each.weight[SHARED])
        table.add_row(each.name, each.part, signed(weight), deviation, *map(signed, (counts, *span)))
    return table


def contexts_table(signals: Sequence[SignalWeight]) -> Table:
    """Return a row for each signal: what each context adds to what it counts for."""
    table = _table("and what a context adds", (), HEADINGS, _CONTEXT)
    for each in signals:
        counts = [None] * len(HEADINGS) if each.counts is None else each.counts[SHARED + 1 :].tolist()
        table.add_row(each.name, *map(signed, counts))
    return table


def signed(value: float | None) -> str:
    """Return a number as the tables write it, in four characters below 10: `+.31`; – for none, and for exactly 0."""
    if not value:
        return "–"
    if abs(value) < 0.005:
        return "0"
    return f"{value:+.2f}".replace("0.", ".") if abs(value) < 0.995 else f"{value:+.1f}"


def _table(title: str, words: Sequence[str], numbers: Sequence[str], caption: str) -> Table:
    table = Table(title=title, caption=caption, caption_justify="left", box=None, pad_edge=False, collapse_padding=True)
    for heading in ("signal", *words):
        table.add_column(heading, no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
