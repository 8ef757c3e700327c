"""What the learner may be told: caps, half-lives, list length. Every default is the one all published figures use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

MOST_SHARED_REPEATS = 200
MAIN, BUY = "main", "buy"
"""Names of the lists that can be made of a user."""
CHOICES = ("click", "add_to_cart", "purchase", "like", "rating")
"""Kinds of events that choose their item."""

OF_LISTS_ALONE = ("diversity", "exploration", "kept_off_s", "shown_kept_off_s")
"""Settings that no state depends on, only the lists made of it."""


@dataclass(frozen=True, slots=True)
class LearningConfig:
    """Settings of the step. Two runs agree byte for byte only under equal settings, so snapshots record them."""

    lists: tuple[str, ...] = ("main",)
    """Lists made of each user: `main`, and `buy` if a second blend is to learn from purchases alone."""
    list_length: int = 20
    """Items on a published list."""
    diversity: float = 0.0
    """What an item loses, in score, that is as one above it on the list; one half alike loses half. 0: nothing does."""
    exploration: float = 0.0
    """Probability with which a place of a list, but the first, is given to an item drawn from those that come next."""
    exclude_consumed: bool = False
    """Whether items the user already interacted with are kept off lists (films: yes; groceries: no)."""
    kept_off_kinds: tuple[str, ...] = ()
    """Kinds of events whose items are kept off the user's lists from then on: `purchase` where nobody buys twice."""
    kept_off_s: int = 0
    """With `kept_off_kinds`: for so many seconds; 0: for good."""
    shown_kept_off_s: int = 0
    """Seconds for which what a user was shown is kept off the lists made of them; 0: it only sinks."""
    max_users: int = 1_000_000
    """Users kept; state for one is about 1.1 kB once its history is full. Beyond it, the longest away give way."""
    max_items: int = 200_000
    """Items kept; beyond it, those give way whose decayed count is the least."""
    max_speakers: int = 65_536
    """Users whose last words are kept, 0.6 kB each; beyond it, those give way who spoke longest ago."""
    max_categories: int = 256
    """Categories of items kept."""
    history_length: int = 50
    """Last distinct items kept for a user."""
    max_neighbours: int = 512
    """Co-visitation edges kept for one item at most; a power of two from 16 on."""
    neighbours_per_item: int = 64
    """Co-visitation edges kept an item on average, over `max_items`: the size of the slab."""
    max_consumed: int = 1024
    """With `exclude_consumed`: items of one user kept off the lists, the latest; a power of two from 16 on."""
    consumed_per_user: int = 32
    """With `exclude_consumed`: the same on average, over `max_users`."""
    dedupe_events: int = 100_000
    """Events with an id that one with the same id may follow and not count; 0: every one counts."""
    session_transformer: bool = False
    """Whether a transformer reads the order of a user's last events, beside the other parts."""
    first_trained: int = 8_192
    """Until so many events have trained the blend, one in four does at least: the first ones teach it most."""
    shared_repeats: int = 8
    """Choices of one item by one user, in weights, that count for other users at once, up to 200; 0: all."""
    shared_repeat_s: int = 4 * 3600
    """Seconds until one more of them counts."""
    shared_choices: int = 2_000
    """The same of all items of one user together; 0: all."""
    shared_choice_s: int = 60
    """Seconds until one more of them counts."""
    click_weight: float = 1.0
    """What a click adds to what is counted and learned; the other kinds' weights are in the same unit."""
    add_to_cart_weight: float = 2.0
    like_weight: float = 2.0
    purchase_weight: float = 3.0
    rating_weight: float = 1.0
    """What a rating adds that is its user's mean, or whose value or user's mean is not known."""
    rating_slope: float = 1.5
    """How much more a rating adds for each user's mean that it is above the mean, less below; 0: all alike."""


def plain(config: LearningConfig) -> dict[str, Any]:
    """Return the settings as JSON gives them back."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(config).items()}


def differences(config: LearningConfig, made_with: Mapping[str, Any]) -> list[str]:
    """Return in words which settings are others than those a state was made with.

    One that it had not is none, and one that only says how lists are made of it neither.
    """
    return [
        f"learning.{key} = {value!r}, was {made_with[key]!r}"
        for key, value in plain(config).items()
        if key not in OF_LISTS_ALONE and made_with.get(key, value) != value
    ]
