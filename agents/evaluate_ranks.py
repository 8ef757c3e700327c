"""Files of ranks: what `evaluate --save` writes and `evaluate --compare` reads.

A JSON line `{"user", "item", "rank"}` for each target, in the log's order; the rank is null where the item was never
seen.
"""

from __future__ import annotations

import math
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from millstream.online_learning.evaluation import Evaluation, targets
from millstream.schemas.columns import InteractionColumns
from millstream.schemas.log_files import UnreadableLog, open_log

from .errors import Problem

_REMEDY = (
    "ranks can only be compared over the same events: give --compare a file that --save wrote for this log with the "
    "same --min-rating, --first-only and --limit"
)


class SavedRank(NamedTuple):
    """One line; the rank is NaN where the item was never seen."""

    user: str
    item: str
    rank: float


def save_ranks(path: Path, columns: InteractionColumns, result: Evaluation) -> None:
    """Write the rank of every target. Raises `Problem` where that cannot be done."""
    rows = zip(columns.user_ids, columns.item_ids, result.rank.tolist(), targets(columns).tolist(), strict=True)
    try:
        with path.open("wb") as file:
            for user, item, rank, target in rows:
                if target:
                    # orjson writes NaN as null
                    file.write(orjson.dumps({"user": user, "item": item, "rank": rank}) + b"\n")
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}; give --save a file that can be written") from error


def read_ranks(path: Path) -> list[SavedRank]:
    """Return a file's lines. Raises `Problem` naming the first that is none, with its number and what it says."""
    try:
        with open_log(path) as file:
            return [_saved(path, number, line) for number, line in enumerate(file, start=1)]
    except UnreadableLog as error:
        raise Problem(str(error)) from error


def ranks_by_event(path: Path, saved: list[SavedRank], columns: InteractionColumns) -> NDArray[np.float64]:
    """Return the saved rank of each event of the log, shape (n,), NaN for events that are no target.

    Raises `Problem` naming the first line at which the file is of another log.
    """
    ranks = np.full(len(columns), np.nan)
    at = np.flatnonzero(targets(columns)).tolist()
    for number, (line, event) in enumerate(zip_longest(saved, at), start=1):
        if line is None:
            raise Problem(f"{path}: ends after line {len(saved):,}, but the log has {len(at):,} targets; {_REMEDY}")
        if event is None:
            raise Problem(f"{path}:{number}: one line too many, the log has {len(at):,} targets; {_REMEDY}")
        user, item = columns.user_ids[event], columns.item_ids[event]
        if (line.user, line.item) != (user, item):
            raise Problem(
                f"{path}:{number}: user {line.user!r} with item {line.item!r}, but the log's target {number:,} is user "
                f"{user!r} with item {item!r}; {_REMEDY}"
            )
        ranks[event] = line.rank
    return ranks


def _saved(path: Path, number: int, line: bytes) -> SavedRank:
    try:
        record: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        record = None
    if isinstance(record, dict) and record.keys() == {"user", "item", "rank"}:
        user, item, rank = record["user"], record["item"], record["rank"]
        rank = math.nan if rank is None else rank
        if isinstance(user, str) and isinstance(item, str) and type(rank) in (int, float) and not rank < 1:
            return SavedRank(user, item, float(rank))
    shown = line.decode(errors="replace").rstrip()
    raise Problem(
        f"{path}:{number}: {shown[:80]!r} is no line that --save writes, such as "
        '{"user":"42","item":"i7","rank":3.0}; give --compare such a file'
    )
