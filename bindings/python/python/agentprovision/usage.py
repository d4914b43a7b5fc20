"""What was used, by meter, with exact costs."""

from __future__ import annotations

from datetime import datetime

from ._codec import decode
from ._service import Service
from ._types import UsageEvent, UsageSummary
from .context import Context

__all__ = ["UsageEvent", "UsageReport", "UsageSummary"]


class UsageReport(Service):
    """What a tenant used."""

    __slots__ = ()

    async def summary(
        self, ctx: Context, *, from_: datetime | str | None = None, to: datetime | str | None = None
    ) -> UsageSummary:
        """Sums from `from_` up to `to`; without both, of this month in UTC."""
        return await self._get(UsageSummary, ctx, "usage.summary", {"from": from_, "to": to})

    async def events(self, ctx: Context, *, after: str | None = None, limit: int | None = None) -> list[UsageEvent]:
        """Usage events after one, at most `limit` (1 to 500, default 100)."""
        return decode(list[UsageEvent], await self._call(ctx, "usage.events", {"after": after, "limit": limit}))
