"""The catalogue in memory: what a text finds in it, by words and by meaning, and what it is after. Real titles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from shop import CATEGORIES, ITEMS

pytest.importorskip("faiss", reason="the extra `search` is not installed")
pytest.importorskip("tantivy", reason="the extra `search` is not installed")

from millstream.agents.encoders import LIGHT, MINILM, NoEncoder, TextEncoder, load_encoder
from millstream.agents.item_contents import contents
from millstream.agents.understanding import lexical
from millstream.agents.understanding.index import CatalogueIndex
from millstream.agents.understanding.texts import Texts
from millstream.schemas.item_vectors import ItemVector
from millstream.schemas.questions import Candidate
from millstream.schemas.records import Item


@pytest.fixture(scope="module", params=[None, MINILM, LIGHT], ids=["words alone", MINILM, LIGHT])
def encoder(request: pytest.FixtureRequest) -> TextEncoder | None:
    if request.param is None:
        return None
    try:
        return load_encoder(request.param)
    except NoEncoder as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def index(encoder: TextEncoder | None) -> CatalogueIndex:
    return filled(encoder)


def filled(encoder: TextEncoder | None) -> CatalogueIndex:
    index = CatalogueIndex("none" if encoder is None else encoder.name)
    for vector in [] if encoder is None else contents(ITEMS, encoder):
        index.put_vector(vector)
    for item in ITEMS:
        index.put(item)
    index.settle()
    return index


@pytest.fixture
def texts(encoder: TextEncoder | None) -> Iterator[Texts | None]:
    made = None if encoder is None else Texts(encoder)
    yield made
    if made is not None:
        made.close()


async def found(
    index: CatalogueIndex, texts: Texts | None, text: str, k: int = 10, category: str | None = None
) -> list[str]:
    return [each.item_id for each in await candidates(index, texts, text, k, category)]


async def candidates(
    index: CatalogueIndex, texts: Texts | None, text: str, k: int = 10, category: str | None = None
) -> Sequence[Candidate]:
    asked = index.meaning(text)
    vector = None if texts is None else await texts.vector(asked.clauses)
    return index.candidates(asked, vector, k, category)


@pytest.mark.parametrize(
    ("typed", "item"),
    [
        ("toy story", "m1"),
        ("TOY STORY", "m1"),
        ("star wars", "m2"),
        ("empire strikes back", "m3"),
        ("the empire strkes bakc", "m3"),
        ("silence of the lams", "m12"),
        ("schindlers list", "m13"),
        ("Schindler’s Lis", "m13"),
        ("godf", "m14"),
        ("princes bride", "m16"),
        ("wallace and gromit", "m21"),
        ("wallace gr", "m21"),
        ("amelie", "m22"),
        ("das boot", "m23"),
        ("dances with wolves", "m25"),
        ("no country for old men", "m27"),
        ("some like it hot", "m28"),
        ("pride and prejudice", "b1"),
        ("moby dick", "b2"),
        ("brief history of time", "b5"),
        ("hiking boots", "s1"),
        ("expresso machine", "s5"),
    ],
)
async def test_a_title_is_found_however_it_is_typed(
    index: CatalogueIndex, texts: Texts | None, typed: str, item: str
) -> None:
    """First of all: with capitals and accents or without, mistyped, not typed to its end, or with a negation in it."""
    assert index.meaning(typed).intent == "find"
    assert (await found(index, texts, typed))[0] == item


@pytest.mark.parametrize(
    ("typed", "category"),
    [
        ("comedy", "Comedy"),
        ("comedies", "Comedy"),
        ("sci fi movies", "Sci-Fi"),
        ("the best sci-fi", "Sci-Fi"),
        ("show me westerns", "Western"),
        ("childrens films", "Children's"),
        ("shoes", "Shoes"),
        ("thrillers", "Thriller"),
    ],
)
async def test_a_category_is_recognised_and_its_items_come_first(
    index: CatalogueIndex, texts: Texts | None, typed: str, category: str
) -> None:
    """In singular and plural, with what is said beside it; all others come behind."""
    asked = index.meaning(typed)
    assert (asked.intent, asked.category) == ("category", category)
    inside = [category in CATEGORIES[item] for item in await found(index, texts, typed)]
    assert inside[0]
    assert inside == sorted(inside, reverse=True)


@pytest.mark.parametrize(
    "typed",
    [
        "something warm for winter",
        "a love story that ends well",
        "films like star wars",
        "comedy without romance",
        "Kaffee",
    ],
)
def test_anything_else_is_a_look_around(index: CatalogueIndex, typed: str) -> None:
    """Also a category with something less."""
    assert index.meaning(typed).intent == "explore"


async def test_what_a_text_means_is_found_without_its_words(index: CatalogueIndex, texts: Texts | None) -> None:
    """By the vectors; without an encoder, nothing is found by a word that nothing holds."""
    if texts is None:
        assert await found(index, texts, "outerwear Kälte") == []
        return
    for typed, best in (("hot drinks", "s5"), ("gangsters", "m14"), ("outer space", "m5"), ("footwear", "s1")):
        assert best in await found(index, texts, typed, 8), typed


async def test_less_of_something_keeps_it_from_the_top(index: CatalogueIndex, texts: Texts | None) -> None:
    """Slow science fiction without action is the quiet kind; what is asked for less of is not found by its name."""
    if texts is None:
        pytest.skip("without vectors there is nothing to take away from")
    quiet = await found(index, texts, "less action, more slow science fiction", 3)
    assert {"m5", "m6"} <= set(quiet)
    loud = {"m7", "m8"}
    assert not loud & set(await found(index, texts, "weniger guns and explosions, mehr science fiction", 3))


async def test_only_a_category_can_be_asked_for(index: CatalogueIndex, texts: Texts | None) -> None:
    """By words and by vectors alike."""
    items = await found(index, texts, "warm winter", 10, "Clothing")
    assert items
    assert {"Clothing" in CATEGORIES[item] for item in items} == {True}
    assert await found(index, texts, "warm winter", 10, "no such thing") == []


async def test_both_ways_of_finding_are_said(index: CatalogueIndex, texts: Texts | None) -> None:
    """Ranks begin at 1, and each item was found one way at least."""
    every = await candidates(index, texts, "space", 40)
    assert 1 in [each.lexical_rank for each in every]
    assert all(each.lexical_rank or each.vector_rank for each in every)
    assert (1 in [each.vector_rank for each in every]) == (texts is not None)
    alike = np.frombuffer(index.likeness([each.item_id for each in every]), np.uint8).reshape(len(every), -1)
    assert (alike == alike.T).all()
    if texts is not None:
        assert (np.diag(alike) >= 252).all()


async def test_what_is_withdrawn_is_gone_at_once_and_comes_back(
    encoder: TextEncoder | None, texts: Texts | None
) -> None:
    """By availability or a tombstone, without waiting; a new title counts once it is settled, the old one no more."""
    index = filled(encoder)
    jaws = next(item for item in ITEMS if item.item_id == "m24")
    index.put(Item(item_id="m24", title=jaws.title, text=jaws.text, categories=jaws.categories, available=False))
    assert "m24" not in await found(index, texts, "jaws")
    assert "m24" not in await found(index, texts, "shark", 40)
    index.put(jaws)
    index.settle()
    assert (await found(index, texts, "jaws"))[0] == "m24"
    index.remove("m24")
    assert "m24" not in await found(index, texts, "jaws", 40)
    assert index.meaning("jaws").intent == "explore"
    index.put(Item(item_id="m24", title="Piranha"))
    index.settle()
    assert (await found(index, texts, "piranha"))[0] == "m24"
    index.clear()
    assert await found(index, texts, "piranha") == []
    assert (index.items, index.vectors) == (0, 0)


def test_the_items_that_say_the_same_are_alike(index: CatalogueIndex, encoder: TextEncoder | None) -> None:
    """Without the item itself; one that says nothing is like none."""
    alike = [each.item_id for each in index.alike("m9", 3)]
    assert alike == [] if encoder is None else {"m10", "m11"} & set(alike)
    assert index.alike("nowhere", 3) == []
    index.put(Item(item_id="silent"))
    assert index.alike("silent", 3) == []
    index.remove("silent")


def test_vectors_of_another_encoder_are_none() -> None:
    """They cannot be compared with those of the texts."""
    index = CatalogueIndex("mine")
    coded = np.ones(384, np.int8).tobytes()
    index.put_vector(ItemVector("a", "another", "d", 0.1, coded))
    index.put_vector(ItemVector("b", "mine", "d", 0.1, coded))
    assert index.vectors == 1
    index.put_vector(ItemVector("b", "another", "d", 0.1, coded))
    index.remove_vector("nowhere")
    assert index.vectors == 0


def test_rows_are_given_again_without_what_they_held() -> None:
    """An item in another's place has nothing of it: words, categories, vector."""
    index = CatalogueIndex("mine")
    coded = np.ones(384, np.int8).tobytes()
    index.put(Item(item_id="a", title="Apple", categories=["Fruit"]))
    index.put_vector(ItemVector("a", "mine", "d", 0.05, coded))
    index.remove("a")
    index.remove_vector("a")
    index.put(Item(item_id="b", title="Pear"))
    index.put(Item(item_id="c", title="Plum", categories=["Fruit"]))
    index.settle()
    assert index.meaning("fruit").category == "Fruit"
    vector: NDArray[np.float32] = np.full(384, 384**-0.5, np.float32)
    asked = index.meaning("apple pear fruit")
    assert {each.item_id for each in index.candidates(asked, vector, 10)} == {"b", "c"}
    assert index.alike("b", 5) == []


def test_two_swapped_letters_are_one_mistake() -> None:
    """So is one that is too many, and what is farther off than asked for counts as that."""
    assert [
        lexical.distance(*pair, 2) for pair in (("abcd", "abdc"), ("abc", "abc"), ("ab", "abcde"), ("a", "xyz"))
    ] == [
        1,
        0,
        3,
        3,
    ]


async def test_any_text_is_answered_in_little_time(index: CatalogueIndex, texts: Texts | None) -> None:
    """Many words, long ones, unknown ones, marks alone, other scripts: a few of them are looked for, and none harms."""
    unknown = " ".join(f"qz{number:03}xkvw" for number in range(60))
    for text in (
        unknown,
        f"{unknown} jaws",
        "a " * 256,
        "x" * 512,
        "'" * 500,
        "🎬 \0 %%% ((( )))",
        "日本 映画",
        "not " * 128,
    ):
        await found(index, texts, text)
    lexical = index._lexical
    assert lexical.search([f"jasw{number}" for number in range(60)], 5) == []
    assert [held.row for held in lexical.search(["jasw"] * 300, 1)] == [
        held.row for held in lexical.search(["jaws"], 1)
    ]
