"""What the demo shows, without running it: a view in, text out."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

from rich.console import Console

from millstream.agents.demo_display import (
    Place,
    Summary,
    View,
    Watched,
    eta_s,
    places,
    plain_line,
    screen,
    summary_lines,
    why,
)
from millstream.agents.demo_metrics import figures_row, headings_row
from millstream.agents.demo_route import Figures
from millstream.agents.freshness import Percentiles
from millstream.online_learning.drift import LossDrift
from millstream.schemas.records import Reason, ScoredItem

QUALITY: Figures = {
    "n": 300, "hit@10": 0.2026, "ndcg@10": 0.114, "mrr@20": 0.091, "lists": 480, "coverage": 0.42, "novelty": 9.136,
}  # fmt: skip
POPULARITY: Figures = {
    "n": 300, "hit@10": 0.08, "ndcg@10": 0.04, "mrr@20": 0.03, "lists": 480, "coverage": 0.0062, "novelty": 7.0,
}  # fmt: skip
NOTHING = Percentiles(0, math.nan, math.nan, math.nan)
START = View(
    log="MovieLens 100K",
    through="Kafka at 127.0.0.1:9092",
    total=1_000,
    sent=0,
    learned=0,
    elapsed_s=0.0,
    events_per_s=math.nan,
    lists=0,
    dead_letters=0,
    freshness=NOTHING,
    quality={},
    popularity={},
)
MIDDLE = replace(
    START,
    sent=520,
    learned=490,
    elapsed_s=5.0,
    events_per_s=998.4,
    lists=480,
    dead_letters=10,
    freshness=Percentiles(480, 9.34, 87.2, 91.0),
    quality=QUALITY,
    popularity=POPULARITY,
)
DRIFT = LossDrift(seq=123_456, before=3.41, after=4.02, window=2_048)
TITLES = {"1": "Toy Story (1995)", "2": "Heat (1995)"}


def shown(view: View) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(screen(view))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_before_the_first_event_everything_unknown_is_a_dash() -> None:
    """Nothing divides by zero and no NaN reaches the screen."""
    for text in (shown(START), plain_line(START)):
        assert "nan" not in text.lower()
        assert "–" in text
    assert math.isnan(eta_s(START))


def test_an_empty_log_can_be_shown() -> None:
    """A total of 0 is a run like any other."""
    assert "0 of 0" in shown(replace(START, total=0))


def test_the_screen_has_progress_and_rates() -> None:
    """Each figure of the moment can be read off."""
    text = shown(MIDDLE)
    for part in ("50%", "500 of 1,000", "998", "p50 9.3 ms, p99 87 ms", "0:05 left", "none found"):
        assert part in text, part


def test_the_screen_has_every_metric_under_its_heading_beside_popularitys() -> None:
    """Columns end together, known or not."""
    lines = shown(MIDDLE).splitlines()
    ours, theirs = (next(line for line in lines if line.startswith(name)) for name in ("quality", "popularity"))
    assert ours.split()[1:] == [".203", ".114", ".091", ".420", "9.1"]
    assert theirs.split()[1:] == [".080", ".040", ".030", ".006", "7.0"]
    assert len(headings_row()) == len(figures_row(QUALITY)) == len(figures_row({}))
    assert lines[lines.index(ours) - 1].split() == ["hit@10", "NDCG@10", "MRR@20", "coverage", "novelty", "(bits)"]
    assert figures_row({"hit@10": 1.0, "coverage": 0.0}).split() == ["1.000", "–", "–", ".000", "–"]


def test_the_last_drift_is_shown_and_how_many_there_were() -> None:
    """One speaks for itself; of several the last, with their number."""
    line = "the loss moved from 3.41 to 4.02 at event 123,456"
    once = shown(replace(MIDDLE, drifts=1, last_drift=DRIFT))
    assert line in once
    assert "in all" not in once
    assert f"{line} (3 in all)" in shown(replace(MIDDLE, drifts=3, last_drift=DRIFT))
    assert "drifts 3" in plain_line(replace(MIDDLE, drifts=3, last_drift=DRIFT))


def test_the_screen_fits_a_terminal() -> None:
    """Twenty lines of eighty cells, with eight places of a list."""
    place = Place("Toy Story (1995)", "goes with Heat (1995)", new=True)
    watched = Watched("42", ("Heat (1995)",), (place,) * 8)
    lines = shown(replace(MIDDLE, drifts=3, last_drift=DRIFT, watched=watched)).rstrip().splitlines()
    assert len(lines) <= 20
    assert max(len(line.rstrip()) for line in lines) <= 80


def test_a_rejected_event_is_not_lag() -> None:
    """Lag is what was sent and is neither learned nor a dead letter; never negative while a status is stale."""
    assert MIDDLE.lag == 20
    assert replace(MIDDLE, sent=100).lag == 0


def test_the_plain_line_is_one_line_with_the_same_figures() -> None:
    """Without a terminal nothing is lost but the list."""
    line = plain_line(MIDDLE)
    assert "\n" not in line
    for part in (
        "500/1,000",
        "lag 20",
        "p99 87 ms",
        "hit@10 .203 (popularity .080)",
        "coverage .420 (.006)",
        "rejected 10",
    ):
        assert part in line, part


def test_a_reason_names_the_title_it_came_from() -> None:
    """The largest contribution speaks, in words; unknown titles and signals go by their own names."""
    reasons = (Reason("popular", 0.2), Reason("together", 0.9, "1"))
    assert why(reasons, TITLES) == "goes with Toy Story (1995)"
    assert why((Reason("together", 0.9, "77"),), TITLES) == "goes with 77"
    assert why((Reason("popular", -1.0), Reason("something", -0.5)), TITLES) == "something"
    assert why((), TITLES) == ""


def test_a_signal_that_every_place_has_explains_none() -> None:
    """What speaks for a place is what it has more of than the list's average."""
    popular = Reason("popular", 5.0)
    items = (
        ScoredItem("1", 6.0, (popular, Reason("yours", 1.0), Reason("together", 0.0, "2"))),
        ScoredItem("2", 5.5, (popular, Reason("yours", 0.0), Reason("together", 0.5, "1"))),
        ScoredItem("3", 5.0, (popular, Reason("yours", 0.0), Reason("together", 0.0, "1"))),
    )
    shown_ = places(items, frozenset(), TITLES, most=2)
    assert [place.why for place in shown_] == ["one of yours", "goes with Toy Story (1995)"]


def test_what_came_onto_the_list_is_marked() -> None:
    """Only items that were not on the list before are new."""
    items = (ScoredItem("1", 2.0), ScoredItem("9", 1.0))
    assert places(items, frozenset({"1"}), TITLES) == (
        Place("Toy Story (1995)", "", new=False),
        Place("9", "", new=True),
    )


def test_the_watched_list_is_shown_with_titles_and_reasons() -> None:
    """One user's last choices and list; markup in a title is text, not style."""
    watched = Watched("42", ("Heat (1995)",), (Place("Toy [bold]Story", "goes with Heat (1995)", new=True),))
    text = shown(replace(MIDDLE, watched=watched))
    for part in ("user 42", "chose last: Heat (1995)", "Toy [bold]Story", "goes with Heat (1995)"):
        assert part in text, part


SUMMARY = Summary(
    kafka="Kafka at 127.0.0.1:9092",
    events=1_000,
    events_per_s=987.654,
    users=94,
    slates=900,
    dead_letters=0,
    freshness=Percentiles(1_000, 9.3456, 80.0, 90.0),
    effort="full",
    state_hash="ab" * 16,
    quality=QUALITY,
    popularity=POPULARITY,
    drifts=1,
    last_drift=DRIFT,
)


def test_the_json_has_the_keys_that_scripts_rely_on() -> None:
    """Exactly these, and never a NaN, which is not JSON."""
    found = json.loads(json.dumps(SUMMARY.as_json(), allow_nan=False))
    assert set(found) == {
        "kafka", "events", "events_per_s", "users", "slates", "dead_letters", "freshness_ms", "effort", "state_hash",
        "quality", "popularity", "drifts", "last_drift",
    }  # fmt: skip
    assert found["quality"] == QUALITY
    assert found["last_drift"] == {"seq": 123_456, "before": 3.41, "after": 4.02, "window": 2_048}
    assert replace(SUMMARY, drifts=0, last_drift=None).as_json()["last_drift"] is None
    assert found["freshness_ms"] == {"p50": 9.35, "p99": 80.0}
    unmeasured = replace(SUMMARY, freshness=NOTHING).as_json()
    assert unmeasured["freshness_ms"] == {"p50": None, "p99": None}


def test_the_summary_says_what_happened_and_what_to_try() -> None:
    """Figures in words, then the commands, each on a line of its own."""
    lines = summary_lines(SUMMARY, "MovieLens 100K", ["millstream watch", "millstream doctor"])
    text = "\n".join(lines)
    for part in ("1,000 events of 94 users", "9.3 ms", "80 ms", "300 judged events", "480 lists", "ab" * 16):
        assert part in text, part
    for part in ("hit@10 .203 (popularity .080)", "novelty (bits) 9.1 (7.0)", str(DRIFT)):
        assert part in text, part
    assert lines[-2:] == ["  millstream watch", "  millstream doctor"]


def test_a_summary_without_judged_events_has_no_nan() -> None:
    """A log too short to judge is said with dashes."""
    unjudged: Figures = dict.fromkeys(QUALITY)
    lines = summary_lines(replace(SUMMARY, quality=unjudged, popularity=unjudged), "a log", [])
    assert "nan" not in "\n".join(lines).lower()
