"""Lists as the publisher has them, for tests of what becomes of them."""

from __future__ import annotations

from millstream.schemas.records import ScoredItem, Slate, Version
from millstream.schemas.slates import EncodedSlate, encode_slate


def slate(user: str, position: int) -> EncodedSlate:
    return encode_slate(
        Slate(
            slate_id=f"{user}-{position}",
            list="main",
            user_id=user,
            items=(ScoredItem("i", 1.0),),
            version=Version(1, position, position),
            as_of_ms=1_000,
            generated_ts_ms=2_000,
        )
    )
