"""`bench learn`: the step alone, without Kafka and Redis: events a second with lists and without, and its memory."""

from __future__ import annotations

import sys
import time

from millstream.agents.demo_servers import Say
from millstream.online_learning.config import LearningConfig
from millstream.online_learning.step import INTERACTIONS, Step
from millstream.online_learning.vocabulary import Vocabulary
from millstream.schemas.columns import Chunk, InteractionColumns

from .report import Report

RATIO = "lists_over_no_lists"
_CHUNK_EVENTS = 1_000
_OF_USERS = ("histories", "consumed")
"""How the names of the tables begin that have rows by user; the others have them by item, or a few in all."""


def learn(name: str, columns: InteractionColumns, learning: LearningConfig, *, events: int, say: Say) -> Report:
    """Return how fast the last `events` events are learned by a state that knows those before them.

    Measured from that one state with a list after each event (one event a chunk), without lists (the baseline, chunks
    of the same size), and in chunks of 1,000 events with one list for each user they touched.
    """
    last = len(columns)
    first = max(0, last - events)
    warm = Step(learning)
    say(f"learning {first:,} events of {name} beforehand")
    _apply(warm, columns, 0, first, _CHUNK_EVENTS, lists=False)
    dump = warm.dump()
    del warm
    per_s: dict[str, float] = {}
    lists: dict[str, int] = {}
    for way, size, with_lists in (("each", 1, True), ("none", 1, False), ("chunks", _CHUNK_EVENTS, True)):
        step = Step.load(learning, dump)
        began_s = time.perf_counter()
        lists[way] = _apply(step, columns, first, last, size, lists=with_lists)
        per_s[way] = (last - first) / (time.perf_counter() - began_s)
        say(f"chunks of {size:,}: {per_s[way]:,.0f} events/s, {lists[way]:,} lists")
    memory = _Memory(step)
    return Report(
        name="learn",
        figures={
            "events": last - first,
            "events_per_s": per_s["each"],
            "lists": lists["each"],
            "events_per_s_in_chunks": per_s["chunks"],
            "lists_in_chunks": lists["chunks"],
            "users": len(step.users),
            "items": len(step.items),
            "bytes_per_user": memory.per_user,
            "bytes_per_item": memory.per_item,
            "most_bytes_per_user": memory.most_per_user,
            "most_bytes_per_item": memory.most_per_item,
        },
        baseline={"events": last - first, "events_per_s": per_s["none"]},
        ratios={RATIO: per_s["each"] / per_s["none"]},
        targets={
            "bytes_per_user": "≤ 2,048",
            "bytes_per_item": "≤ 10,240",
            "most_bytes_per_user": "≤ 2,048",
            "most_bytes_per_item": "≤ 10,240",
        },
        facts=(
            f"{name}: the last {last - first:,} of {last:,} events, on a state that knows the others; a list after "
            "each event, baseline: no lists",
            f"bytes: state and names in use, for each known; at most: all that the caps reserve (max_users "
            f"{learning.max_users:,}, max_items {learning.max_items:,}), for each of them, names not counted",
        ),
    )


class _Memory:
    """The bytes of a step's state for one user and for one item; what belongs to neither counts as the items'."""

    def __init__(self, step: Step) -> None:
        used = step.bytes_used()
        reserved = {
            name: sum(array.nbytes for array in table.arrays.values()) for name, table in step.arena.tables.items()
        }
        users, items = len(step.users), len(step.items)
        self.per_user = (_of_users(used) + _bytes_of_names(step.users)) / max(1, users)
        self.per_item = (sum(used.values()) - _of_users(used) + _bytes_of_names(step.items)) / max(1, items)
        self.most_per_user = _of_users(reserved) / step.config.max_users
        self.most_per_item = (sum(reserved.values()) - _of_users(reserved)) / step.config.max_items


def _of_users(by_table: dict[str, int]) -> int:
    return sum(size for name, size in by_table.items() if name.startswith(_OF_USERS))


def _bytes_of_names(vocabulary: Vocabulary) -> int:
    """Return the bytes of the ids, of the list of them and of the dictionary from id to row."""
    ids = vocabulary.ids
    return sum(map(sys.getsizeof, ids)) + sys.getsizeof(ids) + sys.getsizeof(dict.fromkeys(ids))


def _apply(step: Step, columns: InteractionColumns, first: int, last: int, size: int, *, lists: bool) -> int:
    """Learn rows `first` to `last` in chunks of `size`; return how many lists were made, as objects."""
    made = 0
    for start in range(first, last, size):
        end = min(start + size, last)
        applied = step.apply(Chunk(INTERACTIONS, 0, start, end, columns.cut(start, end)), lists=lists)
        made += len(applied.slates(0))
    return made
