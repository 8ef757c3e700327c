"""The simulator's catalogue: items with topics, skewed popularity, late arrivals, and trends that surge and fade.

Everything here is a pure function of the seed and the time asked about, so the truth at any moment can be asked for
without having recorded it. Chance comes from `hashed_uniform`: no generator state is involved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millstream.schemas.records import Item

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TOPICS = (
    "tea", "coffee", "garden", "lamps", "chairs", "knives", "boots", "coats", "novels", "maps", "radios", "cameras",
    "bicycles", "tents", "skis", "guitars", "puzzles", "kites", "candles", "soaps", "quilts", "clocks", "paints",
    "pens",
)  # fmt: skip
_MATERIALS = ("Walnut", "Copper", "Linen", "Slate", "Birch", "Brass", "Wool", "Cedar", "Clay", "Ash", "Cork", "Tin")
_ALL_AT_ONCE = 5_000
"""Items of one topic up to which their companions are drawn from a whole matrix: 200 MB."""
_MANNERS = ("Plain", "Folding", "Little", "Tall", "Quiet", "Bright", "Travel", "Winter", "Double", "First", "Old")


def hashed_uniform(seed: int, stream: int, *keys: Ints | int) -> Floats:
    """Return numbers in [0, 1) that depend on seed, stream and keys alone; keys broadcast, and so is the shape.

    Source: Steele, Lea and Flood 2014 (SplitMix64's finaliser), chained over the keys.
    """
    with np.errstate(over="ignore"):  # wrapping at 64 bits is the point
        mixed = _mix(np.asarray(seed * 64 + stream).astype(np.uint64))
        for key in keys:
            mixed = _mix(mixed ^ (np.asarray(key).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)))
    return np.asarray((mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(bits ^ (bits >> np.uint64(31)))


@dataclass(frozen=True, slots=True)
class CatalogueConfig:
    """Shape of the catalogue; times are of the simulated clock."""

    items: int = 20_000
    topics: int = 24
    popularity_exponent: float = 0.8
    """An item's base popularity is rank ** -exponent."""
    late_share: float = 0.2
    """Share of the items that are not there at the start but appear one by one."""
    new_item_every_s: float = 30.0
    trend_every_s: float = 600.0
    """A trend begins about this often; every new item also begins with one."""
    trend_half_life_s: float = 1_800.0
    trend_boost: float = 30.0
    """How many times its base popularity a trending item reaches at its peak."""
    companions: int = 4
    """Items of the same topic that tend to be looked at right after it."""


class Catalogue:
    """The items and what is true of them at a time. Immutable once built.

    `topic_vectors`: shape (items, topics), each row sums to 1: a main topic with .6 to 1, a second one with the rest.
    `companions`: item rows, shape (items, companions), never the item itself.
    """

    def __init__(self, config: CatalogueConfig, *, seed: int, start_ms: int) -> None:
        if config.topics > len(TOPICS) or config.topics < 2:
            raise ValueError(f"topics={config.topics}: the simulator has names for 2 to {len(TOPICS)}")
        if config.items < config.topics * (config.companions + 1):
            raise ValueError(f"items={config.items}: need at least {config.topics * (config.companions + 1)}")
        self.config = config
        self.seed = seed
        self.start_ms = start_ms
        rng = np.random.Generator(np.random.PCG64(seed))
        rows = np.arange(config.items)
        self.ids = [f"i{row}" for row in range(config.items)]
        self._row_of = {item_id: row for row, item_id in enumerate(self.ids)}
        # round robin: every topic has items however small the catalogue, and early ones too
        self.main_topic = rows % config.topics
        self._second_topic = (self.main_topic + rng.integers(1, config.topics, config.items)) % config.topics
        main_weight = rng.uniform(0.6, 1.0, config.items)
        self.topic_vectors = np.zeros((config.items, config.topics))
        self.topic_vectors[rows, self.main_topic] = main_weight
        self.topic_vectors[rows, self._second_topic] = 1.0 - main_weight
        self.base_popularity = (1.0 + rng.permutation(config.items)) ** -config.popularity_exponent
        self.prices = np.round(np.exp(rng.normal(3.0, 0.8, config.items)), 2)
        late = round(config.items * config.late_share)
        self.appears_ms = np.full(config.items, start_ms, np.int64)
        self.appears_ms[config.items - late :] += (np.arange(1, late + 1) * (1000.0 * config.new_item_every_s)).astype(
            np.int64
        )
        self.companions = self._choose_companions(rng)

    def _choose_companions(self, rng: np.random.Generator) -> Ints:
        """Draw each item's companions from its topic without replacement, by base popularity."""
        companions = np.empty((self.config.items, self.config.companions), np.int64)
        for topic in range(self.config.topics):
            members = np.flatnonzero(self.main_topic == topic)
            weights = self.base_popularity[members] / self.base_popularity[members].sum()
            draw = all_at_once if len(members) <= _ALL_AT_ONCE else one_by_one
            companions[members] = members[draw(rng, weights, self.config.companions)]
        return companions

    def row(self, item_id: str) -> int:
        """Return the item's row; raises KeyError for an id the simulator never uses."""
        return self._row_of[item_id]

    def present(self, at_ms: int) -> NDArray[np.bool_]:
        """Return which items have appeared by `at_ms`, shape (items,)."""
        return np.asarray(self.appears_ms <= at_ms)

    def popularity(self, at_ms: int) -> Floats:
        """Return every item's popularity at `at_ms`, trends included, 0 before it appears; shape (items,).

        A trend is x * e^(1 - x) times the boost, x = age / half-life: it surges within one half-life, then fades.
        """
        config = self.config
        every_ms, life_ms = 1000.0 * config.trend_every_s, 1000.0 * config.trend_half_life_s
        lift = np.zeros(config.items)
        newest = int((at_ms - self.start_ms) // every_ms)
        numbers = np.arange(max(0, newest - int(12 * life_ms // every_ms)), newest + 1)
        if len(numbers):
            trending = (hashed_uniform(self.seed, 1, numbers) * config.items).astype(np.int64)
            np.add.at(lift, trending, _surge((at_ms - self.start_ms - numbers * every_ms) / life_ms))
        arrived = (self.appears_ms > self.start_ms) & (self.appears_ms <= at_ms)
        lift[arrived] += _surge((at_ms - self.appears_ms[arrived]) / life_ms)
        return np.asarray(self.base_popularity * (1.0 + config.trend_boost * lift) * self.present(at_ms))

    def describe(self) -> list[Item]:
        """Return all items with titles and categories, also those still to appear: `updated_ms` is when each does."""
        items = []
        for row, item_id in enumerate(self.ids):
            main, second = TOPICS[self.main_topic[row]], TOPICS[self._second_topic[row]]
            manner, material = _MANNERS[row % len(_MANNERS)], _MATERIALS[(row // 7) % len(_MATERIALS)]
            items.append(
                Item(
                    item_id=item_id,
                    title=f"{manner} {material.lower()} {main} no. {row}",
                    categories=[main] if self.topic_vectors[row].max() > 0.9 else [main, second],
                    price=float(self.prices[row]),
                    updated_ms=int(self.appears_ms[row]),
                )
            )
        return items


def all_at_once(rng: np.random.Generator, weights: Floats, each: int) -> Ints:
    """Draw for every place `each` others by weight without replacement, in m · m numbers; shape (m, each).

    Source: the Gumbel top-k trick, Kool, van Hoof and Welling 2019.
    """
    keys = np.log(weights) + rng.gumbel(size=(len(weights), len(weights)))
    np.fill_diagonal(keys, -np.inf)
    return np.argpartition(-keys, each - 1, axis=1)[:, :each]


def one_by_one(rng: np.random.Generator, weights: Floats, each: int) -> Ints:
    """Draw by the law of `all_at_once`, with replacement, passing over what a place has already; for many places."""
    reach = np.cumsum(weights)
    drawn = np.full((len(weights), each), -1, np.int64)
    held = np.zeros(len(weights), np.int64)
    waiting = np.arange(len(weights))
    while len(waiting):
        found = np.searchsorted(reach, rng.random(len(waiting)) * reach[-1], side="right")
        new = (found != waiting) & ~(drawn[waiting] == found[:, None]).any(axis=1)
        drawn[waiting[new], held[waiting[new]]] = found[new]
        held[waiting[new]] += 1
        waiting = waiting[held[waiting] < each]
    return drawn


def _surge(lives: NDArray[np.floating[Any]]) -> Floats:
    return np.asarray(np.where(lives > 0, lives * np.exp(1.0 - np.maximum(lives, 0.0)), 0.0))
