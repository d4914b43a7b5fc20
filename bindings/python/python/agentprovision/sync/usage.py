"""What was used, by meter, with exact costs.

Generated from `agentprovision.usage` by `scripts/sync_from_async.py`; do not edit.
"""

from __future__ import annotations

from datetime import datetime

from .._codec import decode
from ._service import Service
from .._types import UsageEvent, UsageSummary
from ..context import Context

__all__ = ["UsageEvent", "UsageReport", "UsageSummary"]


class UsageReport(Service):
    """What a tenant used."""

    __slots__ = ()

    def summary(
        self, ctx: Context, *, start: datetime | str | None = None, end: datetime | str | None = None
    ) -> UsageSummary:
        """Sums from `start` up to `end`; without both, of this month in UTC."""
        return self._get(UsageSummary, ctx, "usage.summary", {"from": start, "to": end})

    def events(self, ctx: Context, *, after: str | None = None, limit: int | None = None) -> list[UsageEvent]:
        """Usage events after one, at most `limit` (1 to 500, default 100)."""
        return decode(list[UsageEvent], self._call(ctx, "usage.events", {"after": after, "limit": limit}))
