"""What users said: words in force shift what a user likes, and fade.

An utterance brings q, a content vector of length 1. While it is in force, `s_j += W e q · (c_j - μ)` for every item
that has content (`content`): the user's place among the items, moved towards what they asked for. e begins at 1 and
fades with time and with every choice since, since what people choose says more than what they once said:

`e = 2^(-Δt / half-life) · FADE^choices`, 0 below `LEAST`

Words that come while others are in force go on from them, `q = q_new + e q_old`. What they are after decides how far
and how long they reach: one thing by its name far and briefly, a mood less and for longer.

The items most like q are looked for once, when it is said, and are on the user's shortlist for as long as it is in
force: so also what they never came near is found. This reads the content of every item, 27 ns each.

Like a dismissal it is what the user said, not something to be inferred: the blend neither learns it nor weighs it.
Source: Rocchio 1971, "Relevance feedback in information retrieval", where the query itself is what is moved.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from millstream.schemas.item_vectors import CONTENT
from millstream.schemas.utterances import Intent

from .arena import Arena
from .availability import Availability
from .compiled import entry, kernel
from .content import ZERO, Content, Liking, likeness, look, mean_content
from .decay import decay
from .heap import offer
from .histories import Histories
from .vocabulary import Vocabulary

NEAR = 48
"""Items most like an utterance that are kept with it."""
WISH = 2
"""The row of a `Liking` for what was said."""
WEIGHT = np.zeros(len(Intent), np.float32)
WEIGHT[Intent.explore], WEIGHT[Intent.category], WEIGHT[Intent.find] = 12.0, 16.0, 20.0
"""W, by intent: so many is what a perfect match adds to a score, which is a log-odds."""
HALF_LIFE_MS = np.zeros(len(Intent), np.int64)
HALF_LIFE_MS[Intent.explore], HALF_LIFE_MS[Intent.category], HALF_LIFE_MS[Intent.find] = 3_600_000, 1_800_000, 600_000
FADE = np.float32(0.8)
LEAST = np.float32(0.05)


class Said(NamedTuple):
    """By user, and by place among the last who said something. Written by `hear`, and as users and items go."""

    place: NDArray[np.int32]
    """The user's place in the arrays below plus 1, 0 for none; shape (users + 1,), the last is nobody's."""
    place_dirty: NDArray[np.uint8]
    coded: NDArray[np.int8]
    """q, shape (places, CONTENT)."""
    scale: NDArray[np.float32]
    """What `coded` is to be multiplied by, shape (places,)."""
    user: NDArray[np.int32]
    """Whose words these are, plus 1; shape (places,)."""
    ts_ms: NDArray[np.int64]
    """When they were said, shape (places,)."""
    choices: NDArray[np.int64]
    """How many choices the user had made by then, shape (places,)."""
    intent: NDArray[np.int8]
    near: NDArray[np.int32]
    """Item rows plus 1, in no order, 0 for none; shape (places, NEAR)."""
    dirty: NDArray[np.uint8]
    taken: NDArray[np.int64]
    """How often a place was taken, shape (1,); the next is that modulo their number."""
    taken_dirty: NDArray[np.uint8]


def said(arena: Arena, users: Vocabulary, places: int) -> Said:
    """Declare what was said: nothing, at first. Of more than `places` users, who spoke longest ago gives way."""
    by_user = arena.table("said", users.capacity + 1, lambda: len(users), of=users.name, later=True)
    count = arena.table("said_taken", 1, lambda: 1, later=True)
    taken = count.array("taken", np.int64)
    words = arena.table("said_words", places, lambda: min(int(taken[0]), places), later=True)
    return Said(
        place=by_user.array("place", np.int32),
        place_dirty=by_user.dirty,
        coded=words.array("coded", np.int8, CONTENT),
        scale=words.array("scale", np.float32),
        user=words.array("user", np.int32),
        ts_ms=words.array("ts_ms", np.int64),
        choices=words.array("choices", np.int64),
        intent=words.array("intent", np.int8),
        near=words.array("near", np.int32, NEAR),
        dirty=words.dirty,
        taken=taken,
        taken_dirty=count.dirty,
    )


@entry
def hear(
    s: Said,
    c: Content,
    h: Histories,
    a: Availability,
    user: int,
    coded: NDArray[np.int8],
    scale: np.float32,
    intent: int,
    ts_ms: int,
    items: int,
    w: Liking,
    heap: NDArray[np.int32],
    key: NDArray[np.float32],
) -> None:
    """Let the user's words be in force from `ts_ms` on; late ones, said before those that are, change nothing.

    `items` is how many item rows are given out; `heap` and `key` are working memory of NEAR elements each.
    """
    at = s.place[user] - 1
    left = ZERO
    if at >= 0:
        if ts_ms < s.ts_ms[at]:
            return
        left = in_force(s, h, user, ts_ms)
    for k in range(CONTENT):
        w.sum[k] = scale * np.float32(coded[k])
    if left > ZERO:
        for k in range(CONTENT):
            w.sum[k] += left * s.scale[at] * np.float32(s.coded[at, k])
    if at >= 0:  # whoever spoke last has the newest place
        s.user[at] = 0
        s.dirty[at] = 1
    at = s.taken[0] % len(s.user)
    s.taken[0] += 1
    s.taken_dirty[0] = 1
    before = s.user[at] - 1
    if before >= 0 and s.place[before] == at + 1:
        s.place[before] = 0
        s.place_dirty[before] = 1
    s.place[user] = at + 1
    s.place_dirty[user] = 1
    s.user[at] = user + 1
    s.ts_ms[at] = ts_ms
    s.choices[at] = h.events[user]
    s.intent[at] = intent
    _keep(s, at, w)
    _find_near(s, c, a, at, items, w, heap, key)
    s.dirty[at] = 1


@kernel
def _keep(s: Said, at: int, w: Liking) -> None:
    """Write `w.sum` at length 1 as the words of a place."""
    square, largest = ZERO, ZERO
    for k in range(CONTENT):
        square += w.sum[k] * w.sum[k]
        largest = max(largest, abs(w.sum[k]))
    if largest == ZERO:
        s.scale[at] = ZERO
        return
    step = largest / np.float32(127.0)
    s.scale[at] = step / np.sqrt(square)
    for k in range(CONTENT):
        s.coded[at, k] = np.int8(np.rint(w.sum[k] / step))


@kernel
def _find_near(
    s: Said,
    c: Content,
    a: Availability,
    at: int,
    items: int,
    w: Liking,
    heap: NDArray[np.int32],
    key: NDArray[np.float32],
) -> None:
    s.near[at, :] = 0
    w.scale[WISH] = ZERO
    if c.items[0] == 0 or s.scale[at] == ZERO:
        return
    mean_content(c, w)
    _look_for(s, at, w)
    held = 0
    for item in range(items):
        if c.scale[item] > ZERO and not a.off[item]:
            held = offer(heap, key, held, NEAR, item, likeness(c, item, w, WISH))
    for k in range(held):
        s.near[at, k] = heap[k] + 1


@kernel
def _look_for(s: Said, at: int, w: Liking) -> None:
    for k in range(CONTENT):
        w.sum[k] = s.scale[at] * np.float32(s.coded[at, k])
    look(w, WISH)


@kernel
def in_force(s: Said, h: Histories, user: int, now_ms: int) -> np.float32:
    """Return e of the user's words as of `now_ms`, 0 where they said nothing or it has faded."""
    at = s.place[user] - 1
    if at < 0 or s.scale[at] == ZERO:
        return ZERO
    e = decay(float(now_ms - s.ts_ms[at]), float(HALF_LIFE_MS[s.intent[at]]))
    for _ in range(min(16, h.events[user] - s.choices[at])):
        e *= FADE
    return e if e >= LEAST else ZERO


@kernel
def wish(s: Said, c: Content, h: Histories, user: int, now_ms: int, w: Liking) -> None:
    """Write what the user asked for into `w`, after `like`: `w.wished` is W e, 0 where there is none."""
    w.wished[0] = ZERO
    if c.items[0] == 0:
        return
    e = in_force(s, h, user, now_ms)
    if e > ZERO:
        at = s.place[user] - 1
        mean_content(c, w)
        _look_for(s, at, w)
        w.wished[0] = WEIGHT[s.intent[at]] * e


@kernel
def lift(c: Content, w: Liking, items: NDArray[np.int32], n: int, scores: NDArray[np.float32]) -> None:
    """Add to the scores of `items[:n]` what the user's words add, after `wish`."""
    if w.wished[0] > ZERO:
        for k in range(n):
            scores[k] += lifted(c, w, items[k])


@kernel
def lifted(c: Content, w: Liking, item: int) -> np.float32:
    """Return what the user's words add to the score of `item`, below 0 for what is less like them than any."""
    if w.wished[0] > ZERO and c.scale[item] > ZERO:
        return np.float32(w.wished[0] * likeness(c, item, w, WISH))
    return ZERO


@kernel
def adopt_words(s: Said, h: Histories, old: int, user: int) -> None:
    """Let the words of the user `old` be the other's, where these said nothing later; before their histories are one.

    The row of `old` is to be cleared.
    """
    at, own = s.place[old] - 1, s.place[user] - 1
    if own >= 0 and (at < 0 or s.ts_ms[own] > s.ts_ms[at]):
        s.choices[own] += h.events[old]
        s.dirty[own] = 1
        return
    if at < 0:
        return
    if own >= 0:
        s.user[own] = 0
        s.dirty[own] = 1
    s.user[at] = user + 1
    s.choices[at] += h.events[user]
    s.dirty[at] = 1
    s.place[user] = at + 1
    s.place_dirty[user] = 1


@entry
def forget_words(s: Said, users: NDArray[np.int64]) -> None:
    """Forget what `users` said; their rows of `place` are cleared with all others of theirs."""
    for at in range(len(users)):
        words = s.place[users[at]] - 1
        if words >= 0:
            s.user[words] = 0
            s.dirty[words] = 1


@entry
def drop_near(s: Said, gone: NDArray[np.bool_], first: int, last: int) -> None:
    """Take items that are `gone`, shape (items,), out of what is near the words of places `first` … `last` - 1."""
    for at in range(first, last):
        for k in range(NEAR):
            if s.near[at, k] > 0 and gone[s.near[at, k] - 1]:
                s.near[at, k] = 0
                s.dirty[at] = 1
