"""What it takes to forget a user, and an item: what eviction does beyond clearing their rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .bought import Bought, drop_bought
from .compiled import entry
from .config import LearningConfig
from .consumed import Consumed, drop_consumed, give_back_consumed
from .content import forget_content
from .covisitation import TICK, Covisitation, drop_edges, give_back_edges
from .dismissals import Dismissals, drop_dismissed
from .eviction import Eviction, Turnover, period, share, share_of
from .histories import Histories, drop_items
from .impressions import Impressions, drop_shown, give_back_shown
from .json_ids import JsonIds
from .neighbours import Neighbours, drop_users
from .popularity import ALL_TIME, EVENTS, H40, HALF_LIVES_EVENTS, NEVER, mend_boards, when_down_to_one
from .prices import forget_prices
from .ranking import Model
from .recency import drop_chosen
from .said import drop_near, forget_words
from .trainers import Trainers
from .vocabulary import Vocabulary


def eviction(
    config: LearningConfig,
    model: Model,
    arena: Arena,
    users: Vocabulary,
    items: Vocabulary,
    item_ids: JsonIds,
    trainers: Trainers,
) -> Eviction:
    """Return the eviction of users and items of one step."""
    turnovers = (
        UserTurnover(model, arena, users, items),
        ItemTurnover(model, arena, users, items, item_ids, trainers, longest_row=config.max_consumed),
    )
    return Eviction(turnovers, period(config))


class UserTurnover(Turnover):
    """Users: who chose something longest ago goes first. Only the rings of `neighbours` refer to users."""

    COLLECTING, SWEEPING = 32, 16

    def __init__(self, model: Model, arena: Arena, users: Vocabulary, items: Vocabulary) -> None:
        super().__init__(users, arena)
        self._model = model
        self._items = items

    def last_use(self, rows: slice) -> NDArray[np.float64]:
        """Return the timestamp of each one's last choice, of those that are remembered."""
        h = self._model.histories
        users = slice(rows.start, min(rows.stop, len(self.vocabulary)), rows.step)
        return np.where(h.held[users] > 0, h.last_ms[users], NEVER)

    def forget(self, rows: NDArray[np.int64], seq: int) -> None:
        """Give their cells back first."""
        give_back_rows(self._model.consumed, self._model.impressions, rows)
        forget_words(self._model.said, rows)
        super().forget(rows, seq)

    def sweep(self, part: int, seq: int) -> None:
        """Go through the rings of a part of the items."""
        sweep_rings(self._model.neighbours, self._model.limbo.user, *share(self._items, part, self.SWEEPING))

    def mark(self, rows: NDArray[np.int64], in_limbo: bool) -> None:
        """Mark users."""
        self._model.limbo.user[rows] = in_limbo


class ItemTurnover(Turnover):
    """Items: those whose decayed count is the least go first."""

    COLLECTING, SWEEPING = 4, 64  # each part that forgets waits for the block of the interest vectors under way

    def __init__(
        self,
        model: Model,
        arena: Arena,
        users: Vocabulary,
        items: Vocabulary,
        item_ids: JsonIds,
        trainers: Trainers,
        *,
        longest_row: int,
    ) -> None:
        super().__init__(items, arena)
        self._model = model
        self._users = users
        self._item_ids = item_ids
        self._trainers = trainers
        self._spare = np.zeros(longest_row, np.int32)
        self._count = next((at for at, events in enumerate(HALF_LIVES_EVENTS) if events <= items.capacity), H40)

    def last_use(self, rows: slice) -> NDArray[np.float64]:
        """Return the event at which each one's count of the longest half-life within the cap is down to 1."""
        found = np.zeros(len(range(*rows.indices(len(self.vocabulary)))))
        when_down_to_one(self._model.popularity, self._count, rows.start, rows.step or 1, found)
        return found

    def forget(self, rows: NDArray[np.int64], seq: int) -> None:
        """Give their cells back, and mend what holds items of all rows together, which is short."""
        m = self._model
        # the block under way would write their vectors back; whoever loads a snapshot could not train it the same
        self._trainers.settle()
        self._item_ids.catch_up()  # lists not yet written may hold them
        give_back_edges_of(m.covisitation, rows)
        forget_content(m.content, m.popularity, rows)
        if len(m.prices.price):
            forget_prices(m.prices, rows)
        m.popularity.seen[ALL_TIME] -= np.count_nonzero(m.popularity.facts[rows, EVENTS])
        m.popularity.board_dirty[ALL_TIME] = 1
        super().forget(rows, seq)
        mend_boards(m.popularity, len(self.vocabulary), seq)
        drop_chosen(m.recency, m.limbo.item)
        self._trainers.forget(m.limbo.item)

    def sweep(self, part: int, seq: int) -> None:
        """Go through a part of the users' rows and of what was said, and through the edges of a part of the items."""
        m, gone = self._model, self._model.limbo.item
        first, last = share(self._users, part, self.SWEEPING)
        sweep_users(m.histories, m.consumed, m.dismissals, m.bought, m.impressions, gone, self._spare, first, last)
        drop_near(m.said, gone, *share_of(len(m.said.user), part, self.SWEEPING))
        sweep_edges(m.covisitation, gone, *share(self.vocabulary, part, self.SWEEPING), seq // TICK)

    def release(self) -> None:
        """Let lists that hold rows be written with the ids that they had."""
        self._item_ids.settle()
        self._item_ids.catch_up()
        super().release()

    def mark(self, rows: NDArray[np.int64], in_limbo: bool) -> None:
        """Mark items, and count them."""
        limbo = self._model.limbo
        limbo.item[rows] = in_limbo
        limbo.items[0] = np.count_nonzero(limbo.item)


@entry
def give_back_rows(c: Consumed, im: Impressions, users: NDArray[np.int64]) -> None:
    """Give the cells of what `users` consumed and were shown back to their slabs."""
    for at in range(len(users)):
        give_back_consumed(c, users[at])
        give_back_shown(im, users[at])


@entry
def give_back_edges_of(c: Covisitation, items: NDArray[np.int64]) -> None:
    """Give the co-visitation rows of `items` back to the slab."""
    for at in range(len(items)):
        give_back_edges(c, items[at])


@entry
def sweep_rings(v: Neighbours, gone: NDArray[np.bool_], first: int, last: int) -> None:
    """Take users that are `gone` out of the rings of the items `first` … `last` - 1."""
    for item in range(first, last):
        drop_users(v, gone, item)


@entry
def sweep_users(
    h: Histories,
    c: Consumed,
    d: Dismissals,
    b: Bought,
    im: Impressions,
    gone: NDArray[np.bool_],
    spare: NDArray[np.int32],
    first: int,
    last: int,
) -> None:
    """Take items that are `gone` out of all that the users `first` … `last` - 1 remember."""
    for user in range(first, last):
        drop_items(h, gone, user)
        drop_consumed(c, gone, user, spare)
        drop_dismissed(d, gone, user)
        drop_bought(b, gone, user)
        drop_shown(im, gone, user)


@entry
def sweep_edges(c: Covisitation, gone: NDArray[np.bool_], first: int, last: int, tick: int) -> None:
    """Take edges to items that are `gone` out of the rows of the items `first` … `last` - 1."""
    for item in range(first, last):
        drop_edges(c, gone, item, tick)
