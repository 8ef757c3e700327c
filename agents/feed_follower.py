"""A process of its own that reads every refreshed list, as any serving process would, and says when it had it.

    python -m millstream.agents.feed_follower redis://127.0.0.1:6379/0 PREFIX

Writes JSON lines to stdout: `"ready"`, then `[seen_ns, position, user]` for each list read: the monotonic clock when
`Reader.follow` handed it over, its `version.position`, whose it is. The clock is the machine's, so that another
process may subtract its own readings. It starts at the feed's beginning and ends when its stdin does.
"""

from __future__ import annotations

import os
import sys
import time

import msgspec

from millstream.streams.reader import Reader

from .leash import end_with_starter

_STDOUT = 1


def main(url: str, prefix: str) -> None:
    """Follow until stdin ends or nobody reads stdout any more."""
    end_with_starter()
    encode = msgspec.json.encode
    lists = Reader(url, prefix).follow("0-0")
    # straight to the descriptors: a buffer would hold back lines, and a daemon thread's would not survive the exit
    os.write(_STDOUT, b'"ready"\n')
    try:
        for slate in lists:
            os.write(_STDOUT, encode((time.monotonic_ns(), slate.version.position, slate.user_id)) + b"\n")
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
