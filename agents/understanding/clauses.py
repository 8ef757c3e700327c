"""What a sentence wants and what it wants less of: clauses, told apart by the words that turn them.

A word such as "less", "ohne" or "sans" turns what follows into something unwanted, until a comma, a word such as "but"
or one that asks for something. A list goes on being unwanted: "no horror, gore or violence". In German and French the
turning word may come last ("ich mag Horror nicht"); then it turns what stands before it.

A sentence that no such word is in is one clause, as it was typed. English, German, French and Spanish; rules, not a
model: a sentence encoder puts "less action" next to "action" (docs/decisions/0030).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from .words import folded, word_set

_TOKEN = re.compile(r"(?:[dlnjscmt]|qu)['’](?=\w)|[^\W_]+(?:['’-][^\W_]+)*|[,;.!?:()]+", re.IGNORECASE)
"""A word, a French one before an apostrophe, or marks."""
_BREAKS = set(",;.!?:()")


_TURN_AWAY = word_set(
    "less fewer not no non without except excluding nothing never avoid hate dislike skip nor minus "
    "don't dont doesn't doesnt didn't isn't isnt wasn't won't can't cant cannot "
    "weniger nicht kein keine keinen keinem keiner keines ohne nie niemals statt anstatt ausser nichts hasse "
    "moins pas sans aucun aucune ni jamais sauf deteste rien ne n' "
    "menos sin ningun ninguna ningunos ningunas nunca jamas excepto salvo nada tampoco odio"
)
_TURN_AWAY_PAIRS = frozenset(
    {
        ("instead", "of"), ("rather", "than"), ("tired", "of"), ("sick", "of"), ("enough", "of"), ("anything", "but"),
        ("other", "than"), ("anstelle", "von"), ("genug", "von"), ("au", "lieu"), ("plutot", "que"), ("assez", "de"),
        ("en", "lugar"), ("en", "vez"), ("harto", "de"), ("harta", "de"), ("cansado", "de"), ("cansada", "de"),
    }
)  # fmt: skip
_TURN_TO = word_set(
    "more want prefer love only show give some something anything please rather instead "
    "mehr lieber gern gerne nur zeig zeige etwas bitte stattdessen dafur "
    "plus plutot seulement veux voudrais aime prefere montre quelque chose "
    "mas quiero prefiero solo solamente muestra algo gusta gustan"
)
_TURN_BACK = word_set("but however though aber sondern jedoch doch mais cependant pero sino")
_OR = word_set("or nor oder noch ou ni o u")
_AND = word_set("and und et y e")
_EMPTY = word_set(
    "i i'm i'd me my we you it its it's to of the a an any so too much many very that this these those is are be do "
    "see watch with would like for than really just quite maybe now today tonight kind sort "
    "ich mir mich du wir es zu den dem der die das ein eine einen einem einer so sehr viel viele mochte mag will haben "
    "sehen mit fur als heute bisschen von des "
    "je j' tu nous il le la les l' un une des de du d' qu' s' c' m' t' ai que qui ce ces trop tres beaucoup avec pour "
    "voir au aux en lieu est "
    "yo me te el los las uno una unos unas del lo que muy mucho mucha muchos muchas con para ver es esto esta lugar vez"
)


class Clauses(NamedTuple):
    """What a text asks for, and what it asks for less of; a clause each, in the order typed."""

    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]


@dataclass(slots=True)
class _Clause:
    away: bool
    words: list[str] = field(default_factory=list)


def clauses_of(text: str) -> Clauses:
    """Return a text's clauses; one that nothing turns is one wanted clause, as it is.

    >>> clauses_of("less action, more slow science fiction")
    Clauses(wanted=('slow science fiction',), unwanted=('action',))
    >>> clauses_of("Some Kind of Wonderful")
    Clauses(wanted=('Some Kind of Wonderful',), unwanted=())
    """
    found = _parted(_TOKEN.findall(text))
    if not any(clause.away and clause.words for clause in found):
        whole = " ".join(text.split())
        return Clauses((whole,) if whole else (), ())
    said = [(clause.away, " ".join(clause.words)) for clause in found if clause.words]
    return Clauses(tuple(words for away, words in said if not away), tuple(words for away, words in said if away))


def _parted(tokens: list[str]) -> list[_Clause]:
    """Return the clauses of a text's words and marks."""
    clauses = [_Clause(away=False)]
    plain = [folded(token) for token in tokens]
    at = 0
    while at < len(tokens):
        token, clause = plain[at], clauses[-1]
        if token[0] in _BREAKS:
            clauses.append(_Clause(away=clause.away and token == "," and _goes_on(plain[at + 1 :])))
        elif (token, *plain[at + 1 : at + 2]) in _TURN_AWAY_PAIRS:
            clauses.append(_Clause(away=True))
            at += 1
        elif token in _TURN_AWAY:
            if clause.words and _is_last(plain[at + 1 :]):
                clause.away = True
            else:
                _turn(clauses, away=True)
        elif token == "than" and "more" in plain[:at]:
            clauses.append(_Clause(away=True))
        elif token in _TURN_BACK:
            clauses.append(_Clause(away=False))
        elif token in _TURN_TO:
            # "no more horror", "I don't want horror": what was turned away is not asked for by the next word
            if clause.words:
                clauses.append(_Clause(away=False))
        elif clause.words or token not in _EMPTY | _AND | _OR:
            clause.words.append(tokens[at])
        at += 1
    return [_Clause(clause.away, _trimmed(clause.words)) for clause in clauses]


def _turn(clauses: list[_Clause], *, away: bool) -> None:
    """Begin a clause, or let the one that has no words yet be one."""
    if clauses[-1].words:
        clauses.append(_Clause(away=away))
    else:
        clauses[-1].away = away


def _goes_on(rest: list[str]) -> bool:
    """Return whether what follows a comma is the rest of a list: "gore or violence", "horror, and gore"."""
    for at, token in enumerate(rest):
        if token in _OR or (token in _AND and (at == 0 or rest[at - 1] == ",")):
            return True
        if token in _TURN_AWAY | _TURN_TO | _TURN_BACK or (token[0] in _BREAKS and token != ","):
            return False
    return False


def _is_last(rest: list[str]) -> bool:
    """Return whether nothing but marks and empty words follows in this part of the sentence."""
    for token in rest:
        if token[0] in _BREAKS or token in _TURN_BACK:
            return True
        if token not in _EMPTY:
            return False
    return True


def _trimmed(words: list[str]) -> list[str]:
    """Return a clause without the empty words at its end."""
    end = len(words)
    while end and folded(words[end - 1]) in _EMPTY | _AND | _OR:
        end -= 1
    return words[:end]
