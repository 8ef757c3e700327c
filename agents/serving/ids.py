"""Ids in paths: they may hold slashes and line ends, so Starlette's own kinds of path parameter do not do."""

from __future__ import annotations

from starlette.convertors import Convertor, register_url_convertor

IN_PATH = "id"
"""The kind, as in `/v1/items/{item:id}`."""


class _Id(Convertor[str]):
    regex = "(?s:.+)"

    def convert(self, value: str) -> str:
        """Return the id as it stands in the path."""
        return value

    def to_string(self, value: str) -> str:
        """Return the path of the id."""
        return value


register_url_convertor(IN_PATH, _Id())
