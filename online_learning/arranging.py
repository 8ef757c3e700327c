"""From scores to places: the best first, or the best that are not all alike, some of them put there by chance.

Both act where a list is made, so learning goes on from the scores alone. Off by default.

- Diversity: maximal marginal relevance (Carbonell and Goldstein 1998), greedy. Each next place goes to the highest
  `s_j − λ · max cos(v_j, v_c)` over the c chosen before it, v the interest vectors, none below 0; λ is in units of
  the score, a log-odds. The published score is that value.
- Exploration: each place but the first is, with probability ε, given to an item drawn evenly from the reserve: those
  that came next. How likely chance was to put each item where it stands is published with it (`propensity`): ε shared
  by the reserve, 1 − ε for what chance let stand. Chance is a function of the user, of how many choices they have made,
  and of the place: the same list made again is the same list.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel
from .config import LearningConfig
from .interest import Interest, inner
from .scratch import CAP, Scratch
from .signal import ALIKE

RESERVE = 2
"""Items that may come on a list by diversity or chance, in lists: those that come next by score."""
ZERO = np.float32(0.0)


class Arrangement(NamedTuple):
    """Settings, and the working memory of one thread."""

    diversity: NDArray[np.float32]
    """λ, shape (1,)."""
    exploration: NDArray[np.float32]
    """ε, shape (1,)."""
    places: NDArray[np.int64]
    """How many places a list has, shape (1,)."""
    order: NDArray[np.int32]
    """Places of the shortlist, best first, and behind the list's those in reserve; shape (1 + RESERVE lists,)."""
    alike: NDArray[np.float32]
    """By place of the list: what being like another takes from its item's score, shape (as `order`,)."""
    as_one: NDArray[np.int32]
    """That other one, an item row, or -1; shape (as `order`,)."""
    by_chance: NDArray[np.float32]
    """By place of the list: the propensity, NaN where no chance was involved; shape (as `order`,)."""
    length: NDArray[np.float32]
    """Of the vectors, by place of the shortlist, shape (CAP,)."""


def arrangement(config: LearningConfig) -> Arrangement:
    """Reserve the working memory of one thread."""
    places = config.list_length
    most = min(CAP, (1 + RESERVE) * places) if config.diversity or config.exploration else places
    return Arrangement(
        diversity=np.array([config.diversity], np.float32),
        exploration=np.array([config.exploration], np.float32),
        places=np.array([places], np.int64),
        order=np.zeros(most, np.int32),
        alike=np.zeros(most, np.float32),
        as_one=np.full(most, -1, np.int32),
        by_chance=np.full(most, np.nan, np.float32),
        length=np.zeros(CAP, np.float32),
    )


@kernel
def arrange(a: Arrangement, s: Scratch, v: Interest, scores: NDArray[np.float32], n: int, chance: int) -> int:
    """Put the shortlist's places in `a.order`, in the order of the list, best first; return how many it holds.

    `chance` is a number of the user's occasion.
    """
    found = _best(a, s, scores, n)
    held = int(min(found, a.places[0]))
    if a.diversity[0] > ZERO:
        _spread(a, s, v, scores, found, held)
    if a.exploration[0] > ZERO:
        _explore(a, found, held, chance)
    return held


@kernel
def arranges(a: Arrangement) -> bool:
    """Tell whether lists are anything but the best first."""
    return bool(a.diversity[0] > ZERO or a.exploration[0] > ZERO)


@kernel
def arranged(
    a: Arrangement,
    place: int,
    score: NDArray[np.float32],
    parts: NDArray[np.float32],
    evidence: NDArray[np.int32],
    propensity: NDArray[np.float32],
    row: int,
) -> None:
    """Say of a place of a list that was just written what was done to it: to its score, and how likely it was.

    The arrays are those of `kernel.Lists`.
    """
    score[row, place] -= a.alike[place]
    parts[row, place, ALIKE] = -a.alike[place]
    evidence[row, place, ALIKE] = a.as_one[place]
    propensity[row, place] = a.by_chance[place]


@kernel
def _best(a: Arrangement, s: Scratch, scores: NDArray[np.float32], n: int) -> int:
    """Write into `a.order` the places of the highest scores of the first `n`, best first; return how many."""
    held = 0
    for k in range(n):
        at = held
        while at > 0 and _before(s, scores, k, a.order[at - 1]):
            at -= 1
        if at == len(a.order):
            continue
        held = min(held + 1, len(a.order))
        for later in range(held - 1, at, -1):
            a.order[later] = a.order[later - 1]
        a.order[at] = k
    return held


@kernel
def _before(s: Scratch, scores: NDArray[np.float32], one: int, other: int) -> bool:
    """Tell whether shortlist place `one` goes before `other`: by score, ties by the lower row."""
    if scores[one] != scores[other]:
        return bool(scores[one] > scores[other])
    return bool(s.items[one] < s.items[other])


@kernel
def _spread(a: Arrangement, s: Scratch, v: Interest, scores: NDArray[np.float32], found: int, held: int) -> None:
    """Choose the list's items from the `found` best, one after the other, and put those left behind them."""
    for at in range(found):
        a.alike[at], a.as_one[at] = ZERO, -1
        a.length[a.order[at]] = np.sqrt(inner(v.vector[s.items[a.order[at]]], v.vector[s.items[a.order[at]]]))
    for place in range(held):
        best = place
        for at in range(place + 1, found):
            if scores[a.order[at]] - a.alike[at] > scores[a.order[best]] - a.alike[best]:
                best = at
        chosen, taken, as_one = a.order[best], a.alike[best], a.as_one[best]
        for at in range(best, place, -1):  # those left stay in order of their scores
            a.order[at], a.alike[at], a.as_one[at] = a.order[at - 1], a.alike[at - 1], a.as_one[at - 1]
        a.order[place], a.alike[place], a.as_one[place] = chosen, taken, as_one
        for at in range(place + 1, found):
            other = a.order[at]
            lengths = a.length[chosen] * a.length[other]
            if lengths > ZERO:
                lost = a.diversity[0] * inner(v.vector[s.items[chosen]], v.vector[s.items[other]]) / lengths
                if lost > a.alike[at]:
                    a.alike[at], a.as_one[at] = lost, s.items[chosen]


@kernel
def _explore(a: Arrangement, found: int, held: int, chance: int) -> None:
    """Give places of the list to items in reserve, by chance."""
    rate, reserve = a.exploration[0], found - held
    for place in range(held):
        a.by_chance[place] = np.float32(np.nan)
        if place > 0 and reserve > 0:
            if uniform(chance, 2 * place) < rate:
                at = held + int(uniform(chance, 2 * place + 1) * reserve)
                a.by_chance[place] = rate / np.float32(reserve)
                a.order[place], a.order[at] = a.order[at], a.order[place]
                a.alike[place], a.as_one[place] = ZERO, -1
            else:
                a.by_chance[place] = np.float32(1.0) - rate


@kernel
def uniform(chance: int, draw: int) -> np.float32:
    """Return the draw of that number in [0, 1) of an occasion: SplitMix64 (Steele, Lea and Flood 2014)."""
    z = np.uint64(chance) + np.uint64(draw + 1) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float32(z >> np.uint64(40)) * np.float32(2.0**-24)


@kernel
def occasion_of(user: int, choices: int) -> int:
    """Return a number for the user's occasion: another with each choice they make."""
    return int(np.uint64(user) * np.uint64(0xD1342543DE82EF95) + np.uint64(choices) * np.uint64(0x2545F4914F6CDD1D))
