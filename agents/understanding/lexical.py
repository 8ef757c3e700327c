"""Which items hold the words of a text: titles before categories before all else, rare words before common ones.

BM25 (Robertson and Zaragoza 2009) over an index of tantivy's, in memory. The last word is found as the beginning of
one, since it may not be typed to its end, and a word that no item has is found as the titles' words most like it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tantivy import (
    Document,
    Filter,
    Index,
    Occur,
    Query,
    SchemaBuilder,
    TextAnalyzerBuilder,
    Tokenizer,
)

from millstream.schemas.records import Item

from .words import folded, words

_FIELDS = {"title": 3.0, "categories": 1.5, "rest": 0.7}
"""What a word counts for where it stands."""
_BEGINNING, _NEARLY = 0.7, 1.5
"""What a word counts for that only begins as the one typed, and one that differs in a letter or two."""
_SHORTEST_BEGINNING, _SHORTEST_NEARLY, _SHORTEST_TWICE = 2, 4, 8
"""Letters of a word from which on it may stand for a longer one, for another by one letter, by two."""
_MOST_WORDS, _MOST_NEARLY = 24, 4
"""Words of a text that are looked for, and those nobody knows that are looked for as they may have been meant: some
milliseconds each where there are many titles."""
_MOST_CHARACTERS = 4_000
_HEAP_BYTES = 32_000_000


class Held(NamedTuple):
    """An item that holds words, and how well."""

    row: int
    score: float


class Lexical:
    """The words of items by row. One thread at a time. What is put or dropped is found so after `commit`."""

    def __init__(self) -> None:
        fields = SchemaBuilder()
        for name in _FIELDS:
            fields.add_text_field(name, tokenizer_name="words", index_option="freq")
        fields.add_text_field("category", tokenizer_name="raw", index_option="basic")
        fields.add_integer_field("row", indexed=True, fast=True)
        self._schema = fields.build()
        self._index = Index(self._schema)
        analyzer = TextAnalyzerBuilder(Tokenizer.whitespace()).filter(Filter.remove_long(64)).build()
        self._index.register_tokenizer("words", analyzer)
        self._writer = self._index.writer(heap_size=_HEAP_BYTES, num_threads=1)
        self._searcher = self._index.searcher()
        self._changed = False
        self._last: tuple[tuple[object, ...], list[Held]] | None = None

    def put(self, row: int, item: Item) -> None:
        """Hold the words of an item under this row, in place of what was there."""
        self.drop(row)
        rest = [item.text or "", *item.attributes.values()]
        self._writer.add_document(
            Document(
                title=" ".join(words((item.title or "")[:_MOST_CHARACTERS])),
                categories=" ".join(words(" ".join(item.categories))),
                rest=" ".join(words(" ".join(rest)[:_MOST_CHARACTERS])),
                category=[folded(name[:_MOST_CHARACTERS]) for name in item.categories],
                row=row,
            )
        )

    def drop(self, row: int) -> None:
        """Hold nothing under this row."""
        self._writer.delete_documents_by_term("row", row)
        self._changed = True
        self._last = None  # the row may be another item's

    def commit(self) -> bool:
        """Let searches find what was put and dropped until now: some milliseconds. Return whether there was any."""
        if not self._changed:
            return False
        self._writer.commit()
        self._index.reload()
        self._searcher = self._index.searcher()
        self._changed = False
        self._last = None
        return True

    def unknown(self, said: Sequence[str]) -> set[str]:
        """Return those of some words that no item holds, and that are looked for as they may have been meant."""
        found = [word for word in said if len(word) >= _SHORTEST_NEARLY and not self._knows(word)]
        return set(found[:_MOST_NEARLY])

    def _knows(self, word: str) -> bool:
        return any(self._searcher.doc_freq(field, word) for field in _FIELDS)

    def search(self, said: Sequence[str], k: int, category: str | None = None) -> list[Held]:
        """Return the items that hold these words best, `k` at most, best first, ties by row; of a category alone.

        Asking the same again at once costs nothing.
        """
        asked = (*said, k, category)
        if self._last is None or self._last[0] != asked:
            self._last = asked, self._search(said, k, category)
        return self._last[1]

    def _search(self, said: Sequence[str], k: int, category: str | None) -> list[Held]:
        different = list(dict.fromkeys(said))[:_MOST_WORDS]
        if not different:
            return []
        nearly = self.unknown(different)
        each = [self._held(word, nearly=word in nearly, is_last=word == said[-1]) for word in different]
        query = Query.boolean_query([(Occur.Should, part) for part in each])
        if category is not None:
            inside = Query.const_score_query(
                Query.term_query(self._schema, "category", folded(category[:_MOST_CHARACTERS])), 0.0
            )
            query = Query.boolean_query([(Occur.Must, query), (Occur.Must, inside)])
        hits = self._searcher.search(query, limit=k, count=False).hits
        rows = self._searcher.fast_field_values("row", [address for _, address in hits]) if hits else []
        found = [Held(int(row or 0), float(score)) for (score, _), row in zip(hits, rows, strict=True)]
        return sorted(found, key=lambda held: (-held.score, held.row))

    def _held(self, word: str, *, nearly: bool, is_last: bool) -> Query:
        """Return the query for one word, typed to its end or not, spelt as it should be or not."""
        ways = [
            Query.boost_query(Query.term_query(self._schema, field, word, index_option="freq"), weight)
            for field, weight in _FIELDS.items()
        ]
        if is_last and len(word) >= _SHORTEST_BEGINNING:
            ways.append(self._title_like(word, 0, _BEGINNING, beginning=True))
        if nearly:
            distance = 2 if len(word) >= _SHORTEST_TWICE else 1
            ways.append(self._title_like(word, distance, _NEARLY, beginning=is_last))
        return Query.disjunction_max_query(ways, tie_breaker=0.3)

    def _title_like(self, word: str, distance: int, weight: float, *, beginning: bool) -> Query:
        like = Query.fuzzy_term_query(self._schema, "title", word, distance=distance, prefix=beginning)
        return Query.boost_query(like, weight)


def is_like(word: str, other: str, *, nearly: bool, is_last: bool) -> bool:
    """Return whether a word typed may stand for another, as `Lexical` finds them.

    >>> is_like("brigde", "bridge", nearly=True, is_last=False), is_like("str", "strikes", nearly=False, is_last=True)
    (True, True)
    """
    if word == other or (is_last and len(word) >= _SHORTEST_BEGINNING and other.startswith(word)):
        return True
    if not nearly:
        return False
    most = 2 if len(word) >= _SHORTEST_TWICE else 1
    beginnings: Iterable[str] = [other[: len(word) + by] for by in range(-most, most + 1)] if is_last else [other]
    return any(distance(word, each, most) <= most for each in beginnings)


def distance(one: str, other: str, most: int) -> int:
    """Return how many letters were mistyped, left out, added or swapped with the next; above `most`: any greater.

    Source: the optimal string alignment distance; Damerau 1964.
    """
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        row = [i]
        for j, theirs in enumerate(other, start=1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != theirs))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == theirs:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]
