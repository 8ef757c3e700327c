"""A simulated shop whose visitors are shown the pipeline's own lists, and look at the first places more than the last.

A page shows ten items. A visitor looks at the place p with probability `LOOKED_AT[p]`, whatever stands there, and
chooses one of the items, each the likelier the better it suits them and the more its place is looked at, or goes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from millstream.online_learning.simulated_catalogue import CatalogueConfig
from millstream.online_learning.simulator import Simulator, SimulatorConfig
from millstream.online_learning.step import INTERACTIONS, Step
from millstream.schemas.columns import Chunk, InteractionColumns
from millstream.schemas.records import Kind
from millstream.schemas.slate_places import slate_hash

PLACES = 10
LOOKED_AT = 1.0 / (1.0 + np.arange(PLACES))
"""As often as the first place."""
GOES = 0.3
"""Share of pages on which nothing is chosen."""
SHUFFLED = 0.2
"""Share of pages whose items stand in random order."""
TASTE = 4.0
"""An item of affinity 1 is e^4 times as likely to be chosen as one of affinity 0."""
USERS, ITEMS = 200, 150


class Pages:
    """Shows pages to visitors, and lets a step learn what they do there. `told` off: nobody hears of what was shown."""

    def __init__(self, step: Step, *, told: bool = True, seed: int = 1) -> None:
        catalogue = CatalogueConfig(items=ITEMS, topics=6, new_item_every_s=1e9)
        self.shop = Simulator(
            SimulatorConfig(seed=seed, users=USERS, catalogue=catalogue, concurrent_sessions=40, event_step_ms=5_000.0)
        )
        self.step = step
        self._told = told
        self._rng = np.random.default_rng(seed)
        self._pages = 0

    def warm_up(self, events: int) -> None:
        """Let the step learn what visitors do without pages."""
        columns = self.shop.events(events)
        self.step.apply(Chunk(INTERACTIONS, 0, 0, events, columns), lists=False)

    def show(self, pages: int) -> None:
        """Show so many pages, one after the other, each to a visitor who was here before."""
        for _ in range(pages):
            user = self.step.users.ids[int(self._rng.integers(len(self.step.users)))]
            items = [item.item_id for item in self.step.relist([user]).slates(0)[0].items][:PLACES]
            if self._rng.random() < SHUFFLED:
                items = self._rng.permutation(np.array(items)).tolist()
            self._learn(user, items, self._choice(user, items))

    def affinity(self, user: str, items: list[str]) -> list[float]:
        """Return how well items suit a visitor now, 0 to 1."""
        return [self.shop.affinity(user, item, self.step.last_ms) for item in items]

    def worth(self) -> float:
        """Return how well the first five items of every visitor's list suit them, on average."""
        slates = self.step.relist(self.step.users.ids).slates(0)
        return float(
            np.mean([np.mean(self.affinity(each.user_id, [i.item_id for i in each.items[:5]])) for each in slates])
        )

    def _choice(self, user: str, items: list[str]) -> int | None:
        if self._rng.random() < GOES:
            return None
        wanted = LOOKED_AT[: len(items)] * np.exp(TASTE * np.array(self.affinity(user, items)))
        return int(self._rng.choice(len(items), p=wanted / wanted.sum()))

    def _learn(self, user: str, items: list[str], choice: int | None) -> None:
        self._pages += 1
        shown = list(enumerate(items)) if self._told else []
        events = [(item, Kind.impression, slot) for slot, item in shown]
        if choice is not None:
            events.append((items[choice], Kind.click, -1))
        if not events:
            return
        n, start = len(events), self.step.positions[INTERACTIONS, 0]
        at_ms = self.step.last_ms + 1_000 + np.zeros(n, np.int64)
        columns = InteractionColumns(
            user_ids=[user] * n,
            item_ids=[item for item, _, _ in events],
            kinds=np.array([kind for _, kind, _ in events], np.int8),
            ts_ms=at_ms,
            values=np.full(n, np.nan),
            as_of_ms=at_ms,
            offsets=np.arange(start, start + n),
            slates=np.full(n, slate_hash(self._pages), np.uint32),
            slots=np.array([slot for _, _, slot in events], np.int16),
        )
        if not self._told:
            columns = replace(columns, slates=None, slots=None)
        self.step.apply(Chunk(INTERACTIONS, 0, start, start + n, columns), lists=False)
