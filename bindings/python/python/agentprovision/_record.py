"""The base of the records a platform answers with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SHOWN: dict[type, Callable[[Any], str]] = {}
"""How records that people read are written out; the others show their fields."""


class Record:
    """A record: plain data, compared by its fields."""

    __slots__ = ()

    def to_json(self) -> str:
        """The record as JSON text: times in RFC 3339, money as decimal text."""
        from ._codec import dumps

        return dumps(self, "the record")

    def __str__(self) -> str:
        show = SHOWN.get(type(self))
        return repr(self) if show is None else show(self)
