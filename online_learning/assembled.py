"""The model's parts, each declared in one arena: the one place that knows them all. A new part is a line here."""

from __future__ import annotations

from .adapter import adapter
from .arena import Arena
from .availability import availability
from .blend import blend
from .bought import bought
from .categories import categories
from .config import BUY, LearningConfig
from .consumed import consumed
from .content import content
from .covisitation import covisitation
from .dismissals import dismissals
from .histories import histories
from .impressions import impressions
from .influence import influence
from .interest import interest
from .limbo import limbo
from .neighbours import neighbours
from .occasion import occasion
from .popularity import popularity
from .prices import prices
from .ranking import Model
from .ratings import ratings
from .recency import recency
from .said import said
from .session import Session, session
from .starting_weights import starting_weights
from .vocabulary import Vocabulary


def assembled(config: LearningConfig, arena: Arena, users: Vocabulary, items: Vocabulary, names: Vocabulary) -> Model:
    """Return a model that knows nothing yet; `names` are the categories'."""
    buying, none = BUY in config.lists, Vocabulary("none", 0)
    return Model(
        histories=histories(arena, users, config.history_length),
        consumed=consumed(
            arena,
            users,
            row_cells=config.max_consumed,
            cells_per_user=config.consumed_per_user if config.exclude_consumed else 0,
        ),
        popularity=popularity(arena, items),
        occasion=occasion(arena, items),
        recency=recency(arena),
        covisitation=covisitation(
            arena, items, row_cells=config.max_neighbours, cells_per_item=config.neighbours_per_item
        ),
        neighbours=neighbours(arena, items),
        categories=categories(arena, items, names),
        availability=availability(arena, items),
        ratings=ratings(arena, users, config.rating_slope),
        influence=influence(arena, users, config),
        interest=interest(arena, items, users),
        adapter=adapter(arena, items),
        content=content(arena, items),
        said=said(arena, users, config.max_speakers),
        session=_session(config, arena, items),
        dismissals=dismissals(arena, users),
        bought=bought(arena, users, config.kept_off_s, kept=bool(config.kept_off_kinds)),
        impressions=impressions(arena, users, config.shown_kept_off_s),
        blend=blend(arena, items, starting_weights()),
        buy=blend(arena if buying else Arena(), items if buying else none, starting_weights(), BUY),
        prices=prices(arena if buying else Arena(), items if buying else none),
        limbo=limbo(config.max_users, config.max_items),
    )


def _session(config: LearningConfig, arena: Arena, items: Vocabulary) -> Session:
    if not config.session_transformer:
        return session(Arena(), Vocabulary("none", 0))
    from .session_loss import accelerator  # torch takes seconds to load

    return session(arena, items, apart=accelerator() is not None)
