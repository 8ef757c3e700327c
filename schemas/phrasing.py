"""Checking how somebody else puts a reason: it is shown only if it says that reason and nothing else.

The endpoint reads texts that others wrote, so nothing it answers is trusted. A phrasing passes if it

- names the item that the reason comes from (else the item itself) by its title as given, in quotation marks,
- is one sentence of at most 140 characters, of letters, blanks, commas, hyphens and apostrophes beside the titles,
- has a word that states its reason, and no word that is not listed for it (`sayings`). A reason by what items say may
  also use words of their texts, no more than of the list, and none that would state another reason.

What passes may still be dull or bad grammar. It cannot claim another reason, name another item, or carry a link.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal, NamedTuple

import msgspec

from .phrases import PHRASES
from .sayings import SAYINGS
from .words import Told, clean_title

MOST_CHARACTERS = 140
_MOST_TITLES = 2
_HOLE = "\0"
_PUNCTUATION = frozenset(" ,'’-–—" + _HOLE)
_WORD = re.compile(r"[^\W_]+")
_PLAIN_QUOTES = (("“", "”"), ('"', '"'))

Flaw = Literal["empty", "too_long", "title", "characters", "no_reason", "other_reason", "words"]
"""What is wrong with a phrasing. `other_reason`: a word that states another, or none of ours; `words`: one unknown."""
FLAWS: tuple[Flaw, ...] = ("empty", "too_long", "title", "characters", "no_reason", "other_reason", "words")


class Texts(msgspec.Struct, frozen=True):
    """What the catalogue has to say of an item: all that an endpoint is given of it."""

    title: str | None = None
    categories: list[str] = []
    text: str | None = None


class Ask(NamedTuple):
    """A reason to be put into words."""

    language: str
    phrase: str
    """What `phrases` calls the reason."""
    item: Texts
    evidence: Texts | None = None
    """The item that the reason comes from, if it names one."""

    @property
    def named(self) -> str:
        """The title that a phrasing has to name."""
        return clean_title((self.evidence or self.item).title or "")


def askable(said: Told, language: str) -> bool:
    """Return whether an endpoint may phrase the first reason of what is said."""
    return (
        not said.by_chance
        and bool(said.reasons)
        and language in SAYINGS
        and (phrase := said.reasons[0].phrase) in SAYINGS[language].of
        and bool(said.reasons[0].item_id) == (phrase in PHRASES[language].naming)
    )


def speakable(ask: Ask) -> bool:
    """Return whether the titles are there, and can stand in a sentence without isolation (`words.quoted`)."""
    titles = [each.title or "" for each in (ask.item, ask.evidence) if each is not None]
    return all(
        clean_title(title) and not any(unicodedata.bidirectional(each) in ("R", "AL", "AN") for each in title)
        for title in titles
    )


def tidied(phrasing: str) -> str:
    """Return a phrasing as it would be shown: composed, without blanks or a full stop around it."""
    return unicodedata.normalize("NFC", phrasing).strip().removesuffix(".").rstrip()


def flaw(phrasing: str, ask: Ask) -> Flaw | None:
    """Return the first thing that is wrong with a tidied phrasing; None: it may be shown.

    >>> boot = Ask("en", "together", Texts("A boot"), Texts("A lace"))
    >>> flaw("Often chosen alongside “A lace”", boot)
    >>> flaw("Popular, like “A lace”", boot)
    'no_reason'
    """
    if not phrasing:
        return "empty"
    if len(phrasing) > MOST_CHARACTERS:
        return "too_long"
    if _HOLE in phrasing:
        return "characters"
    rest, names = _without_titles(phrasing, ask)
    if ask.named not in names or rest.count(_HOLE) > _MOST_TITLES:
        return "title"
    if not all(each in _PUNCTUATION or unicodedata.category(each)[0] in "LMN" for each in rest):
        return "characters"
    return _wrong_words(_words(rest), ask)


def _without_titles(phrasing: str, ask: Ask) -> tuple[str, set[str]]:
    """Return the phrasing with a hole where a quoted title was, and the titles found."""
    titles = {clean_title(each.title or "") for each in (ask.item, ask.evidence) if each is not None} - {""}
    found = set()
    for title in sorted(titles, key=len, reverse=True):
        for before, after in (PHRASES[ask.language].quotes, *_PLAIN_QUOTES):
            if (whole := f"{before}{title}{after}") in phrasing:
                phrasing = phrasing.replace(whole, _HOLE)
                found.add(title)
    return phrasing, found


def _wrong_words(words: list[str], ask: Ask) -> Flaw | None:
    sayings = SAYINGS[ask.language]
    own = sayings.of[ask.phrase]
    listed = sayings.plain | own.all
    if not own.key.intersection(words):
        return "no_reason"
    foreign = sayings.never.union(*(each.all for each in sayings.of.values())) - listed
    if foreign.intersection(words):
        return "other_reason"
    others = [word for word in words if word not in listed]
    if others and (ask.phrase != "content" or not _said_by_items(ask).issuperset(others)):
        return "words"
    return "words" if len(others) > len(words) - len(others) else None


def _said_by_items(ask: Ask) -> set[str]:
    found: set[str] = set()
    for each in (ask.item, ask.evidence):
        if each is not None:
            found.update(_words(" ".join([each.title or "", *each.categories, each.text or ""])))
    return found


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFC", text).casefold())
