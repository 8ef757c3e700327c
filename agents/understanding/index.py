"""The catalogue in memory, by its words and by its vectors, and which items of it a text may be about.

One event loop owns it, and nothing else touches it: a change and a search each run to their end. So no search sees half
of a change. What is withdrawn is no answer from the next search on; new words are found after the next `settle`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice, starmap

import numpy as np
from numpy.typing import NDArray

from millstream.agents.fusing import WEIGHTS, share
from millstream.schemas.item_vectors import CONTENT, ItemVector
from millstream.schemas.questions import Candidate
from millstream.schemas.records import Item, ScoredItem

from .clauses import clauses_of
from .intents import Meant, meant
from .known import Known
from .lexical import Held, Lexical
from .nearest import GrowingNearest
from .words import words

_TITLES = 5
"""How many of the titles that hold the words best are looked at for what is meant."""
_HELD = 150
"""How many items that hold the words are looked up at least: as many as a search asks for, so that once will do."""
_MOST_UNSEEN = 50
"""How many more than asked for are looked up, since some may be withdrawn."""
_MOST_MEMBERS = 50_000
"""Items of a category up to which all are compared."""


class CatalogueIndex:
    """What `millstream understand` knows of the catalogue. `encoder` names whose vectors it takes."""

    def __init__(self, encoder: str, nearest: Callable[[int], GrowingNearest] = GrowingNearest) -> None:
        self._encoder = encoder
        self._make = nearest
        self._known = Known()
        self._lexical = Lexical()
        self._nearest = nearest(CONTENT)
        self._says: dict[int, int] = {}

    @property
    def items(self) -> int:
        """How many items the catalogue has an entry of."""
        return sum(entry is not None for entry in self._known.entries)

    @property
    def vectors(self) -> int:
        """How many content vectors there are."""
        return len(self._nearest)

    def clear(self) -> None:
        """Know nothing."""
        self._known, self._lexical, self._nearest = Known(), Lexical(), self._make(CONTENT)
        self._says.clear()

    def put(self, item: Item) -> None:
        """Take in an entry of the catalogue, in place of what it said of the item before."""
        row = self._known.new_row(item.item_id)
        said = hash((item.title, item.text, *item.categories, *sorted(item.attributes.items())))
        if self._says.get(row) != said:
            self._lexical.put(row, item)
            self._says[row] = said
        self._known.note(row, item)

    def remove(self, item_id: str) -> None:
        """Forget what the catalogue says of an item."""
        row = self._known.row(item_id)
        if row is not None and self._known.entries[row] is not None:
            self._lexical.drop(row)
            self._says.pop(row, None)
            self._known.note(row, None)

    def put_vector(self, vector: ItemVector) -> None:
        """Take in an item's content vector; one of another encoder, or of an item that says nothing, is none."""
        if vector.encoder != self._encoder or vector.scale <= 0:
            self.remove_vector(vector.item_id)
            return
        row = self._known.new_row(vector.item_id)
        self._known.note_vector(row, vector)
        self._nearest.put(row, self._known.vectors([row])[0])

    def remove_vector(self, item_id: str) -> None:
        """Forget an item's content vector."""
        row = self._known.row(item_id)
        if row is not None and self._known.has_vector(row):
            self._nearest.drop(row)
            self._known.note_vector(row, None)

    def settle(self) -> bool:
        """Let the next search find what came, and do a part of what may wait; return whether there is more of that."""
        self._lexical.commit()
        return self._nearest.settle()

    def meaning(self, text: str) -> Meant:
        """Return what a text is after."""
        said = words(text)
        held = self._lexical.search(said, _HELD)
        entries = (self._known.entries[each.row] for each in held)
        titles = islice((entry.title for entry in entries if entry is not None and entry.title), _TITLES)
        return meant(text, clauses_of(text), titles, self._lexical.unknown(said), self._known)

    def candidates(
        self, asked: Meant, vector: NDArray[np.float32] | None, k: int, category: str | None = None
    ) -> list[Candidate]:
        """Return the items that a text may be about, `k` at most, by its words and its vector, the likeliest first.

        With a `category`, only those that are of it, as the catalogue spells it.
        """
        known = self._known
        held = self._lexical.search(asked.said, max(_HELD, k + _MOST_UNSEEN), category)
        lexical = self._shown(held, k)
        near = [] if vector is None else self._near(vector, k, category)
        by_words = {each.row: (rank, each.score) for rank, each in enumerate(lexical, start=1)}
        by_vector = {each.row: (rank, each.score) for rank, each in enumerate(near, start=1)}
        weights, worth = WEIGHTS[asked.intent], dict.fromkeys(by_words.keys() | by_vector.keys(), 0.0)
        for weight, ranks in ((weights.lexical, by_words), (weights.vector, by_vector)):
            for row, (rank, _) in ranks.items():
                worth[row] += share(weight, rank)
        members = set[int]()
        if asked.category is not None:
            named = known.members(asked.category)
            members = {row for row in worth if row in named}
        first = members if asked.intent == "category" else ()
        rows = sorted(worth, key=lambda row: (row not in first, -worth[row], row))[:k]
        return [
            Candidate(
                item_id=known.ids[row],
                title=_title(known, row),
                lexical_rank=by_words[row][0] if row in by_words else None,
                lexical_score=by_words[row][1] if row in by_words else None,
                vector_rank=by_vector[row][0] if row in by_vector else None,
                vector_score=by_vector[row][1] if row in by_vector else None,
                in_category=row in members,
            )
            for row in rows
        ]

    def likeness(self, item_ids: Sequence[str]) -> bytes:
        """Return how alike each two of the items are by what they say: cosines as uint8, 255 for 1, by row."""
        rows = [row for item_id in item_ids if (row := self._known.row(item_id)) is not None]
        vectors = self._known.vectors(rows)
        cosines: NDArray[np.uint8] = np.clip(np.rint(255 * (vectors @ vectors.T)), 0, 255).astype(np.uint8)
        return cosines.tobytes()

    def alike(self, item_id: str, k: int) -> list[ScoredItem]:
        """Return the `k` items most like one by what they say, best first; none where it says nothing."""
        row = self._known.row(item_id)
        if row is None or not self._known.has_vector(row):
            return []
        near = self._near(self._known.vectors([row])[0], k + 1, None)
        return [ScoredItem(self._known.ids[held.row], held.score) for held in near if held.row != row][:k]

    def _shown(self, held: Iterable[Held], k: int) -> list[Held]:
        """Return the first `k` that may be shown."""
        is_shown = self._known.is_shown
        return list(islice((each for each in held if is_shown(each.row)), k))

    def _near(self, vector: NDArray[np.float32], k: int, category: str | None) -> list[Held]:
        """Return the `k` items that may be shown whose vectors are nearest, of a category or of all."""
        if category is None:
            found = self._nearest.search(vector, k + _MOST_UNSEEN)
            pairs = zip(found.rows.tolist(), found.similarities.tolist(), strict=True)
        else:
            inside = [row for row in self._known.members(category) if row in self._nearest][:_MOST_MEMBERS]
            rows = np.array(sorted(inside), np.int64)
            near = self._known.vectors(rows) @ vector
            order = np.lexsort((rows, -near))[: k + _MOST_UNSEEN]
            pairs = zip(rows[order].tolist(), near[order].tolist(), strict=True)
        return self._shown(starmap(Held, pairs), k)


def _title(known: Known, row: int) -> str | None:
    entry = known.entries[row]
    return None if entry is None else entry.title
