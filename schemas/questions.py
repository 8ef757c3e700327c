"""What is asked over channels of Redis, and what is answered, as JSON: of workers, and of the process that understands.

Workers know users: why an item is on a list, how items score. `millstream understand` knows what items and people say:
what a text means, and which items it may be about. Light on purpose: serving processes import this.
"""

from __future__ import annotations

from collections.abc import Sequence
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
Intent = Literal["find", "category", "explore"]
"""What somebody who types a text wants: one item they know of, items of a category, or to look around."""
MOST_SCORED = 128
"""Items that one question may ask the scores of."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Something asked. The answer goes to the channel `reply_to`, as a `Reply` with this `number`."""

    reply_to: str
    number: int


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """An answer on its way to who asked; the number says to which of their questions."""

    number: int
    answer: msgspec.Raw


class WhyQuestion(Question, frozen=True, kw_only=True, tag="why"):
    """Where an item stands for a user, and why."""

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


class ScoresQuestion(Question, frozen=True, kw_only=True, tag="scores"):
    """How items, `MOST_SCORED` at most, score for a user on a list of this name."""

    user_id: str
    item_ids: Sequence[str]
    list: str


class ScoresAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How the items score for the user as of now, each as if it were a candidate whatever keeps it off."""

    user_known: bool
    """Whether the model knows the user; for another it answers as for anybody."""
    scores: list[float | None]
    """In the order asked; greater is better. None for an item that the model does not know."""
    version: Version
    as_of_ms: int


class TextQuestion(Question, frozen=True, kw_only=True, tag="text"):
    """What a text means."""

    text: str
    encode: bool = True
    """Whether to make a vector of it, too: some milliseconds, unless it is known."""


class TextAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a text means: what it is after, and its content vector, comparable with those of items."""

    intent: Intent
    category: str | None
    """The category of the catalogue that it names, as the catalogue spells it."""
    wanted: list[str]
    """What it asks for, a clause each."""
    unwanted: list[str]
    """What it asks for less of, or none."""
    encoder: str | None
    """Which encoder made the vector; None: there is none, and words alone are known."""
    scale: float = 0.0
    """What an element is to be multiplied by; 0 where there is no vector."""
    coded: bytes = b""
    """int8, as many as a content vector has (`millstream.schemas.item_vectors`); of length 1 once scaled. Or none."""


class ScoredFor(msgspec.Struct, frozen=True, kw_only=True):
    """For whom a worker is to score what was found. Its answer goes where the question's goes, under this number."""

    number: int
    user_id: str
    list: str


class SearchQuestion(Question, frozen=True, kw_only=True, tag="search"):
    """Which items a text may be about, `k` at most; with a category, only those that are of it."""

    text: str
    k: int
    category: str | None = None
    scored: ScoredFor | None = None
    """Whom who answers is to have the candidates scored for, but where the intent is a category: there, more come
    from elsewhere."""


class AlikeQuestion(Question, frozen=True, kw_only=True, tag="alike"):
    """Which items say the most like what an item says, `k` at most."""

    item_id: str
    k: int


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An item that a text may be about. Ranks count from 1; None: not found that way."""

    item_id: str
    title: str | None
    lexical_rank: int | None = None
    lexical_score: float | None = None
    """BM25, titles first; comparable within one answer alone."""
    vector_rank: int | None = None
    vector_score: float | None = None
    """Cosine, from -1 to 1."""
    in_category: bool = False
    """Whether it is of the category that the text names."""


class SearchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Which items a text may be about, in no particular order, and how the ranks are to be weighed."""

    intent: Intent
    category: str | None
    candidates: list[Candidate]
    encoder: str | None
    """None: words alone were compared."""
    alike: bytes = b""
    """For `explore`: how alike each two of the candidates are, by row, uint8, 255 for a cosine of 1. Else none."""
    encode_ms: float = 0.0
    """What making the text's vector took; near 0 where it was known."""
    match_ms: float = 0.0
    """What comparing took."""
    workers_asked: int | None = None
    """How many workers heard that the candidates are to be scored, in their order here; None: none was asked."""


class AlikeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The items most like one by what they say, best first, each with its cosine. Empty where it says nothing."""

    items: list[ScoredItem]


WorkerQuestion = WhyQuestion | ScoresQuestion
"""What workers are asked."""
WordQuestion = TextQuestion | SearchQuestion | AlikeQuestion
"""What the process that understands is asked."""

_worker_question = msgspec.json.Decoder(WorkerQuestion)
_word_question = msgspec.json.Decoder(WordQuestion)
_reply = msgspec.json.Decoder(Reply)


def read_question(value: bytes) -> WorkerQuestion:
    """Read back a question to workers. Raises `msgspec.MsgspecError`."""
    question: WorkerQuestion = _worker_question.decode(value)
    return question


def read_word_question(value: bytes) -> WordQuestion:
    """Read back a question to the process that understands. Raises `msgspec.MsgspecError`."""
    question: WordQuestion = _word_question.decode(value)
    return question


def written_reply(number: int, answer: msgspec.Struct) -> bytes:
    """Return an answer as it goes to who asked under this number."""
    return msgspec.json.encode(Reply(number, msgspec.Raw(msgspec.json.encode(answer))))


def read_reply(value: bytes) -> Reply:
    """Read back an answer on its way. Raises `msgspec.MsgspecError`."""
    return _reply.decode(value)
