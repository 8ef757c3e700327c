"""Why an item is where it is for a user, or not there at all: also for items that no list holds.

The item is scored as a candidate, whatever keeps it off, by the same signals and the same blend as a list made now, so
an item of the list has the score and the reasons that it has there. Changes no state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from millstream.schemas.questions import KeptOff, WhyAnswer
from millstream.schemas.records import Version

from .bought import has_bought
from .config import BUY
from .consumed import has_consumed
from .dismissals import hides
from .given import list_given
from .impressions import was_shown
from .popularity import EVENTS
from .ranking import Model
from .slate_maker import Ranked, reserve_lists

if TYPE_CHECKING:
    from .step import Step


def why(step: Step, user_id: str, item_id: str, list_name: str) -> WhyAnswer:
    """Return where the item stands for the user on a list of this name made now, and why.

    Raises `ValueError` for a list that is not made.
    """
    config = step.config
    if list_name not in config.lists:
        raise ValueError(f"no list {list_name!r} is made; the lists are {', '.join(config.lists)}")
    known = step.users.row(user_id)
    user = step.users.capacity if known is None else known
    item = step.items.row(item_id)
    now = step.list_positions([user_id])
    version = Version(step.generation, int(now[0]), step.revision)
    if item is None:
        return WhyAnswer(
            user_known=known is not None,
            kept_off=["unknown_item"],
            candidates=0,
            place=None,
            item=None,
            version=version,
            as_of_ms=step.last_ms,
        )
    lists, found = reserve_lists(1, 1), np.zeros(3)
    exclude, buying = config.exclude_consumed, list_name == BUY
    given = np.array([item], np.int32)
    list_given(step.model, step.bench, user, given, False, step.last_ms, step.seq, exclude, buying, lists, 0, found)
    candidates, place, was_candidate = found.tolist()
    ranked = Ranked(
        user_ids=[user_id],
        generations=np.array([step.generation]),
        positions=now,
        as_of_ms=np.array([step.last_ms]),
        lists={list_name: lists},
        item_ids=step.item_ids,
    )
    return WhyAnswer(
        user_known=known is not None,
        kept_off=_kept_off(step.model, user, item, step.last_ms, exclude, was_candidate=bool(was_candidate)),
        candidates=int(candidates),
        place=place,
        item=ranked.slates(0)[0].items[0],
        version=version,
        as_of_ms=step.last_ms,
    )


def _kept_off(m: Model, user: int, item: int, now_ms: int, exclude: bool, *, was_candidate: bool) -> list[KeptOff]:
    if was_candidate:
        return []
    said: list[KeptOff] = []
    if m.popularity.facts[item, EVENTS] <= 0 and m.content.scale[item] <= 0:
        said.append("never_chosen")
    if m.availability.off[item]:
        said.append("unavailable")
    if hides(m.dismissals, user, item):
        said.append("hidden")
    if (exclude and has_consumed(m.consumed, user, item)) or has_bought(m.bought, user, item, now_ms):
        said.append("chosen_before")
    if was_shown(m.impressions, user, item, now_ms):
        said.append("shown")
    return said or ["not_shortlisted"]
