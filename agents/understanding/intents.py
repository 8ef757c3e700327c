"""What somebody who types a text is after: one item they know of, a category, or a look around.

find      some title holds all the words typed, and is not much more than they are
category  the words name a category, perhaps with "movies" or "new" beside it
explore   anything else, and whatever asks for less of something

Rules over the catalogue's own titles and categories: they say it better than a model that does not know them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from millstream.schemas.questions import Intent

from .clauses import Clauses
from .known import Known
from .lexical import is_like
from .words import word_set, words

_BESIDE = word_set(
    "a an the some any all of in for me my best top good great new latest popular show shows give find watch see "
    "please movie movies film films book books item items product products series game games song songs "
    "filme buch bucher spiel spiele serie serien neue neuer neues beste gute ein eine einen die der das "
    "livre livres jeu jeux les des de un une bon bons meilleur meilleurs nouveau nouveaux "
    "pelicula peliculas libro libros juego juegos los las el la unos unas mejor mejores nuevo nuevos"
)
"""Words that say nothing beside the name of a category."""
_SMALL = word_set("a an and the of in on to for le la les der die das el los las un une")
"""Words of a title that nobody needs to type."""
_ADDED = re.compile(r":| [–—-] | ?[(\[]")
_LEAST_OF_A_TITLE = 0.5
"""Share of a title's words that must be typed for it to be what is meant."""


class Meant(NamedTuple):
    """What a text is after."""

    intent: Intent
    category: str | None
    """The category that it names, as the catalogue spells it; for whatever intent."""
    clauses: Clauses
    said: list[str]
    """The words to look for."""


def meant(text: str, clauses: Clauses, titles: Iterable[str], unknown: Collection[str], known: Known) -> Meant:
    """Return what is meant; `titles` are those that hold the words of the text best, `unknown` are no item's words."""
    whole = words(text)
    titles = list(titles)
    if any(_is_title(whole, part, unknown) for title in titles for part in _parts(title)):
        category = _category(whole, known)
        if category is None or any(words(title) == whole for title in titles):
            return Meant("find", category, Clauses((" ".join(text.split()),), ()), whole)
    said = [word for clause in clauses.wanted for word in words(clause)]
    if clauses.unwanted:
        return Meant("explore", _category(said, known), clauses, said)
    category = _category(whole, known)
    if category is None:
        return Meant("explore", None, clauses, whole)
    return Meant("category", category, clauses, words(category))


def _parts(title: str) -> list[str]:
    """Return a title whole, and without what a colon, a dash or a bracket adds to it."""
    return [title, _ADDED.split(title, maxsplit=1)[0]]


def _category(said: Sequence[str], known: Known) -> str | None:
    """Return the category that words name, as they are or without those that say nothing."""
    return known.category(said) or known.category([word for word in said if word not in _BESIDE])


def _is_title(said: Sequence[str], title: str, unknown: Collection[str]) -> bool:
    """Return whether the words are those of the title: each is one of it, and they are enough of it."""
    telling = [word for word in words(title) if word not in _SMALL]
    wanted = [word for word in said if word not in _SMALL]
    if not telling or not wanted:
        return list(said) == words(title)
    left = list(telling)
    for at, word in enumerate(wanted):
        last, nearly = at == len(wanted) - 1, word in unknown
        found = next((each for each in left if is_like(word, each, nearly=nearly, is_last=last)), None)
        if found is None:
            return False
        left.remove(found)
    return len(wanted) >= _LEAST_OF_A_TITLE * len(telling)
