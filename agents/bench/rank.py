"""`bench rank`: the µs that one user's list takes as the catalogue grows, and what its shortlist misses.

Each item is chosen once, by somebody who does not come back, so that all of the catalogue could be listed. Then the
same shoppers make the same number of events in shops of several sizes; and those that were there last are ranked, and
scored exhaustively.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from millstream.agents.demo_servers import Say
from millstream.online_learning.compiled import entry
from millstream.online_learning.config import LearningConfig
from millstream.online_learning.evaluation import CHUNK_EVENTS
from millstream.online_learning.eviction import cap_for
from millstream.online_learning.kernel import Lists, make_list
from millstream.online_learning.ranking import Bench, Model, bench
from millstream.online_learning.shortlist import FULL, LEAN
from millstream.online_learning.slate_maker import reserve_lists
from millstream.online_learning.step import INTERACTIONS, Step
from millstream.schemas.columns import Chunk, InteractionColumns, catalogue_chunk
from millstream.schemas.records import Kind

from .exhaustive import SOURCES, exhaustive_top, source_of
from .report import Report, WrongResult
from .shoppers import USERS, shoppers_among

TRAIN_EVERY = 4
"""Of the events learned beforehand, one in so many trains the blend and the vectors; all are counted and remembered."""
NOTHING_TRAINS = 1 << 62
TURNS = 3
"""Times that each user is ranked, everybody in turn; the lowest counts."""
MOST_SCORED = 200_000_000
"""Items scored exhaustively, over all users of one catalogue."""
_SAY_EVERY_EVENTS = 250_000
_CALLS = 1_000


@entry
def make_lists(
    m: Model, b: Bench, users: NDArray[np.int32], ts_ms: int, seq: int, exclude: bool, effort: int, lists: Lists
) -> None:
    """Make the lists of `users` (user rows), as if each had last been seen at `ts_ms`."""
    for row in range(len(users)):
        make_list(m, b, users[row], ts_ms, seq, exclude, effort, lists, row)


@dataclass(frozen=True, slots=True)
class Ranking:
    """One catalogue's figures; µs are those of one list, by user, shape (users,)."""

    items: int
    edges: float
    """Co-visitation edges that a user's history leads to, mean: what a walk reads."""
    bytes: int
    """State in use."""
    full_us: NDArray[np.float64]
    lean_us: NDArray[np.float64]
    exhaustive_us: NDArray[np.float64]
    """By user of the overlap, fewer where scoring all takes long."""
    overlap: float
    """Mean share of the exhaustive top list that is on the user's list."""
    missed: dict[str, float]
    """By source that knows of them, the share of the exhaustive top lists that the users' lists lack."""


def rank(sizes: Sequence[int], learning: LearningConfig, *, users: int, events: int, say: Say) -> Report:
    """Return the figures of all `sizes`, which rise. Raises `WrongResult` if a list scores above the exhaustive one."""
    found = [_ranking(items, learning, users=users, events=events, say=say) for items in sizes]
    full = [_percentiles(each.full_us) for each in found]
    lean = [_percentiles(each.lean_us) for each in found]
    exhaustive = [_percentiles(each.exhaustive_us) for each in found]
    most = max(len(each.exhaustive_us) for each in found)
    return Report(
        name="rank",
        figures={
            "items": [each.items for each in found],
            "rank_p50_us": [p50 for p50, _ in full],
            "rank_p99_us": [p99 for _, p99 in full],
            "lean_p50_us": [p50 for p50, _ in lean],
            "lean_p99_us": [p99 for _, p99 in lean],
            "edges_per_user": [each.edges for each in found],
            "overlap": [each.overlap for each in found],
            **{f"missed_{source}": [each.missed[source] for each in found] for source in SOURCES},
            "state_bytes": [each.bytes for each in found],
        },
        baseline={
            "items": [each.items for each in found],
            "users": [len(each.exhaustive_us) for each in found],
            "rank_p50_us": [p50 for p50, _ in exhaustive],
            "rank_p99_us": [p99 for _, p99 in exhaustive],
        },
        ratios={
            "growth_p50": full[-1][0] / full[0][0],
            "growth_p99": full[-1][1] / full[0][1],
            "exhaustive_over_rank": exhaustive[-1][0] / full[-1][0],
        },
        targets={"growth_p50": "< 2", "overlap": "≥ .95"},
        facts=(
            f"each catalogue: every item chosen once by somebody else, then {events:,} events of {USERS:,} simulated "
            f"shoppers, one in {TRAIN_EVERY} trained on; "
            f"{len(found[0].full_us):,} users, those who were there last",
            f"rank: the µs of one user's list of {learning.list_length}, the least of {TURNS}, the call itself taken "
            "off; lean: as lists are made while the stream is too fast",
            f"growth: from {found[0].items:,} to {found[-1].items:,} items",
            "baseline: every item of the catalogue scored by the same signals and blend, once, a user",
            f"overlap: the share of the exhaustive top {learning.list_length} that is on the list, mean over "
            f"{most:,} users, fewer where all items of a catalogue times users exceed {MOST_SCORED:,}",
            "missed: the share that is not, by what would have brought it: met by the walk and cut, by neighbours or "
            "second order only, on a board of popular items further down, on one that proposes none, or none of these",
        ),
    )


def _ranking(items: int, learning: LearningConfig, *, users: int, events: int, say: Say) -> Ranking:
    step, last_users = _filled(items, learning, users=users, events=events, say=say)
    config = step.config
    b = bench(config)
    say(f"{items:,} items: ranking {len(last_users):,} users")
    full_us, lean_us = (_least_us(step, b, last_users, effort) for effort in (FULL, LEAN))
    some = last_users[: max(1, MOST_SCORED // items)]
    say(f"{items:,} items: scoring all of them for {len(some):,} users")
    overlap, missed, exhaustive_us = _compared(step, b, some)
    return Ranking(
        items=len(step.items),
        edges=float(np.mean([_edges(step, user) for user in last_users.tolist()])),
        bytes=sum(step.bytes_used().values()),
        full_us=full_us,
        lean_us=lean_us,
        exhaustive_us=exhaustive_us,
        overlap=overlap,
        missed=missed,
    )


def _filled(
    items: int, learning: LearningConfig, *, users: int, events: int, say: Say
) -> tuple[Step, NDArray[np.int32]]:
    """Return a step that knows all items and has learned the events; and the users of the last, in chance order."""
    say(f"{items:,} items: opening the shop")
    shop = shoppers_among(items)
    step = Step(dataclasses.replace(learning, max_items=cap_for(items), max_users=cap_for(items + USERS)))
    step.apply(catalogue_chunk(shop.items()))
    _choose_each_once(step, shop.config.start_ms)
    newest: dict[str, None] = {}
    for first in range(0, events, CHUNK_EVENTS):
        last = min(events, first + CHUNK_EVENTS)
        columns = shop.events(last - first)
        chunk = Chunk(INTERACTIONS, 0, items + first, items + last, columns)
        step.apply(chunk, lists=False, train_every=TRAIN_EVERY)
        for user_id in columns.user_ids:
            newest.pop(user_id, None)
            newest[user_id] = None
        if last % _SAY_EVERY_EVENTS == 0 or last == events:
            say(f"{items:,} items: {last:,} of {events:,} events learned")
    rows = step.users.rows(list(newest)[-users:])
    return step, np.random.default_rng(1).permutation(rows)


def _choose_each_once(step: Step, before_ms: int) -> None:
    """Let each item the step knows be chosen once, in chance order, each by another user; nothing trains on that."""
    items = len(step.items)
    order = np.random.default_rng(2).permutation(items)
    for first in range(0, items, CHUNK_EVENTS):
        rows = order[first : first + CHUNK_EVENTS].tolist()
        offsets = np.arange(first, first + len(rows), dtype=np.int64)
        columns = InteractionColumns(
            user_ids=[f"once{row}" for row in rows],
            item_ids=[step.items.ids[row] for row in rows],
            kinds=np.full(len(rows), int(Kind.click), np.int8),
            ts_ms=before_ms - items + offsets,
            values=np.full(len(rows), np.nan),
            as_of_ms=before_ms - items + offsets,
            offsets=offsets,
        )
        chunk = Chunk(INTERACTIONS, 0, first, first + len(rows), columns)
        step.apply(chunk, lists=False, train_every=NOTHING_TRAINS)


def _least_us(step: Step, b: Bench, users: NDArray[np.int32], effort: int) -> NDArray[np.float64]:
    """Make each user's list several times, everybody in turn; return the least µs of each, without the call itself."""
    lists, exclude = reserve_lists(1, step.config.list_length), step.config.exclude_consumed
    make_lists(step.model, b, users[:1], step.last_ms, step.seq, exclude, effort, lists)  # compiles, the first time
    call_us = _call_us(step, b)
    taken_s = np.empty((TURNS, len(users)))
    for turn in range(TURNS):
        for at in range(len(users)):
            user = users[at : at + 1]
            began_s = time.perf_counter()
            make_lists(step.model, b, user, step.last_ms, step.seq, exclude, effort, lists)
            taken_s[turn, at] = time.perf_counter() - began_s
    return np.asarray(np.maximum(0.0, taken_s.min(axis=0) * 1e6 - call_us))


def _call_us(step: Step, b: Bench) -> float:
    """Return the µs of handing the state to a kernel from Python: a call that makes no list, median."""
    nobody, lists = np.zeros(0, np.int32), reserve_lists(0, step.config.list_length)
    taken_s = np.empty(_CALLS)
    for at in range(_CALLS):
        began_s = time.perf_counter()
        make_lists(step.model, b, nobody, step.last_ms, step.seq, step.config.exclude_consumed, FULL, lists)
        taken_s[at] = time.perf_counter() - began_s
    return float(np.median(taken_s)) * 1e6


def _compared(step: Step, b: Bench, users: NDArray[np.int32]) -> tuple[float, dict[str, float], NDArray[np.float64]]:
    """Return the mean overlap, what is missed by source as a share of all, and the µs of each exhaustive scoring."""
    config = step.config
    lists = reserve_lists(1, config.list_length)
    exhaustive_top(step, b, int(users[0]), config.list_length)  # compiles, the first time
    wanted, missed, taken_s = 0, Counter[str](), np.empty(len(users))
    for at, user in enumerate(users.tolist()):
        make_lists(step.model, b, users[at : at + 1], step.last_ms, step.seq, config.exclude_consumed, FULL, lists)
        began_s = time.perf_counter()
        best, scores = exhaustive_top(step, b, user, config.list_length)
        taken_s[at] = time.perf_counter() - began_s
        _not_above(scores, lists.score[0, : int((lists.item[0] >= 0).sum())])
        wanted += len(best)
        missed.update(source_of(step, b, item) for item in best.tolist() if item not in lists.item[0])
    shares = {source: missed[source] / max(1, wanted) for source in SOURCES}
    return 1.0 - sum(shares.values()), shares, taken_s * 1e6


def _not_above(exhaustive: NDArray[np.float32], listed: NDArray[np.float32]) -> None:
    """Raise `WrongResult` if a place on the list scores above the same place of the exhaustive one."""
    above = listed > exhaustive[: len(listed)]
    if above.any():
        at = int(np.argmax(above))
        raise WrongResult(f"place {at + 1} of a list scores {listed[at]}, of the exhaustive one {exhaustive[at]}")


def _edges(step: Step, user: int) -> int:
    h = step.model.histories
    return int(step.model.covisitation.length[h.item[user, : h.held[user]]].sum())


def _percentiles(us: NDArray[np.float64]) -> tuple[float, float]:
    p50, p99 = np.percentile(us, [50, 99])
    return float(p50), float(p99)
