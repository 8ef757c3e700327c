"""Prompts: what a context adds to the user's side of the interest vectors.

Each context has a small vector p, 0 at first and learned with the vectors (`interest_loss`), and a user's is

`u = (pooled history) + p_surface + p_session`

The surface is the one that the user's last event named, of the first `SURFACES` that are met; the session is the one
under way, a new one, or the first after a day or more. A list is made in the context that its user's last event left,
so that context is what a choice is learned in, too.
Source: Lester, Al-Rfou and Constant 2021, "The power of scale for parameter-efficient prompt tuning".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .compiled import inlined, kernel
from .histories import SESSION_GAP_MS
from .vocabulary import Vocabulary

SURFACES = 64
SESSIONS = 3
"""Under way | a new one within a day of the last | a new one after a day or more."""
PROMPTS = SURFACES + SESSIONS
_DAY_MS = 86_400_000


class Prompts(NamedTuple):
    """`vector` is written by the trainer of the interest vectors between two blocks, the rest by the kernels."""

    vector: NDArray[np.float32]
    """Of each surface, then of each kind of session; shape (PROMPTS, D)."""
    square: NDArray[np.float32]
    learned_dirty: NDArray[np.uint8]
    name: NDArray[np.uint32]
    """`schemas.surfaces.surface_hash` of each surface, in the order in which they were met, else 0; (SURFACES,)."""
    name_dirty: NDArray[np.uint8]
    surface: NDArray[np.uint8]
    """1 + the surface of the user's last event that named one, 0 for none; shape (users + 1,)."""
    dirty: NDArray[np.uint8]
    context: NDArray[np.uint8]
    """The surface, likewise, and the kind of session of each event of the two blocks; shape (2, BLOCK, 2)."""
    block_dirty: NDArray[np.uint8]


def prompts(arena: Arena, users: Vocabulary, width: int, block: int) -> Prompts:
    """Declare them for vectors of `width` elements and blocks of `block` events; all are 0."""
    learned = arena.table("interest_prompts", PROMPTS, lambda: PROMPTS, later=True)
    names = arena.table("surfaces", SURFACES, lambda: SURFACES, later=True)
    by_user = arena.table("surface", users.capacity + 1, lambda: len(users), of=users.name, later=True)
    blocks = arena.table("interest_contexts", 2, lambda: 2, later=True)
    return Prompts(
        vector=learned.array("vector", np.float32, width),
        square=learned.array("square", np.float32, width),
        learned_dirty=learned.dirty,
        name=names.array("name", np.uint32),
        name_dirty=names.dirty,
        surface=by_user.array("surface", np.uint8),
        dirty=by_user.dirty,
        context=blocks.array("context", np.uint8, block, 2),
        block_dirty=blocks.dirty,
    )


@kernel
def note_surface(p: Prompts, user: int, name: int) -> None:
    """Take in on which surface the user is now; one beyond the first `SURFACES` is none."""
    surface = 0
    for at in range(SURFACES):
        if p.name[at] == 0:
            p.name[at] = name
            p.name_dirty[at] = 1
        if p.name[at] == name:
            surface = at + 1
            break
    p.surface[user] = surface
    p.dirty[user] = 1


@inlined
def session_kind(gap_ms: int) -> int:
    """Return which kind of session it is so long after the user's last event."""
    if gap_ms <= SESSION_GAP_MS:
        return 0
    return 1 if gap_ms < _DAY_MS else 2


@kernel
def add_prompts(p: Prompts, user: int, gap_ms: int, out: NDArray[np.float32]) -> None:
    """Add what the user's context says, `gap_ms` after their last event, to `out`, shape (D,)."""
    surface, session = p.surface[user], SURFACES + session_kind(gap_ms)
    for k in range(len(out)):
        out[k] += p.vector[session, k]
    if surface > 0:
        for k in range(len(out)):
            out[k] += p.vector[surface - 1, k]


@kernel
def note_context(p: Prompts, at: int, user: int, gap_ms: int) -> None:
    """Keep the user's context, `gap_ms` after their last event, beside the event at `at` of the open block."""
    p.context[0, at, 0] = p.surface[user]
    p.context[0, at, 1] = session_kind(gap_ms)
    p.block_dirty[0] = 1


@kernel
def move_context(p: Prompts, at: int, to: int) -> None:
    """Let an event's context move up with it, from `at` to `to` of the open block."""
    p.context[0, to, 0] = p.context[0, at, 0]
    p.context[0, to, 1] = p.context[0, at, 1]
    p.block_dirty[0] = 1


@kernel
def take_surface(p: Prompts, old: int, user: int) -> None:
    """Let the user be where the other one, who signs in as them, was last."""
    if p.surface[old] > 0:
        p.surface[user] = p.surface[old]
        p.dirty[user] = 1
