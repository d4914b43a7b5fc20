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
        self, ctx: Context, *, from_: datetime | str | None = None, to: datetime | str | None = None
    ) -> UsageSummary:
        """Sums from `from_` up to `to`; without both, of this month in UTC."""
        return self._get(UsageSummary, ctx, "usage.summary", {"from": from_, "to": to})

    def events(self, ctx: Context, *, after: str | None = None, limit: int | None = None) -> list[UsageEvent]:
        """Usage events after one, at most `limit` (1 to 500, default 100)."""
        return decode(list[UsageEvent], self._call(ctx, "usage.events", {"after": after, "limit": limit}))
