"""What happened in a tenant, as numbered CloudEvents.

Generated from `agentprovision.event` by `scripts/sync_from_async.py`; do not edit.
"""

from __future__ import annotations

from .._codec import decode
from ._service import Stream, Service
from .._types import NumberedEvent, PlatformEvent
from ..context import Context

__all__ = ["Events", "NumberedEvent", "PlatformEvent"]


class Events(Service):
    """The events of a tenant."""

    __slots__ = ()

    def subscribe(self, ctx: Context, *, after: int | None = None) -> Stream[NumberedEvent]:
        """Events as they happen, after a number (default 0, for all that are kept)."""
        return Stream(NumberedEvent, lambda: self._stream(ctx, "events.subscribe", {"after": after}))

    def read(self, ctx: Context, *, after: int | None = None, limit: int | None = None) -> list[NumberedEvent]:
        """Events after a number, at most `limit` (1 to 500, default 100)."""
        return decode(list[NumberedEvent], self._call(ctx, "events.read", {"after": after, "limit": limit}))
