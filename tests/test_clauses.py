"""What sentences ask for and what they ask for less of, in four languages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.agents.understanding.clauses import clauses_of

SENTENCES = {
    "less action, more slow science fiction": (["slow science fiction"], ["action"]),
    "no horror, gore or violence": ([], ["horror", "gore or violence"]),
    "less action, horror, and violence": ([], ["action", "horror", "violence"]),
    "something like Star Wars but without the violence": (["Star Wars"], ["violence"]),
    "I don't want to see any more horror": ([], ["horror"]),
    "a quiet film, no violence, set in Japan": (["quiet film", "set in Japan"], ["violence"]),
    "comedies instead of dramas": (["comedies"], ["dramas"]),
    "instead of dramas, comedies": (["comedies"], ["dramas"]),
    "more comedy than drama": (["comedy"], ["drama"]),
    "not so much romance; more adventure please": (["adventure"], ["romance"]),
    "enough of superheroes, give me a documentary": (["documentary"], ["superheroes"]),
    "I hate musicals": ([], ["musicals"]),
    "dark thriller but not too bloody": (["dark thriller"], ["bloody"]),
    "weniger Action, mehr langsame Science-Fiction": (["langsame Science-Fiction"], ["Action"]),
    "ich mag Horror nicht": ([], ["Horror"]),
    "ich mag keine Horrorfilme, lieber Komödien": (["Komödien"], ["Horrorfilme"]),
    "keine Romanzen, sondern Krimis": (["Krimis"], ["Romanzen"]),
    "moins d'action, plus de science-fiction lente": (["science-fiction lente"], ["action"]),
    "je n'aime pas l'horreur": ([], ["horreur"]),
    "pas de romance mais un thriller": (["thriller"], ["romance"]),
    "menos acción, más ciencia ficción lenta": (["ciencia ficción lenta"], ["acción"]),
    "no quiero terror, prefiero comedias": (["comedias"], ["terror"]),
    "toy story": (["toy story"], []),
    "  warm   winter boots ": (["warm winter boots"], []),
    "Some Like It Hot": (["Some Like It Hot"], []),
    "more": (["more"], []),
    "no": (["no"], []),
    "": ([], []),
    " \t": ([], []),
}


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda sentence: sentence or "nothing")
def test_a_sentence_is_told_apart_by_what_it_wants(sentence: str) -> None:
    """Clause by clause; one that asks for nothing less is left as it was typed."""
    wanted, unwanted = SENTENCES[sentence]
    assert clauses_of(sentence) == (tuple(wanted), tuple(unwanted))


@given(st.text(max_size=200))
def test_any_text_has_clauses(text: str) -> None:
    """Of words that were typed; and whatever is not blank wants something, or less of something."""
    found = clauses_of(text)
    assert bool(text.split()) == bool(found.wanted or found.unwanted)
    assert all(word in text for clause in (*found.wanted, *found.unwanted) for word in clause.split())
