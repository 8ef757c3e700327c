"""How items that somebody else found score for a user: as on a list made now, whatever keeps them off.

A search asks it: the words find the items, and what is known of the user orders them. Changes no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from millstream.schemas.questions import MOST_SCORED, ScoresAnswer
from millstream.schemas.records import Version

from .config import BUY
from .given import score_given
from .scratch import CAP
from .shortlist import FULL, MOST_OWN

if TYPE_CHECKING:
    from .step import Step

assert MOST_OWN[FULL] + MOST_SCORED <= CAP  # the user's own keep their places before those given


def scores(step: Step, user_id: str, item_ids: Sequence[str], list_name: str) -> ScoresAnswer:
    """Return the items' scores for the user on a list of this name made now, in their order; one ranking's cost.

    Raises `ValueError` for a list that is not made, and for more than `MOST_SCORED` items.
    """
    config = step.config
    if list_name not in config.lists:
        raise ValueError(f"no list {list_name!r} is made; the lists are {', '.join(config.lists)}")
    if len(item_ids) > MOST_SCORED:
        raise ValueError(f"{len(item_ids)} items are to be scored; {MOST_SCORED} at most")
    known = step.users.row(user_id)
    user = step.users.capacity if known is None else known
    rows = [step.items.row(item_id) for item_id in item_ids]
    given = np.array([row for row in rows if row is not None], np.int32)
    out = np.zeros(len(given), np.float32)
    buying = list_name == BUY
    score_given(step.model, step.bench, user, given, step.last_ms, step.seq, config.exclude_consumed, buying, out)
    found = iter(out.tolist())
    return ScoresAnswer(
        user_known=known is not None,
        scores=[None if row is None else next(found) for row in rows],
        version=Version(step.generation, int(step.list_positions([user_id])[0]), step.revision),
        as_of_ms=step.last_ms,
    )
