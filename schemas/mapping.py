"""How one input's field names and kinds map onto ours.

The commonest names need no mapping. A field named in `fields` goes by that name alone: an explicit mapping means what
it says, and a record that lacks it is rejected, never guessed at from a look-alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from .records import Interaction, Kind

OUR_FIELDS: tuple[str, ...] = Interaction.__struct_fields__

COMMON_NAMES: Mapping[str, tuple[str, ...]] = {
    "user_id": ("user_id", "user"),
    "item_id": ("item_id", "item"),
    "kind": ("kind", "type", "event"),
    "ts_ms": ("ts_ms", "ts", "timestamp"),
    "value": ("value", "rating"),
    "session_id": ("session_id", "session"),
}
"""Our field to the names it goes by, in the order they are looked for; a field not listed goes by its own name."""

COMMON_KINDS: Mapping[str, Kind] = {
    "view": Kind.click,
    "bookmark": Kind.like,
    "comment": Kind.like,
    "follow": Kind.like,
    "share": Kind.like,
    "cart": Kind.add_to_cart,
    "buy": Kind.purchase,
    "order": Kind.purchase,
}

ITEM_KINDS = frozenset(kind for kind in Kind if kind <= Kind.hide)
"""The kinds that say something about one user and one item."""
SPOKEN_KINDS = frozenset((Kind.query, Kind.say))
"""The kinds that are words of a user, and about no item."""
COLUMN_KINDS = ITEM_KINDS | SPOKEN_KINDS | {Kind.alias}
"""All that columns can hold; in the place of an item an alias has the user's previous id, and words have nothing."""


class WrongMapping(ValueError):
    """A mapping names a field or a kind that does not exist; the message names it and lists those that do."""


@dataclass(frozen=True)
class InputMapping:
    """What one input calls things. Raises `WrongMapping` when it is made, never while events flow."""

    default_kind: str = Kind.click.name
    """The kind of an event that names none."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Our field name to theirs."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """Their kind to ours, beyond the common ones."""

    def __post_init__(self) -> None:
        _check_kind(self.default_kind, f"default_kind = {self.default_kind!r}")
        for ours, theirs in self.fields.items():
            if ours not in OUR_FIELDS:
                raise WrongMapping(
                    f"fields.{ours} = {theirs!r}: no field is called {ours!r}; ours: {', '.join(OUR_FIELDS)}"
                )
            if not theirs:
                raise WrongMapping(f"fields.{ours} = '': give the name the input uses, or leave the line out")
        for theirs, ours in self.kinds.items():
            _check_kind(ours, f"kinds.{theirs} = {ours!r}")

    def names(self, ours: str) -> tuple[str, ...]:
        """Return the names our field goes by in this input, the first one present and not null counts."""
        if ours in self.fields:
            return (self.fields[ours],)
        return COMMON_NAMES.get(ours, (ours,))

    @cached_property
    def kind_table(self) -> dict[str | None, Kind]:
        """Every kind this input may name, and None for an event that names none."""
        table: dict[str | None, Kind] = {kind.name: kind for kind in Kind}
        table.update(COMMON_KINDS)
        table.update((theirs, Kind[ours]) for theirs, ours in self.kinds.items())
        table[None] = Kind[self.default_kind]
        return table

    def kind(self, theirs: str | None) -> Kind | None:
        """Return our kind for theirs, or None if it is unknown. `Add-To-Cart` reads as `add_to_cart`."""
        found = self.kind_table.get(theirs)
        if found is None and theirs is not None:
            return self.kind_table.get(theirs.lower().replace("-", "_").replace(" ", "_"))
        return found

    def kind_name(self, ours: Kind) -> str:
        """Return a name that `kind` reads as `ours`, our own where the input has not given that another meaning.

        Raises `WrongMapping` if the input gives no name to this kind.
        """
        table = self.kind_table
        if table[ours.name] is ours:
            return ours.name
        for name, kind in table.items():
            if kind is ours and name is not None:
                return name
        raise WrongMapping(
            f"kinds.{ours.name}: the input gives this name another meaning and {ours.name!r} no other name"
        )


def _check_kind(name: str, where: str) -> None:
    if name not in Kind.__members__:
        raise WrongMapping(f"{where}: no kind is called {name!r}; ours: {', '.join(Kind.__members__)}")
