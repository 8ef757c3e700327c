"""A text as words: what counts as one, and which spellings are the same."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"\w+(?:['’]\w+)*")
_WHOLE_LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ł": "l", "ı": "i", "’": "'"})


def folded(text: str) -> str:
    """Return a text without capitals and accents: what differs in these alone is the same.

    >>> folded("Amélie – Straße")
    'amelie – strasse'
    """
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(each for each in plain if not unicodedata.combining(each)).translate(_WHOLE_LETTERS)


def words(text: str) -> list[str]:
    """Return a text's words, folded, in their order; an apostrophe's parts are one word.

    >>> words("Schindler's List (1993)")
    ['schindlers', 'list', '1993']
    """
    return [word.replace("'", "") for word in _WORD.findall(folded(text))]


def same(text: str) -> str:
    """Return what stands for a text and all that differ from it in capitals and blanks alone."""
    return " ".join(text.casefold().split())


def word_set(listed: str) -> frozenset[str]:
    """Return the words of a list with blanks between, as they are."""
    return frozenset(listed.split())
