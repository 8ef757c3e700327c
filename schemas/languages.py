"""Which language somebody reads: the lookup of RFC 4647 (3.4) over an Accept-Language header (RFC 9110, 12.5.4)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

TAG = r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*"
"""A language range such as `de` or `pt-BR`, as a regular expression."""
_QUALITY = r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?"
_RANGE = re.compile(rf"\s*(\*|{TAG})\s*(?:;\s*[qQ]\s*=\s*({_QUALITY})\s*)?")
_MOST_RANGES = 32
"""Looked at, of a header: browsers send a handful."""


def wanted(header: str) -> list[str]:
    """Return the language ranges of a header, the most wanted first; what cannot be read is passed over.

    >>> wanted("da, en-gb;q=0.8, en;q=0.7, fr;q=0")
    ['da', 'en-gb', 'en']
    """
    found = []
    for part in header.split(",", _MOST_RANGES)[:_MOST_RANGES]:
        matched = _RANGE.fullmatch(part)
        if matched is not None and (quality := float(matched[2] or 1)) > 0:
            found.append((-quality, matched[1]))
    return [name for _, name in sorted(found, key=lambda each: each[0])]  # stable: equal ones as they were written


def lookup(ranges: Iterable[str], known: Sequence[str], default: str) -> str:
    """Return the first of `known` that a range or what is left of it as its end is cut off names, else `default`.

    >>> lookup(["pt-BR", "de"], ["en", "de", "pt"], "en")
    'pt'
    >>> lookup(["*", "sv"], ["en", "de"], "en")
    'en'
    """
    names = {name.lower(): name for name in known}
    for each in ranges:
        parts = each.lower().split("-")
        while parts:
            if (found := names.get("-".join(parts))) is not None:
                return found
            parts.pop()
            if parts and len(parts[-1]) == 1:  # what a single letter introduces is gone, so it goes, too
                parts.pop()
    return default
