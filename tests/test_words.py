"""Words for people: which reasons are told, how, and in which language."""

from __future__ import annotations

import string
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.online_learning.signal import GROUPS
from millstream.schemas.languages import lookup, wanted
from millstream.schemas.phrases import DEFAULT, GENERAL, LANGUAGES, PHRASES
from millstream.schemas.records import Reason, ScoredItem
from millstream.schemas.words import AGAINST, Named, Told, clean_title, named_items, sentence, sentences, told

TITLES = {"x": "Alien", "y": "Heat"}


def item(*reasons: tuple[str, float, str], propensity: float | None = None) -> ScoredItem:
    return ScoredItem("i", sum(each[1] for each in reasons), tuple(Reason(*each) for each in reasons), propensity)


def holes(template: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_group_of_signals_has_words_in_every_language(language: str) -> None:
    """A new group fails here until each language says what it is."""
    assert set(PHRASES[language].plain) == {*GROUPS, GENERAL}
    assert set(PHRASES[language].naming) == set(PHRASES[DEFAULT].naming)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_phrase_has_its_places_and_no_others(language: str) -> None:
    """A translation that loses the title, or names another place, would show at a reader's."""
    phrases = PHRASES[language]
    assert all(holes(each) == ["title"] for each in phrases.naming.values())
    assert not any(holes(each) for each in (*phrases.plain.values(), phrases.change, phrases.neutral))
    assert (holes(phrases.both), holes(phrases.trial)) == (["first", "second"], ["reason"])
    said = [*phrases.naming.values(), *phrases.plain.values(), phrases.change, phrases.neutral]
    assert len(set(said)) == len(said)
    assert all(each == each.strip() == unicodedata.normalize("NFC", each) and each[-1] not in ".。" for each in said)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("evidence", ["x", "unknown", ""])
def test_each_group_makes_a_sentence_in_each_language(language: str, group: str, evidence: str) -> None:
    """With a title, with an item that has none (its id), and with no item; alone, as a second reason, and as a try."""
    sign = -1.0 if group in AGAINST else 1.0
    for parts, propensity in (
        ([(group, sign, evidence)], None),
        ([(group, sign, evidence)], 0.1),
        ([("yours", 1.5, "i"), (group, sign, evidence)], None),
    ):
        said = told(item(*parts, propensity=propensity))
        text = sentence(said, TITLES, language)
        assert "{" not in text
        assert text[0] == text[0].upper()
        names = [TITLES.get(each.item_id, each.item_id) for each in said.reasons if each.item_id]
        assert all(f"{PHRASES[language].quotes[0]}{name}{PHRASES[language].quotes[1]}" in text for name in names)


@pytest.mark.parametrize(
    ("parts", "propensity", "expected"),
    [
        # the largest, and a second from half of it on; equal ones as they stand
        ([("together", 2.0, "x"), ("content", 0.99, "y")], None, "Often chosen with “Alien”"),
        (
            [("together", 2.0, "x"), ("content", 1.0, "y")],
            None,
            "Often chosen with “Alien”; like “Heat”, by its description",
        ),
        ([("taste", 1.0, ""), ("yours", 2.0, "i")], None, "You have chosen it before; suits your taste"),
        ([("together", 3.0, "x"), ("taste", 3.0, "y"), ("content", 3.0, "x")], None,
         "Often chosen with “Alien”; suits your taste, going by “Heat”"),
        # one item is named once
        ([("taste", 2.0, "x"), ("together", 3.0, "x")], None, "Often chosen with “Alien”; suits your taste"),
        # what everybody shares comes second, and is no count of choices on a list of one's own
        ([("popular", 3.0, ""), ("together", 1.5, "x")], None, "Often chosen with “Alien”; suits many people"),
        ([("popular", 3.0, ""), ("together", 1.4, "x")], None, "Suits many people"),
        # what speaks against an item is never praise, whatever its size, and is told where nothing speaks for it
        ([("ignored", -9.0, "i"), ("content", 0.1, "y")], None, "Like “Heat”, by its description"),
        ([("ignored", 9.0, "i"), ("dismissed", 9.0, "i"), ("alike", 9.0, "x")], None, "Also to choose from"),
        ([("together", -4.0, "x"), ("ignored", -1.0, "i")], None, "Shown to you before and passed over"),
        ([("ignored", -1.0, "i"), ("alike", -2.0, "x")], None, "Much like “Alien”, higher up this list"),
        # nothing to say, or nothing that is known
        ([], None, "Also to choose from"),
        ([("together", -4.0, "x"), ("popular", 0.0, "")], None, "Also to choose from"),
        ([("of another version", 9.0, "x")], None, "Also to choose from"),
        # chance says so; a place that it let stand is as any other
        ([("together", 2.0, "x")], 0.01, "Something to try: often chosen with “Alien”"),
        ([("ignored", -2.0, "i")], 0.01, "Something else for a change"),
        ([("together", 2.0, "x")], 0.9, "Often chosen with “Alien”"),
        ([("together", 2.0, "x")], 0.5, "Often chosen with “Alien”"),
    ],
)  # fmt: skip
def test_what_is_told(parts: list[tuple[str, float, str]], propensity: float | None, expected: str) -> None:
    """By hand: the reasons that made the score, and no other."""
    assert sentences([item(*parts, propensity=propensity)], TITLES) == [expected]


def test_on_everybodys_list_popular_is_popular() -> None:
    """There nothing is anybody's own, so the part says what it is called."""
    shown = item(("popular", 9.0, ""), ("together", -4.0, ""))
    assert sentences([shown], {}, "de", everybodys=True) == ["Zurzeit beliebt"]
    assert sentences([shown], {}, "de") == ["Passt für viele"]


@given(
    st.lists(st.tuples(st.sampled_from([*GROUPS, "other"]), st.floats(-9, 9), st.sampled_from(["x", "z", ""]))),
    st.none() | st.floats(0, 1),
    st.sampled_from(LANGUAGES),
)
def test_only_true_parts_are_told(parts: list[tuple[str, float, str]], propensity: float | None, language: str) -> None:
    """Every reason told is a part of the score, for the item, and none larger is left out; against it only alone."""
    said = told(item(*parts, propensity=propensity))
    positive = dict.fromkeys(GROUPS, 0.0)
    for group, contribution, _ in parts:
        if group in positive and group not in AGAINST:
            positive[group] = max(positive[group], contribution)
    names = ["popular" if each.phrase == GENERAL else each.phrase for each in said.reasons]
    most = max(positive.values())
    if most > 0:
        assert most in [positive[name] for name in names]
        assert all(positive[name] >= most / 2 for name in names)
    else:
        assert len(names) <= 1
        assert set(names) <= AGAINST
    for each in said.reasons:
        assert each.item_id in {"", *(evidence for group, _, evidence in parts if group == each.phrase)}
    assert sentence(said, TITLES, language)


def test_titles_are_cleaned_cut_and_isolated_where_they_run_the_other_way() -> None:
    """One line, no control characters, at most 80 characters; a title that is all left to right stands as it is."""
    said = Told((Named("together", "x"),))
    assert sentence(said, {"x": "A\n  boot\u202e{title}"}, "en") == "Often chosen with “A boot{title}”"
    assert sentence(said, {"x": "שלום"}, "en") == "Often chosen with “\u2068שלום\u2069”"
    assert sentence(said, {"x": " \n"}, "en") == "Often chosen with “x”"
    assert sentence(Told((Named("together", "\n"),)), {}, "en") == "Often chosen with what you chose"
    assert len(clean_title("a" * 500)) == 80


@given(st.text())
def test_no_title_breaks_a_line_or_turns_the_text(title: str) -> None:
    """Whatever a catalogue has."""
    text = clean_title(title)
    assert len(text) <= 80
    assert not any(unicodedata.category(each) in ("Cc", "Zl", "Zp", "Cs") for each in text)
    assert clean_title(text) == text


def test_titles_needed_are_those_of_items_named() -> None:
    """Each once; parts that are not told need none."""
    said = [told(item(("together", 2.0, "x"), ("taste", 0.5, "z"))), told(item(("content", 2.0, "x"))), told(item())]
    assert named_items(said) == ["x"]


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("de-AT, en;q=0.5", "de"),
        ("en;q=0.5, fr-CA;q=0.8, de;q=0.1", "fr"),
        ("zh-Hant-TW", "zh"),
        ("sv, da", "en"),
        ("sv, nl;q=0.001", "nl"),
        ("de;q=0, *", "en"),
        ("de-x-private", "de"),
        ("", "en"),
        ("de;q=7, \0, ;;, fr;q=.5, pl ; q=1.000", "pl"),
        ("x," * 10_000 + "de", "en"),
    ],
)
def test_the_language_is_the_first_wanted_that_has_words(header: str, language: str) -> None:
    """RFC 4647's lookup, by the weights of the header; what cannot be read is passed over."""
    assert lookup(wanted(header), LANGUAGES, DEFAULT) == language
