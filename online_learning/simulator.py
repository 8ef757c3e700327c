"""Shoppers with a known truth: what tests, benches and `demo --simulate` learn from.

The generating model, so that a test can ask what a perfect recommender would know:

- A user's interests are a mixture of three topics: a lasting one, and two that cross-fade, so that over
  `interest_period_s` one interest gives way to the next.
- A session holds one topic, drawn from the mixture. The next click is, with probability `follow`, one of the last
  item's companions; else an item of the session's topic (or, with probability `wander`, of any interest), drawn by
  its popularity of the moment: skewed, with late arrivals and trends.
- A click may put the item in the cart, the more likely the greater the affinity; a cart may become a purchase.
  Both follow the click as the user's next events.

`concurrent_sessions` sessions are always running, their events interleaved; a user comes back after a gap.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from millstream.schemas.columns import InteractionColumns
from millstream.schemas.records import Item, Kind

from .simulated_catalogue import Catalogue, CatalogueConfig, hashed_uniform

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """What the simulated shop is like; times are of the simulated clock, which only events move."""

    seed: int = 1
    users: int = 100_000
    catalogue: CatalogueConfig = field(default_factory=CatalogueConfig)
    start_ms: int = 1_735_689_600_000
    event_step_ms: float = 50.0
    """Simulated time from one event to the next."""
    concurrent_sessions: int = 600
    """Sessions running at once: with the default, 1,000 events in a row come from some 500 users."""
    activity: float = 0.5
    """Chance that a running session acts in a round."""
    session_clicks: float = 8.0
    """Mean clicks of a session (geometric, at least 1)."""
    loyalty: float = 2.0
    """How unevenly users come back: a visitor is user floor(users * uniform ** loyalty)."""
    interest_period_s: float = 21_600.0
    lasting_interest: float = 0.3
    follow: float = 0.35
    wander: float = 0.1
    cart: float = 0.25
    """Chance that a click on an item of affinity 1 goes to the cart."""
    buy: float = 0.4
    """Chance that what is in the cart is bought."""


class Simulator:
    """An endless, seeded stream of events; how it is cut into calls of `events` does not change it.

    One owner: `events` moves the clock and the sessions. The truth accessors may be asked at any time between calls.
    """

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        config = config or SimulatorConfig()
        if not 0 < config.concurrent_sessions <= config.users // 2:
            raise ValueError(
                f"concurrent_sessions={config.concurrent_sessions}: needs 1 to half the users ({config.users // 2})"
            )
        self.config = config
        self.catalogue = Catalogue(config.catalogue, seed=config.seed, start_ms=config.start_ms)
        self._rng = np.random.Generator(np.random.PCG64(config.seed + 1))
        self._user_names = np.array([f"u{user}" for user in range(config.users)], dtype=object)
        self._item_names = np.array(self.catalogue.ids, dtype=object)
        self._made = 0  # events generated, also those not yet handed out
        self._given = 0
        self._waiting: list[tuple[Ints, Ints, NDArray[np.int8]]] = []  # (users, items, kinds) of whole rounds
        slots = config.concurrent_sessions
        self._user = np.full(slots, -1, np.int64)  # -1: no session here
        self._topic = np.zeros(slots, np.int64)
        self._last = np.full(slots, -1, np.int64)  # last item clicked in the session
        self._clicks_left = np.zeros(slots, np.int64)
        self._pending = np.full(slots, -1, np.int8)  # kind that follows the last click, -1: none
        self._busy = np.zeros(config.users, np.bool_)
        self._table_until_ms = -1
        # the non-zero topic weights, topic by topic
        self._entry_topics, self._entry_items = np.nonzero(self.catalogue.topic_vectors.T)
        self._entry_weights = self.catalogue.topic_vectors.T[self._entry_topics, self._entry_items]
        self._entry_starts = np.searchsorted(self._entry_topics, np.arange(config.catalogue.topics))
        self._begin_sessions(np.arange(slots))

    # --- the stream -------------------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        """Simulated time of the next event to be made (up to a round ahead of what was handed out)."""
        return self._time_ms(self._made)

    def events(self, n: int) -> InteractionColumns:
        """Return the next `n` events in time order; offsets count on from the first event ever made."""
        while self._made - self._given < n:
            self._round()
        parts = [np.concatenate(column) for column in zip(*self._waiting, strict=True)] if self._waiting else []
        users, items, kinds = parts if parts else (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int8))
        self._waiting = [(users[n:], items[n:], kinds[n:])] if len(users) > n else []
        offsets = np.arange(self._given, self._given + n, dtype=np.int64)
        self._given += n
        ts_ms = self.config.start_ms + (offsets * self.config.event_step_ms).astype(np.int64)
        return InteractionColumns(
            user_ids=self._user_names[users[:n]].tolist(),
            item_ids=self._item_names[items[:n]].tolist(),
            kinds=kinds[:n],
            ts_ms=ts_ms,
            values=np.where(kinds[:n] == Kind.purchase, self.catalogue.prices[items[:n]], np.nan),
            as_of_ms=ts_ms,
            offsets=offsets,
        )

    def _time_ms(self, event: int) -> int:
        return self.config.start_ms + int(event * self.config.event_step_ms)

    def _round(self) -> None:
        """Let each running session act with probability `activity`, in random order."""
        config, rng, now_ms = self.config, self._rng, self.now_ms
        self._refresh_tables(now_ms)
        acting = np.flatnonzero(rng.random(config.concurrent_sessions) < config.activity)
        acting = rng.permutation(acting)
        if not len(acting):
            return
        pending = self._pending[acting]
        clicking = acting[pending < 0]
        clicked = self._choose_items(clicking, now_ms)
        self._last[clicking] = clicked
        self._clicks_left[clicking] -= 1
        kinds = np.where(pending < 0, np.int8(Kind.click), pending).astype(np.int8)
        self._waiting.append((self._user[acting], self._last[acting], kinds))
        self._made += len(acting)

        chance = np.where(kinds == Kind.add_to_cart, config.buy, 0.0)
        affinity = self._affinity(self._user[clicking], clicked, now_ms)
        chance[pending < 0] = config.cart * affinity
        goes_on = rng.random(len(acting)) < chance
        following = np.where(kinds == Kind.click, np.int8(Kind.add_to_cart), np.int8(Kind.purchase))
        self._pending[acting] = np.where(goes_on, following, np.int8(-1))
        over = acting[(self._clicks_left[acting] <= 0) & (self._pending[acting] < 0)]
        self._begin_sessions(over)

    def _begin_sessions(self, slots: Ints) -> None:
        """Give `slots` new visitors, none of whom is in the shop already."""
        config, rng = self.config, self._rng
        leaving = self._user[slots]
        waiting = slots
        while len(waiting):
            drawn = (config.users * rng.random(len(waiting)) ** config.loyalty).astype(np.int64)
            _, first = np.unique(drawn, return_index=True)
            taken = np.zeros(len(waiting), np.bool_)
            taken[first] = ~self._busy[drawn[first]]
            self._user[waiting[taken]] = drawn[taken]
            self._busy[drawn[taken]] = True
            waiting = waiting[~taken]
        # freed only now: whoever left does not walk straight back in, so sessions have gaps between them
        self._busy[leaving[leaving >= 0]] = False
        self._topic[slots] = self._choose_topics(self._user[slots], self.now_ms)
        self._last[slots] = -1
        self._pending[slots] = -1
        self._clicks_left[slots] = rng.geometric(1.0 / config.session_clicks, len(slots))

    # --- choices ----------------------------------------------------------------------------------------------

    def _refresh_tables(self, at_ms: int) -> None:
        """Make the tables of item choice for the minute that holds `at_ms`; within it, popularity stands still."""
        if at_ms < self._table_until_ms:
            return
        first_ms = at_ms - (at_ms - self.config.start_ms) % 60_000
        self._table_until_ms = first_ms + 60_000
        self._present = self.catalogue.present(first_ms)
        self._popularity = self.catalogue.popularity(first_ms)
        shares = self._entry_weights * self._popularity[self._entry_items]
        sums = np.add.reduceat(shares, self._entry_starts)
        reach = np.cumsum(shares)
        before = reach[self._entry_starts] - shares[self._entry_starts]
        # one rising array, topic t's entries reaching from t to t + 1, so that one search serves events of every topic
        topics = self._entry_topics
        self._reach = (reach - before[topics]) / sums[topics] + topics

    def _draw_items(self, topics: Ints) -> Ints:
        places = np.searchsorted(self._reach, topics + self._rng.random(len(topics)), side="right")
        last = np.append(self._entry_starts[1:], len(self._reach))[topics] - 1  # rounding may reach past a topic's end
        return self._entry_items[np.clip(places, self._entry_starts[topics], last)]

    def _item_shares(self, topics: Ints) -> Floats:
        """Return how item choice in each of `topics` is spread now; shape (len(topics), items), rows sum to 1."""
        shares = self.catalogue.topic_vectors[:, topics].T * self._popularity
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))

    def _choose_items(self, slots: Ints, at_ms: int) -> Ints:
        config, rng = self.config, self._rng
        wandering = rng.random(len(slots)) < config.wander
        topics = np.where(wandering, self._choose_topics(self._user[slots], at_ms), self._topic[slots])
        drawn = self._draw_items(topics)
        last = self._last[slots]
        companion = self.catalogue.companions[last, rng.integers(0, config.catalogue.companions, len(slots))]
        following = (rng.random(len(slots)) < config.follow) & (last >= 0) & self._present[companion]
        return np.where(following, companion, drawn)

    def _choose_topics(self, users: Ints, at_ms: int) -> Ints:
        topics, weights = self._interests(users, at_ms)
        place = (self._rng.random(len(users))[:, None] > np.cumsum(weights, axis=1)).sum(axis=1)
        return np.asarray(topics[np.arange(len(users)), np.minimum(place, 2)])

    def _interests(self, users: Ints, at_ms: int) -> tuple[Ints, Floats]:
        """Return each user's three topics and their weights, both of shape (n, 3); weights sum to 1."""
        config = self.config
        phase = hashed_uniform(config.seed, 2, users)
        clock = (at_ms - config.start_ms) / (1000.0 * config.interest_period_s) + phase
        period = np.floor(clock).astype(np.int64)
        fade = clock - period
        draws = np.stack(
            [
                hashed_uniform(config.seed, 3, users),
                hashed_uniform(config.seed, 4, users, period),
                hashed_uniform(config.seed, 4, users, period + 1),
            ],
            axis=1,
        )
        topics = (draws**1.5 * config.catalogue.topics).astype(np.int64)  # some topics are commoner than others
        lasting = np.full(len(users), config.lasting_interest)
        weights = np.stack([lasting, (1 - lasting) * (1 - fade), (1 - lasting) * fade], axis=1)
        return topics, weights

    def _affinity(self, users: Ints, items: Ints, at_ms: int) -> Floats:
        topics, weights = self._interests(users, at_ms)
        return np.asarray((self.catalogue.topic_vectors[items[:, None], topics] * weights).sum(axis=1))

    # --- the truth --------------------------------------------------------------------------------------------

    def items(self) -> list[Item]:
        """Return the catalogue, also what is still to appear, with titles and categories."""
        return self.catalogue.describe()

    def interests(self, user_id: str, at_ms: int) -> Floats:
        """Return the user's true mixture over topics at `at_ms`; shape (topics,), sums to 1."""
        topics, weights = self._interests(np.array([self._user_row(user_id)]), at_ms)
        mixture = np.zeros(self.config.catalogue.topics)
        np.add.at(mixture, topics[0], weights[0])
        return mixture

    def affinity(self, user_id: str, item_id: str, at_ms: int) -> float:
        """Return how well the item suits the user at `at_ms`, 0 to 1: interests . topic vector."""
        return float(self.interests(user_id, at_ms) @ self.catalogue.topic_vectors[self.catalogue.row(item_id)])

    def next_click_probabilities(self, user_id: str) -> Floats:
        """Return the true distribution of the user's next click if it came now; shape (items,), sums to 1.

        For a user in the shop: given the session's topic and last item; otherwise: as the first click of a visit.
        Now means after every event handed out, so ask right after an `events` call that ended on a round
        (`settle` makes it so); a user whose cart or purchase is still to come counts as about to click.
        """
        config, now_ms = self.config, self.now_ms
        self._refresh_tables(now_ms)
        at_large = self.interests(user_id, now_ms) @ self._item_shares(np.arange(config.catalogue.topics))
        found = np.flatnonzero(self._user == self._user_row(user_id))
        if not len(found):
            return np.asarray(at_large)
        slot = found[0]
        drawn = config.wander * at_large + (1 - config.wander) * self._item_shares(self._topic[slot : slot + 1])[0]
        last = self._last[slot]
        if last < 0:
            return np.asarray(drawn)
        companions = self.catalogue.companions[last]
        companions = companions[self._present[companions]]
        each = config.follow / config.catalogue.companions
        probabilities = (1 - each * len(companions)) * drawn
        probabilities[companions] += each
        return np.asarray(probabilities)

    def settle(self) -> InteractionColumns:
        """Return the rest of the round under way (at most one event a session), so that the truth is of now."""
        return self.events(self._made - self._given)

    def _user_row(self, user_id: str) -> int:
        row = int(user_id[1:]) if user_id[1:].isdecimal() else -1
        if not (user_id.startswith("u") and 0 <= row < self.config.users):
            raise KeyError(f"{user_id!r}: simulated users are u0 … u{self.config.users - 1}")
        return row
