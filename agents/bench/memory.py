"""What a step's state takes, for one user and for one item; what belongs to neither counts as the items'."""

from __future__ import annotations

import sys

from millstream.online_learning.step import Step
from millstream.online_learning.vocabulary import Vocabulary

_CELLS_OF_USERS = ("consumed_slab", "consumed_cells")
"""Tables whose rows are nobody's and that only users' rows lead to."""
TARGETS = {
    "bytes_per_user": "≤ 2,048",
    "bytes_per_item": "≤ 10,240",
    "most_bytes_per_user": "≤ 2,048",
    "most_bytes_per_item": "≤ 10,240",
}


def memory(step: Step) -> dict[str, float]:
    """Return bytes in use for each that is known, names included; at most: what the caps reserve, for each of them."""
    used = step.bytes_used()
    reserved = {name: sum(array.nbytes for array in table.arrays.values()) for name, table in step.arena.tables.items()}
    users, items = len(step.users), len(step.items)
    theirs = {name for name, table in step.arena.tables.items() if table.of == step.users.name}.union(_CELLS_OF_USERS)

    def of_users(by_table: dict[str, int]) -> int:
        return sum(size for name, size in by_table.items() if name in theirs)

    return {
        "bytes_per_user": (of_users(used) + _bytes_of_names(step.users)) / max(1, users),
        "bytes_per_item": (sum(used.values()) - of_users(used) + _bytes_of_names(step.items)) / max(1, items),
        "most_bytes_per_user": of_users(reserved) / step.config.max_users,
        "most_bytes_per_item": (sum(reserved.values()) - of_users(reserved)) / step.config.max_items,
    }


def _bytes_of_names(vocabulary: Vocabulary) -> int:
    """Return the bytes of the ids, of the list of them and of the dictionary from id to row."""
    ids = vocabulary.ids
    return sum(map(sys.getsizeof, ids)) + sys.getsizeof(ids) + sys.getsizeof(dict.fromkeys(ids))
