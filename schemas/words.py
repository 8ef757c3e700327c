"""Words for people: the sentence that says why an item is on a list, made from the true parts of its score.

Two steps. `told` chooses what is said, in no language: the largest part that speaks for the item, and a second one if
that is at least half as large. A part that speaks against it is never praise: it is named only where nothing speaks for
the item. `sentence` words it. Both are pure and light; the text is plain, neither HTML nor Markdown, so whoever puts it
in a page escapes it as any other text.

    answer = reader.top("42")
    print(sentences(answer.items, {"i7": "A boot"}, "de"))
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from .phrases import DEFAULT, GENERAL, PHRASES, Phrases
from .records import Reason, ScoredItem

AGAINST = frozenset({"dismissed", "ignored", "alike"})
"""Groups that only ever take from a score."""
_EVERYBODYS = ("popular", "trending")
"""Of two reasons these come second: what an item has to do with the user says more."""
_NAMES_ITEM = frozenset(PHRASES[DEFAULT].naming)
_SECOND = 0.5
_CHANCE = 0.5
"""An item whose place was less likely than this was put there to be tried (`learning.exploration`)."""
_MOST_TITLE = 80
_ISOLATE, _POP = "\u2068", "\u2069"
_BIDI_CONTROLS = dict.fromkeys(map(ord, "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"))


class Named(NamedTuple):
    """A reason to be told: what `phrases` calls it, and the item to name; "": none."""

    phrase: str
    item_id: str = ""


class Told(NamedTuple):
    """What is said of an item, in no language yet."""

    reasons: tuple[Named, ...] = ()
    """At most two; without any a neutral sentence is said."""
    by_chance: bool = False


def told(item: ScoredItem, *, everybodys: bool = False) -> Told:
    """Return what is said of an item; `everybodys` where its list is the popular one and nobody's own.

    Groups that have no words here, such as those of a newer worker, are passed over.
    """
    plain = PHRASES[DEFAULT].plain
    known = [reason for reason in item.reasons if reason.signal in plain]
    by_chance = item.propensity is not None and item.propensity < _CHANCE
    largest = sorted(
        (reason for reason in known if reason.contribution > 0 and reason.signal not in AGAINST),
        key=lambda reason: -reason.contribution,  # stable: of equal ones the first, as everywhere
    )[:2]
    if len(largest) == 2 and largest[1].contribution < _SECOND * largest[0].contribution:
        largest.pop()
    largest.sort(key=lambda reason: reason.signal in _EVERYBODYS)
    if not largest and not by_chance:
        against = [reason for reason in known if reason.contribution < 0 and reason.signal in AGAINST]
        largest = sorted(against, key=lambda reason: reason.contribution)[:1]
    named: list[Named] = []
    for reason in largest:
        each = _named(reason, everybodys)
        # "often chosen with A; suits your taste" names A once
        named.append(each if not named or each.item_id != named[0].item_id else Named(each.phrase))
    return Told(tuple(named), by_chance)


def sentence(said: Told, titles: Mapping[str, str], language: str) -> str:
    """Return what is said as a sentence without a full stop; an item without a title is called by its id.

    Raises KeyError for a language without words (`languages.lookup` finds one that has).
    """
    phrases = PHRASES[language]
    parts = [_phrase(phrases, named, titles) for named in said.reasons]
    if len(parts) == 2:
        parts = [phrases.both.format(first=parts[0], second=parts[1])]
    if said.by_chance:
        text = phrases.trial.format(reason=parts[0]) if parts else phrases.change
    else:
        text = parts[0] if parts else phrases.neutral
    return text[0].upper() + text[1:]


def sentences(
    items: Iterable[ScoredItem], titles: Mapping[str, str], language: str = DEFAULT, *, everybodys: bool = False
) -> list[str]:
    """Return one sentence an item. `titles` has those of the items that the reasons name (`named_items`) by id."""
    return [sentence(told(item, everybodys=everybodys), titles, language) for item in items]


def named_items(said: Iterable[Told]) -> list[str]:
    """Return the ids of the items that are named, each once: those whose titles are needed."""
    return list(dict.fromkeys(named.item_id for each in said for named in each.reasons if named.item_id))


def clean_title(title: str) -> str:
    """Return a title as a sentence has it: in one line, without control characters, at most 80 characters long.

    >>> clean_title("A  boot\\n\\u202efor you")
    'A boot for you'
    """
    spaced = "".join(" " if unicodedata.category(each) in ("Cc", "Zl", "Zp", "Cs") else each for each in title)
    line = " ".join(unicodedata.normalize("NFC", spaced).translate(_BIDI_CONTROLS).split())
    return line if len(line) <= _MOST_TITLE else line[: _MOST_TITLE - 1].rstrip() + "…"


def quoted(title: str, quotes: Sequence[str]) -> str:
    """Return a title in quotation marks; one that is not all left to right is isolated from the rest (UAX 9)."""
    text = clean_title(title)
    if any(unicodedata.bidirectional(each) in ("R", "AL", "AN") for each in text):
        text = f"{_ISOLATE}{text}{_POP}"
    return f"{quotes[0]}{text}{quotes[1]}"


def _named(reason: Reason, everybodys: bool) -> Named:
    phrase = GENERAL if reason.signal == "popular" and not everybodys else reason.signal
    return Named(phrase, reason.evidence if reason.signal in _NAMES_ITEM else "")


def _phrase(phrases: Phrases, named: Named, titles: Mapping[str, str]) -> str:
    for title in (titles.get(named.item_id, ""), named.item_id):
        if clean_title(title):
            return phrases.naming[named.phrase].format(title=quoted(title, phrases.quotes))
    return phrases.plain[named.phrase]
