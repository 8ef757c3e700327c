"""The keys of the Redis topic: which list of which user lives where, and what a feed pointer means.

`rec:LIST:USER` holds a list, `rec:LIST:` the popular one, `recs` is the feed; `rec-item:ITEM` holds what is similar to
an item, `rec-category:CATEGORY` what is popular in a category; `rule:USER` and `withdrawn` hold the items that may not
be shown to a user, or to anybody; `published` says how far the worker has published. A prefix from the settings stands
before each. A user's id may hold colons, a list's name may not, so a pointer `LIST:USER` always splits one way.
"""

from __future__ import annotations

POPULAR = ""
"""The user id under which a list for those without one of their own is stored."""


def list_prefix(prefix: str) -> str:
    """Return what stands before `LIST:USER` in every list key."""
    return f"{prefix}rec:"


def list_key(prefix: str, list_name: str, user_id: str) -> str:
    """Return the key of a user's list."""
    return f"{prefix}rec:{list_name}:{user_id}"


def similar_key(prefix: str, item_id: str) -> str:
    """Return the key of the items similar to one."""
    return f"{prefix}rec-item:{item_id}"


def category_key(prefix: str, category: str) -> str:
    """Return the key of the popular list of a category."""
    return f"{prefix}rec-category:{category}"


def feed_key(prefix: str) -> str:
    """Return the key of the feed, a stream with fields `k` (`LIST:USER`) and `v` (24 bytes of version)."""
    return f"{prefix}recs"


def rule_prefix(prefix: str) -> str:
    """Return what stands before `USER` in every key of a user's rules."""
    return f"{prefix}rule:"


def rule_key(prefix: str, user_id: str) -> str:
    """Return the key of what a user's rules keep off their lists (`millstream.schemas.item_sets`)."""
    return f"{prefix}rule:{user_id}"


def withdrawn_key(prefix: str) -> str:
    """Return the key of what is shown to nobody (`millstream.schemas.item_sets`)."""
    return f"{prefix}withdrawn"


def marker_key(prefix: str) -> str:
    """Return the key that says how far a worker has published (`millstream.streams.marker`)."""
    return f"{prefix}published"


def question_channel(prefix: str) -> str:
    """Return the channel on which the serving side asks the workers (`millstream.schemas.questions`)."""
    return f"{prefix}ask"


def words_channel(prefix: str) -> str:
    """Return the channel on which who understands texts is asked (`millstream.schemas.questions`)."""
    return f"{prefix}understand"


def waiting_channel(prefix: str) -> str:
    """Return the channel on which workers say how much work waits (`millstream.agents.abreast`)."""
    return f"{prefix}waiting"


def reply_channel(prefix: str, name: str) -> str:
    """Return the channel on which the process of this name hears what it asked (`millstream.streams.answers`)."""
    return f"{prefix}answer:{name}"


def split_pointer(pointer: str) -> tuple[str, str]:
    """Return (list name, user id) of a feed entry's `k`. Raises ValueError when it holds no colon."""
    list_name, colon, user_id = pointer.partition(":")
    if not colon:
        raise ValueError(f"feed pointer {pointer!r} is not LIST:USER; was it written by something else?")
    return list_name, user_id


def checked_list_name(list_name: str) -> str:
    """Return `list_name`. Raises ValueError when it is empty or holds a colon, which would make keys ambiguous."""
    if not list_name or ":" in list_name:
        raise ValueError(f"list {list_name!r}: a list's name must be non-empty and free of ':'")
    return list_name
