"""What the serving side asks the workers, and what they answer: JSON over a channel of Redis.

Light on purpose: serving processes import this.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .records import ScoredItem, Version

KeptOff = Literal["unknown_item", "never_chosen", "unavailable", "hidden", "chosen_before", "shown", "not_shortlisted"]
"""Why an item is not even a candidate for a user's list:

unknown_item: neither an event nor the catalogue names it. never_chosen: nobody has chosen it yet. unavailable: the
catalogue has withdrawn it. hidden: the user hid it. chosen_before: the user chose or bought it, and such are
left out here. shown: the user was shown it lately, and such are left out here. not_shortlisted: it may be shown, but
others were found first.
"""


class WhyQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """Where an item stands for a user, and why. The answer goes to the list `reply_to`."""

    reply_to: str
    user_id: str
    item_id: str
    list: str


class WhyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Where an item stands for a user as of now, as if it had been a candidate whatever kept it off."""

    user_known: bool
    """Whether the model knows the user; for another it answers as for anybody."""
    kept_off: list[KeptOff]
    """Everything that keeps it from being a candidate; empty: it is one."""
    candidates: int
    """How many items were scored, this one included."""
    place: float | None
    """Its place among them, 1 for the best; ties count half. None for an unknown item."""
    item: ScoredItem | None
    """With its score and the reasons that sum to it; None for an unknown item."""
    version: Version
    as_of_ms: int


_question = msgspec.json.Decoder(WhyQuestion)
_answer = msgspec.json.Decoder(WhyAnswer)


def read_question(value: bytes) -> WhyQuestion:
    """Read back a question. Raises `msgspec.MsgspecError`."""
    return _question.decode(value)


def read_answer(value: bytes) -> WhyAnswer:
    """Read back an answer. Raises `msgspec.MsgspecError`."""
    return _answer.decode(value)
